"""What nodes share: interfaces here, their implementations in `on_redis` and `in_memory`.

Only `realtime_node.engine` chooses an implementation; everybody else imports the interfaces.
"""
