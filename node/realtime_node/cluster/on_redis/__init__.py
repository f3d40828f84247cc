"""The backplane and presence on Redis Streams.

A publication's way: `publishing` packs one `publish` script call with the inboxes of the interested
nodes, `commands` sends it among its neighbours as one pipeline, and Redis writes history, inboxes
and mark in one step. Every node's `inbox` reader takes its entries out again and hands them to the
receiver. Who is interested is `interest`'s business, who is alive `heartbeat`'s and `janitor`'s,
and `membership` gives a node a new identity when the cluster has declared the old one dead.
`backplane` wires these parts and is what the rest of the node sees.

Only this package imports redis.
"""
