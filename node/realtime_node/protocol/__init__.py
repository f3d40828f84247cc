"""The wire: messages, their codec and every code, without I/O.

Bytes of a frame come in through `codec`, become the structs of `messages` and go to `session`;
replies and pushes take the same way back.
"""
