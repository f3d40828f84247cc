"""One encoding for everything that is kept in Redis: inbox and history entries, presence, nodes.

An entry of a stream has one field. In an inbox the field's name is the *header*, `<kind><offset>
<epoch> <channel>`, which the script writes because only it knows the offset; in a history it is `e`
and the id holds the offset. The value is the *payload*: a version byte and a msgpack array. Arrays
may grow at their end: a reader ignores elements it does not know and gives missing ones their
default, so this release and its neighbours read each other. A payload of another version is
`UnreadableEntryError`, which costs the channel's subscribers their position, never a wrong value.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from realtime_node.cluster.backplane import Control, Entry, EntryKind, NodeInfo
from realtime_node.cluster.session_store import KeptGrant, SessionState
from realtime_node.errors import BackplaneError
from realtime_node.protocol.messages import ClientInfo, Publication

VERSION: Final = 1
_VERSION_BYTE: Final = bytes([VERSION])

JOIN_HEADER: Final = b"j0  %b"
LEAVE_HEADER: Final = b"l0  %b"
HELLO_KIND: Final = b"h"
_KINDS: Final = {kind.value.encode(): kind for kind in EntryKind}


class UnreadableEntryError(BackplaneError):
    """An entry that another release wrote in a way this one does not know."""


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises: of text that is not UTF-8 it says so in Python's own words."""


class _InfoArray(msgspec.Struct, array_like=True, frozen=True, gc=False):
    user: str
    client: str
    conn_info: bytes | None = None
    chan_info: bytes | None = None


class _PublicationArray(msgspec.Struct, array_like=True, frozen=True, gc=False):
    data: bytes
    info: _InfoArray | None = None
    tags: dict[str, str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_publication = msgspec.msgpack.Decoder(_PublicationArray).decode
_decode_info = msgspec.msgpack.Decoder(_InfoArray).decode
_control_decoder: Final[msgspec.msgpack.Decoder[Control]] = msgspec.msgpack.Decoder(Control)
_decode_control = _control_decoder.decode
_decode_node = msgspec.msgpack.Decoder(NodeInfo).decode
_decode_state = msgspec.msgpack.Decoder(SessionState).decode
_decode_grant = msgspec.msgpack.Decoder(KeptGrant).decode


def _raw_or_none(value: Raw | msgspec.UnsetType) -> bytes | None:
    return bytes(value) if isinstance(value, Raw) else None


def _info_tuple(info: ClientInfo) -> tuple[str, str, bytes | None, bytes | None]:
    return info.user, info.client, _raw_or_none(info.conn_info), _raw_or_none(info.chan_info)


def _info(array: _InfoArray) -> ClientInfo:
    return ClientInfo(
        user=array.user,
        client=array.client,
        conn_info=UNSET if array.conn_info is None else Raw(array.conn_info),
        chan_info=UNSET if array.chan_info is None else Raw(array.chan_info),
    )


def _body(payload: bytes) -> memoryview:
    if not payload.startswith(_VERSION_BYTE):
        raise UnreadableEntryError(
            f"an entry has version {payload[:1].hex() or 'none'}, this release reads {VERSION}:"
            " run neighbouring releases side by side only"
        )
    return memoryview(payload)[1:]


def encode_publication(publication: Publication) -> bytes:
    """Encode all of a publication but its offset."""
    info = publication.info
    return _VERSION_BYTE + _encode(
        (
            memoryview(publication.data),
            None if info is None else _info_tuple(info),
            publication.tags,
        )
    )


def decode_publication(offset: int, payload: bytes) -> Publication:
    """Decode a publication; raises `UnreadableEntryError`."""
    try:
        array = _decode_publication(_body(payload))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a publication cannot be decoded: {error}") from error
    info = array.info
    return Publication(
        data=Raw(array.data),
        info=None if info is None else _info(info),
        offset=offset,
        tags=array.tags,
    )


def encode_info(info: ClientInfo) -> bytes:
    """Encode a client's info."""
    return _VERSION_BYTE + _encode(_info_tuple(info))


def decode_info(payload: bytes) -> ClientInfo:
    """Decode a client's info; raises `UnreadableEntryError`."""
    try:
        return _info(_decode_info(_body(payload)))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a client's info cannot be decoded: {error}") from error


def encode_control(control: Control) -> bytes:
    """Encode a control message."""
    return _VERSION_BYTE + _encode(control)


def decode_control(payload: bytes) -> Control:
    """Decode a control message; raises `UnreadableEntryError`."""
    try:
        return _decode_control(_body(payload))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a control message cannot be decoded: {error}") from error


def encode_hello() -> bytes:
    """Encode the first entry of an inbox, which brings nothing."""
    return _VERSION_BYTE + _encode(())


def encode_node(node: NodeInfo) -> bytes:
    """Encode a node's description."""
    return _VERSION_BYTE + _encode(node)


def decode_node(payload: bytes) -> NodeInfo:
    """Decode a node's description; raises `UnreadableEntryError`."""
    try:
        return _decode_node(_body(payload))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a node's description cannot be decoded: {error}") from error


def encode_session(state: SessionState) -> bytes:
    """Encode what the record of a session holds."""
    return _VERSION_BYTE + _encode(state)


def decode_session(payload: bytes) -> SessionState:
    """Decode what the record of a session holds; raises `UnreadableEntryError`."""
    try:
        return _decode_state(_body(payload))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a session's record cannot be decoded: {error}") from error


def encode_grant(grant: KeptGrant) -> bytes:
    """Encode a server-side subscription, its end in whole seconds before all else."""
    return b"%d %b%b" % (math.ceil(grant.expires_at), _VERSION_BYTE, _encode(grant))


def decode_grant(payload: bytes) -> KeptGrant:
    """Decode a server-side subscription; raises `UnreadableEntryError`."""
    try:
        return _decode_grant(_body(payload.partition(b" ")[2]))
    except _UNREADABLE as error:
        raise UnreadableEntryError(f"a subscription cannot be decoded: {error}") from error


def channel_of(header: bytes) -> str:
    """The channel that an inbox header names, empty for control messages."""
    return header.split(b" ", 2)[-1].decode()


def decode_entry(partition: int, sequence: int, header: bytes, payload: bytes) -> Entry | None:
    """Decode an inbox entry; None for one that brings nothing.

    Raises `UnreadableEntryError`.
    """
    try:
        offset, epoch, channel = header[1:].split(b" ", 2)
        kind = _KINDS.get(header[:1])
        if kind is EntryKind.PUBLICATION:
            return Entry(
                partition=partition,
                sequence=sequence,
                kind=kind,
                channel=channel.decode(),
                epoch=epoch.decode(),
                publication=decode_publication(int(offset), payload),
            )
        if kind is EntryKind.CONTROL:
            return Entry(
                partition=partition, sequence=sequence, kind=kind, control=decode_control(payload)
            )
        if kind is not None:
            return Entry(
                partition=partition,
                sequence=sequence,
                kind=kind,
                channel=channel.decode(),
                info=decode_info(payload),
            )
    except ValueError as error:
        raise UnreadableEntryError(f"an entry has the header {header!r}") from error
    if header[:1] == HELLO_KIND:
        return None
    raise UnreadableEntryError(f"an entry has the header {header!r}")
