"""From an entry of the inbox to the message that waits for its frame, encoded once for all."""

from __future__ import annotations

from realtime_node.cluster.backplane import Entry, EntryKind
from realtime_node.delivery.batching import Audience, Waiting
from realtime_node.delivery.flow import Flow
from realtime_node.protocol.codec import Codec
from realtime_node.protocol.messages import JoinLeave, Push


def waiting_of(entry: Entry, flow: Flow, codec: Codec) -> Waiting:
    """Encode what a publication, a join or a leave says to a channel's subscribers."""
    audience = Audience.EVERYONE
    offset = 0
    key = ""
    if entry.publication is not None:
        push = Push(channel=entry.channel, pub=entry.publication)
        offset = entry.publication.offset
        if flow.slow.key and entry.publication.tags:
            key = entry.publication.tags.get(flow.slow.key, "")
    else:
        audience = Audience.JOIN_LEAVE
        assert entry.info is not None, "an entry brings a publication, an info or a control"
        body = JoinLeave(info=entry.info)
        key = entry.info.client
        is_join = entry.kind is EntryKind.JOIN
        push = Push(
            channel=entry.channel,
            join=body if is_join else None,
            leave=None if is_join else body,
        )
    payload = codec.encode_push(push)
    return Waiting(payload, audience, offset, entry.epoch, entry.sequence, key)
