"""The realtime node: one process that holds WebSockets and delivers publications to them.

The data's way. A publication enters by HTTP (`server`) or from a client (`session`) and goes to the
backplane (`cluster`), which in one atomic step writes the channel's history and the inbox of every
node that has a subscriber. Each node reads its inbox, batches what arrived per channel and encodes
it once (`delivery`, `protocol`), and hands the same bytes to every subscriber's transport. The node
that publishes and the node that delivers never talk to each other, so a channel has one order
everywhere.

Where next: `app` wires all of it, `cli` starts it.
"""

__version__ = "0.1.0"
