"""Instruments of `delivery`: frames, their compression, and clients that do not take them."""

from __future__ import annotations

from realtime_node.telemetry.metrics.maker import Maker


class DeliveryMetrics:
    """Instruments of `delivery`."""

    def __init__(self, make: Maker) -> None:
        self.entries_received = make.counter(
            "inbox_entries", "Entries taken from this node's inbox."
        )
        self.entries_failed = make.counter(
            "inbox_entries_failed",
            "Entries dropped for a bug of this node; their channels were told to recover.",
        )
        self.frames_built = make.counter(
            "frames_built", "Frames encoded for the members of a channel."
        )
        self.deliveries = make.counter(
            "deliveries", "Messages written to subscribers, counted once per subscriber."
        )
        self.positions_lost = make.counter(
            "positions_lost", "Subscriptions told to recover because this node missed messages."
        )
        self.conflated = make.counter(
            "conflated",
            "Values that were not sent because a newer one of their key came before their frame.",
        )
        self.backlog = make.gauge("delivery_backlog", "Messages waiting for their frame.")
        self.channels = make.gauge("channels", "Channels with a subscriber on this node.")


class CompressionMetrics:
    """Instruments of `delivery.frames`."""

    def __init__(self, make: Maker) -> None:
        self.frames = make.counter(
            "frames_compressed", "Frames compressed, once for all clients of a window size."
        )
        self.bytes_in = make.counter("compression_in_bytes", "Bytes of payloads compressed.")
        self.bytes_out = make.counter("compression_out_bytes", "Bytes that became of them.")
        self.clients = make.gauge(
            "compressed_clients", "Connections that agreed on permessage-deflate."
        )

    def compressed(self, bytes_in: int, bytes_out: int) -> None:
        """Count a payload that was compressed, worthwhile or not."""
        self.frames.inc()
        self.bytes_in.inc(bytes_in)
        self.bytes_out.inc(bytes_out)


class SlowClientMetrics:
    """Instruments of the clients that do not take what is sent to them."""

    def __init__(self, make: Maker) -> None:
        self.clients = make.gauge("slow_clients", "Clients whose buffers are full at the moment.")
        self.waiting = make.gauge(
            "slow_client_waiting_bytes",
            "Memory of what waits for them in this node, a shared frame counted once.",
        )
        self.unsent = make.gauge(
            "slow_client_unsent_bytes",
            "What the node's and the kernel's buffers hold for them, each client's counted.",
        )
        self._messages = make.counter(
            "slow_client_messages",
            "Messages that met a full buffer, once per client, by what became of them.",
            "policy",
            "outcome",
        )
        self._replaced = make.counter(
            "slow_client_replaced", "Waiting values that gave way to newer ones."
        )
        self._closed = make.counter(
            "slow_client_closes",
            "Connections ended because the client was too slow; without a policy it was for what"
            " waits over all its channels.",
            "policy",
            "reason",
        )

    def kept(self, policy: str, messages: int) -> None:
        """Count messages that wait."""
        if messages:
            self._messages.labels(policy, "kept").inc(messages)

    def skipped(self, policy: str, messages: int) -> None:
        """Count messages that were left out."""
        if messages:
            self._messages.labels(policy, "skipped").inc(messages)

    def replaced(self, values: int) -> None:
        """Count values that gave way to newer ones."""
        if values:
            self._replaced.inc(values)

    def closed(self, policy: str | None, reason: str) -> None:
        """Count a client that had to go."""
        self._closed.labels(policy or "", reason).inc()
