"""The backplane and presence of a single process: `engine: memory`, and tests of several nodes.

`cluster` is what Redis is elsewhere: the streams, the interest and the presence that all nodes of
the process share. Nothing survives the process, and nothing is ever unavailable.
"""
