"""One client's conversation with the node.

Frames' payloads come in from `server.websocket` to `session.Session`, which answers command by
command with the functions of `commands`. What is decided on the way is pure and stands apart:
`lifecycle` (states and deadlines), `permissions` (who may what) and `recovery` (what a returning
subscriber missed). `registry` knows all sessions of the node and applies control messages to them.
"""
