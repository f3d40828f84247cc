"""The node's doors: WebSockets, the HTTP API, and what operators and Prometheus ask.

aiohttp parses HTTP; `websocket` takes a connection over once it is upgraded. Nothing here decides
about channels: requests become calls of `session` and `cluster`.
"""
