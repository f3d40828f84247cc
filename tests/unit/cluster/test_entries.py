"""The encoding of what is kept in Redis: round trips, neighbouring releases, and garbage."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from realtime_node.cluster.backplane import (
    Control,
    DisconnectUser,
    EntryKind,
    NodeInfo,
    SubscribeUser,
    UnsubscribeUser,
)
from realtime_node.cluster.on_redis import entries
from realtime_node.cluster.on_redis.entries import UnreadableEntryError
from realtime_node.protocol.messages import ClientInfo, Publication, StreamPosition

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_raw = st.binary(max_size=200).map(Raw)
_infos = st.builds(
    ClientInfo,
    user=_text,
    client=_text,
    conn_info=st.just(UNSET) | _raw,
    chan_info=st.just(UNSET) | _raw,
)
_publications = st.builds(
    Publication,
    data=_raw,
    info=st.none() | _infos,
    tags=st.none() | st.dictionaries(_text, _text, max_size=5),
)
_positions = st.builds(StreamPosition, offset=st.integers(0, 2**63 - 1), epoch=_text)
_controls: st.SearchStrategy[Control] = st.one_of(
    st.builds(UnsubscribeUser, user=_text, channel=_text, client=_text),
    st.builds(
        SubscribeUser,
        user=_text,
        channel=_text,
        client=_text,
        chan_info=st.none() | st.binary(max_size=50),
        data=st.none() | st.binary(max_size=50),
        recover_since=st.none() | _positions,
    ),
    st.builds(
        DisconnectUser,
        user=_text,
        client=_text,
        whitelist=st.lists(_text, max_size=3).map(tuple),
        code=st.integers(3000, 5000),
        reason=_text,
    ),
)


def _plain_info(info: ClientInfo | None) -> tuple[object, ...] | None:
    if info is None:
        return None
    return (
        info.user,
        info.client,
        *(bytes(raw) if isinstance(raw, Raw) else None for raw in (info.conn_info, info.chan_info)),
    )


@given(publication=_publications, offset=st.integers(0, 2**63 - 1), epoch=st.uuids(), channel=_text)
def test_a_publication_comes_back_whole(
    publication: Publication, offset: int, epoch: object, channel: str
) -> None:
    """What the header and the payload hold together is the entry that was published."""
    header = f"p{offset} {epoch} {channel}".encode()
    entry = entries.decode_entry(2, 7, header, entries.encode_publication(publication))
    assert entry is not None
    assert (entry.partition, entry.sequence, entry.kind) == (2, 7, EntryKind.PUBLICATION)
    assert (entry.channel, entry.epoch) == (channel, str(epoch))
    got = entry.publication
    assert got is not None
    assert bytes(got.data) == bytes(publication.data)
    assert (got.offset, got.tags) == (offset, publication.tags)
    assert _plain_info(got.info) == _plain_info(publication.info)


@given(info=_infos, channel=_text)
def test_a_join_and_a_leave_come_back_whole(info: ClientInfo, channel: str) -> None:
    """Kind, channel and info of an announcement survive."""
    for template, kind in (
        (entries.JOIN_HEADER, EntryKind.JOIN),
        (entries.LEAVE_HEADER, EntryKind.LEAVE),
    ):
        entry = entries.decode_entry(0, 1, template % channel.encode(), entries.encode_info(info))
        assert entry is not None
        assert (entry.kind, entry.channel) == (kind, channel)
        assert _plain_info(entry.info) == _plain_info(info)


@given(control=_controls)
def test_a_control_message_comes_back_whole(control: Control) -> None:
    """Every kind of control message survives with all its fields."""
    entry = entries.decode_entry(0, 1, b"c0  ", entries.encode_control(control))
    assert entry is not None
    assert entry.control == control


def test_a_nodes_description_comes_back_whole() -> None:
    """What a node tells about itself survives."""
    info = NodeInfo(uid="u", name="n", version="1", num_clients=3, uptime=7)
    assert entries.decode_node(entries.encode_node(info)) == info


def test_a_nodes_description_is_read_across_versions() -> None:
    """Of one that does not know of readiness nothing bad is believed, and more does not disturb."""
    told = {"uid": "u", "name": "n", "version": "0", "later": [1]}
    version = entries.encode_node(NodeInfo(uid="", name="", version=""))[:1]
    older = entries.decode_node(version + msgspec.msgpack.encode(told))
    assert older == NodeInfo(uid="u", name="n", version="0", ready=True)
    unready = NodeInfo(uid="u", name="n", version="1", ready=False)
    assert entries.decode_node(entries.encode_node(unready)) == unready


def test_a_hello_brings_nothing() -> None:
    """The first entry of an inbox is no event."""
    assert entries.decode_entry(0, 0, b"h0  ", entries.encode_hello()) is None


def test_the_bytes_of_a_publication_are_these() -> None:
    """The format is what the previous release wrote: a change here needs another version byte."""
    publication = Publication(data=Raw(b"{}"), info=ClientInfo(user="u", client="c"))
    payload = b"\x01\x93\xc4\x02{}\x94\xa1u\xa1c\xc0\xc0\xc0"
    assert entries.encode_publication(publication) == payload


def test_a_later_releases_additions_are_ignored() -> None:
    """An array that a later release has made longer is read as far as it is known."""
    payload = b"\x01" + msgspec.msgpack.encode((b"{}", ("u", "c", None, None, 1), None, 12345))
    publication = entries.decode_publication(3, payload)
    assert (bytes(publication.data), publication.offset) == (b"{}", 3)
    assert publication.info == ClientInfo(user="u", client="c")


def test_an_earlier_releases_omissions_are_defaults() -> None:
    """An array that an earlier release has written shorter is read with defaults."""
    publication = entries.decode_publication(3, b"\x01" + msgspec.msgpack.encode((b"{}",)))
    assert (publication.info, publication.tags) == (None, None)


@pytest.mark.parametrize("payload", [b"", b"\x02\x90", b"\x7f", b"\x00\x91\xc4\x01x"])
def test_another_version_is_unreadable(payload: bytes) -> None:
    """A payload of another version is refused, never guessed at, and the error says what to do."""
    with pytest.raises(UnreadableEntryError, match="neighbouring releases"):
        entries.decode_publication(1, payload)


@given(header=st.binary(max_size=40), payload=st.binary(max_size=60))
def test_garbage_is_unreadable_and_nothing_else(header: bytes, payload: bytes) -> None:
    """Whatever stands in an inbox, reading it ends with an entry or with this one error."""
    for version in (b"", b"\x01"):
        with contextlib.suppress(UnreadableEntryError):
            entries.decode_entry(0, 1, header, version + payload)


@given(kind=st.sampled_from("pjlch"), payload=st.binary(max_size=60))
def test_a_garbled_payload_is_unreadable_and_nothing_else(kind: str, payload: bytes) -> None:
    """A good header with a broken payload ends with an entry or with this one error."""
    with contextlib.suppress(UnreadableEntryError):
        entries.decode_entry(0, 1, f"{kind}1 e channel".encode(), b"\x01" + payload)


@given(channel=_text)
def test_a_header_names_its_channel(channel: str) -> None:
    """The channel is found without reading the payload."""
    assert entries.channel_of(f"p12 epoch {channel}".encode()) == channel
