"""Who may come in, and how fast: everything between an arriving request and its upgrade.

A client that asks for a WebSocket meets the `door` first; what stands open or shut there is decided
by pure rules, and `server.websocket` tells the client.
"""
