"""What the team's backend decides: clients' questions to it, and its answers, in Centrifugo's form.

`backend` is the interface: bytes go out, bytes come back. `http_backend` implements it, `guard`
bounds how much is asked at once and stops asking one that fails, `proxy` says what bytes mean, and
`proxies` is what a session sees of it all. `cached` keeps answers for clients that come back.
"""
