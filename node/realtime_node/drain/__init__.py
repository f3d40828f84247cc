"""Sending clients elsewhere, so slowly that the nodes which take them in do not notice.

`plan` decides what a node that is to be emptied does next, `pace` when the next client goes; both
are pure. `drainer` does it: it shuts the door of `admission`, leases from `cluster.allowance`, and
closes clients. `server.admin_api` and the command line's signals tell it to.
"""
