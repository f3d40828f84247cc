"""What the node tells about itself: metrics, logs, later traces.

Instruments are grouped by the room that uses them and handed in by `app`, so that no code looks up
a label per message and a test can read its own numbers.
"""
