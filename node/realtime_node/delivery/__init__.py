"""From a node's inbox to its clients' sockets.

`hub` takes inbox entries and files them under their `channel`; in a pass of the loop `batching`
makes one frame of what waits there and the hub writes the same bytes to every subscriber, in
slices (`fanout`). `outbound` stands between a frame and a socket that does not drain; what such a
socket does not take waits in a `backlog`, by the `policies` of its channels.
"""
