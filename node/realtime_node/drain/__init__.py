"""Sending clients elsewhere, so slowly that the nodes which take them in do not notice.

`orders` says what is asked for, `plan` what a node that is to be emptied does next, and `pace` when
the next client goes; they are pure. `drainer` does it: it shuts the door of `admission`, and its
`closer` leases from `cluster.allowance` and closes clients. `server.admin_api` and the command
line's signals tell it to.
"""
