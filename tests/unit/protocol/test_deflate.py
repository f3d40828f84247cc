"""permessage-deflate: what is agreed to, what is written, and what is taken from strangers."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidHeader, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from realtime_node.protocol.deflate import (
    MAX_WINDOW_BITS,
    MIN_WINDOW_BITS,
    Agreement,
    Inflater,
    agree,
    deflate,
    smallest_window,
)

BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

windows = st.integers(MIN_WINDOW_BITS, MAX_WINDOW_BITS)
payloads = st.one_of(
    st.binary(max_size=3000),
    # Text that repeats itself over more than the smallest windows hold.
    st.builds(lambda word, count: word * count, st.binary(min_size=1, max_size=900), st.just(40)),
)


def inflate(data: bytes, window_bits: int = MAX_WINDOW_BITS) -> bytes:
    """Decompress a message as RFC 7692 says, within a window."""
    return zlib.decompressobj(-window_bits).decompress(data + b"\x00\x00\xff\xff")


def compressed(data: bytes, *, fin: bool = True) -> Frame:
    """A frame that begins a compressed message."""
    return Frame(Opcode.TEXT, data, fin=fin, rsv1=True)


def more(data: bytes, *, fin: bool = True) -> Frame:
    """A frame that continues it."""
    return Frame(Opcode.CONT, data, fin=fin)


# --- the agreement ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "agreement"),
    [
        ("permessage-deflate", Agreement(BOTH, 15)),
        ("permessage-deflate; client_max_window_bits", Agreement(BOTH, 15)),
        ("permessage-deflate; server_no_context_takeover", Agreement(BOTH, 15)),
        ("permessage-deflate; client_no_context_takeover", Agreement(BOTH, 15)),
        (
            "permessage-deflate; server_max_window_bits=10",
            Agreement(f"{BOTH}; server_max_window_bits=10", 10),
        ),
        (
            'permessage-deflate; server_max_window_bits="9"',
            Agreement(f"{BOTH}; server_max_window_bits=9", 9),
        ),
        (
            "permessage-deflate; server_max_window_bits=15; client_max_window_bits=12",
            Agreement(f"{BOTH}; server_max_window_bits=15; client_max_window_bits=12", 15),
        ),
        # Several, the preferred one first: the first that can be honoured is.
        (
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Agreement(f"{BOTH}; server_max_window_bits=10", 10),
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Agreement(BOTH, 15),
        ),
        ("permessage-deflate; mood=good, permessage-deflate", Agreement(BOTH, 15)),
        ("permessage-bzip2, x-webkit-deflate-frame, permessage-deflate", Agreement(BOTH, 15)),
    ],
)
def test_an_offer_is_answered_without_context_takeover(offers: str, agreement: Agreement) -> None:
    """Whatever a client offers, both sides begin anew with each message; its window is kept to."""
    assert agree(offers) == agreement


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "  ",
        "permessage-bzip2",
        # zlib makes no raw stream for a window of 8 bits.
        "permessage-deflate; server_max_window_bits=8",
        # RFC 7692, 7.1: a parameter that is unknown, doubled, or has no such value.
        "permessage-deflate; mood=good",
        "permessage-deflate; server_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=ten",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=0",
    ],
)
def test_an_offer_that_cannot_be_honoured_is_passed_over(offers: str) -> None:
    """There is no extension then, and the connection is as good without."""
    assert agree(offers) is None


@pytest.mark.parametrize(
    "offers",
    [
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate;",
        "permessage-deflate client_max_window_bits",
        'permessage-deflate; server_max_window_bits="1 0"',
        "=15",
        "permessage-deflate\udcff",
    ],
)
def test_a_malformed_header_is_an_error(offers: str) -> None:
    """What does not follow the grammar of RFC 6455 is told apart from what is only unknown."""
    with pytest.raises(InvalidHeader):
        agree(offers)


# --- what we send -----------------------------------------------------------------------------


def test_a_message_is_compressed_as_in_the_rfc() -> None:
    """RFC 7692, 7.2.3.1: "Hello" in one block."""
    assert deflate(b"Hello", 15, level=6) == bytes.fromhex("f248cdc9c90700")


def test_an_empty_message_is_compressed_to_one_byte() -> None:
    """RFC 7692, 7.2.3.6: an empty block, without the mark at its end."""
    assert deflate(b"", 15, level=1) in {b"\x00", b"\x02\x00"}
    assert inflate(deflate(b"", 15, level=1)) == b""


@given(payloads, windows, st.integers(1, 9))
def test_a_message_is_read_within_its_window(payload: bytes, window: int, level: int) -> None:
    """A client needs no more memory than it offered, and nothing of an earlier message."""
    assert inflate(deflate(payload, window, level), window) == payload


@given(payloads, windows, st.integers(1, 9))
def test_the_library_of_a_client_reads_it(payload: bytes, window: int, level: int) -> None:
    """The extension of `websockets`, which had agreed to a window, finds the payload."""
    client = PerMessageDeflate(True, True, window, 15)
    assert client.decode(compressed(deflate(payload, window, level))).data == payload


@given(payloads, windows, st.integers(1, 9))
def test_a_smaller_window_loses_nothing(payload: bytes, window: int, level: int) -> None:
    """The window that is set up for a payload is one the client can read, and saves as much."""
    smallest = smallest_window(len(payload), window)
    assert MIN_WINDOW_BITS <= smallest <= window
    saved = len(deflate(payload, window, level)) - len(deflate(payload, smallest, level))
    # zlib's hash table follows its window, so another match is found now and then.
    assert saved >= -8 - len(payload) // 50


@pytest.mark.parametrize(
    ("length", "window", "smallest"),
    [(0, 15, 9), (250, 15, 9), (251, 15, 10), (1024, 15, 11), (1024, 10, 10), (70_000, 15, 15)],
)
def test_the_smallest_window_holds_what_it_compresses(
    length: int, window: int, smallest: int
) -> None:
    """A window counts as holding a payload only beside what zlib keeps of it for itself."""
    assert smallest_window(length, window) == smallest


# --- what we read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "f248cdc9c90700",  # 7.2.3.1: one block
        "000500faff48656c6c6f00",  # 7.2.3.3: a block that is not compressed
        "f348cdc9c9070000",  # 7.2.3.4: a block that says it is the last
        "f248050000 00ffffcac9c90700",  # 7.2.3.5: two blocks
    ],
)
def test_the_examples_of_the_rfc_are_read(data: str) -> None:
    """Every way in which RFC 7692 compresses "Hello"."""
    assert Inflater().decode(compressed(bytes.fromhex(data)), max_size=5).data == b"Hello"


def test_fragments_of_a_compressed_message_are_read() -> None:
    """RFC 7692, 7.2.3.1: the first fragment is marked, the second is not."""
    inflater = Inflater()
    first = inflater.decode(compressed(bytes.fromhex("f248cd"), fin=False), max_size=5)
    second = inflater.decode(more(bytes.fromhex("c9c90700")), max_size=5 - len(first.data))
    assert bytes(first.data) + bytes(second.data) == b"Hello"


def test_plain_messages_pass() -> None:
    """A client may compress or not, message by message."""
    inflater = Inflater()
    plain = Frame(Opcode.TEXT, b"plain")
    for _ in range(2):
        assert inflater.decode(plain, max_size=5) is plain
        assert inflater.decode(compressed(deflate(b"Hello", 15, 1)), max_size=5).data == b"Hello"


def test_nothing_is_kept_between_two_messages() -> None:
    """A client that refers back to its last message has not done what was agreed."""
    takeover = zlib.compressobj(6, zlib.DEFLATED, -15)
    payload = bytes(range(200))
    first, second = (
        (takeover.compress(payload) + takeover.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2)
    )
    inflater = Inflater()
    inflater.decode(compressed(first), max_size=1000)
    assert not hasattr(inflater, "decoder"), "an idle connection holds no window"
    with pytest.raises(ProtocolError):
        inflater.decode(compressed(second), max_size=1000)


@given(
    payload=payloads,
    window=windows,
    level=st.integers(0, 9),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    slack=st.sampled_from([-1, 0, 1]),
)
def test_a_message_is_read_up_to_the_very_limit(
    payload: bytes, window: int, level: int, cuts: list[int], slack: int
) -> None:
    """However it is compressed and cut, the limit is taken and a byte more is not."""
    data = deflate(payload, window, level)
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    inflater = Inflater()
    limit = max(len(payload) + slack, 0)
    read = b""

    def decode() -> bytes:
        nonlocal read
        for index, piece in enumerate(pieces):
            fin = index == len(pieces) - 1
            frame = compressed(piece, fin=fin) if index == 0 else more(piece, fin=fin)
            read += bytes(inflater.decode(frame, max_size=limit - len(read)).data)
        return read

    if len(payload) > limit:
        with pytest.raises(PayloadTooBig):
            decode()
        assert len(read) <= limit
    else:
        assert decode() == payload


@pytest.mark.parametrize("fin", [True, False])
def test_a_bomb_is_not_unpacked(fin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a message that would become 64 MiB no more is decompressed than the limit and a byte."""
    bomb = deflate(bytes(64 << 20), 15, level=9)
    assert len(bomb) < 1 << 17
    unpacked = _watch_decompression(monkeypatch)
    with pytest.raises(PayloadTooBig, match="1000"):
        Inflater().decode(compressed(bomb, fin=fin), max_size=1000)
    assert sum(unpacked) <= 1001


def test_a_bomb_in_fragments_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a message has reached its limit, another fragment may add nothing at all."""
    limit = 1000
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    full = packer.compress(bytes(limit)) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    unpacked = _watch_decompression(monkeypatch)
    inflater = Inflater()
    assert len(inflater.decode(compressed(full, fin=False), max_size=limit).data) == limit
    with pytest.raises(PayloadTooBig):
        inflater.decode(more(rest), max_size=0)
    assert sum(unpacked) <= limit + 1


def _watch_decompression(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how much zlib gives out each time it is asked."""
    unpacked: list[int] = []
    make = zlib.decompressobj

    class Watched:
        def __init__(self, **options: int) -> None:
            self._real = make(wbits=options["wbits"])

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def decompress(self, data: bytes, max_length: int = 0) -> bytes:
            given = self._real.decompress(data, max_length)
            unpacked.append(len(given))
            return given

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    return unpacked


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x07garbage", b"\x01\x05\x00\x00\x00Hello"])
def test_what_is_no_compressed_data_is_an_error(data: bytes) -> None:
    """A stream that breaks off the rules of DEFLATE ends the connection."""
    with pytest.raises(ProtocolError):
        Inflater().decode(compressed(data), max_size=1000)


@given(st.binary(max_size=400), st.booleans())
def test_noise_is_read_or_refused(data: bytes, fin: bool) -> None:
    """No bytes of a stranger raise anything else, or become more than the limit."""
    try:
        frame = Inflater().decode(compressed(data, fin=fin), max_size=100)
    except (PayloadTooBig, ProtocolError):
        return
    assert len(frame.data) <= 100


@given(payloads, st.integers(0, 20), st.integers(0, 3000), st.integers(0, 255))
def test_a_damaged_message_is_read_or_refused(
    payload: bytes, missing: int, place: int, bits: int
) -> None:
    """A stream that breaks off, or was changed on its way, becomes no more than the limit."""
    data = bytearray(deflate(payload, 15, 1))
    data[place % len(data)] ^= bits
    try:
        frame = Inflater().decode(compressed(bytes(data[: len(data) - missing])), max_size=100)
    except (PayloadTooBig, ProtocolError):
        return
    assert len(frame.data) <= 100


def test_what_follows_the_end_of_a_stream_is_not_collected() -> None:
    """Fragments without end behind a block that was the last take no memory, and are refused."""
    inflater = Inflater()
    last = bytes.fromhex("f348cdc9c90700")
    inflater.decode(compressed(last, fin=False), max_size=1000)
    inflater.decode(more(b"\x00", fin=False), max_size=1000)
    with pytest.raises(ProtocolError, match="behind the end"):
        inflater.decode(more(b"x" * 1000, fin=False), max_size=1000)


def test_a_fragment_is_not_marked_again() -> None:
    """RFC 7692, 6.2: only the first frame of a message says that it is compressed."""
    inflater = Inflater()
    inflater.decode(compressed(bytes.fromhex("f248cd"), fin=False), max_size=5)
    marked = Frame(Opcode.CONT, bytes.fromhex("c9c90700"), rsv1=True)
    with pytest.raises(ProtocolError):
        inflater.decode(marked, max_size=5)
