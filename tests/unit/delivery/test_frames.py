"""Frames in several forms: each made when it is needed, once, and only where it is worth it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_node.delivery.frames import MAX_COMPRESSED_BYTES
from realtime_node.protocol.deflate import UNCOMPRESSED
from realtime_node.telemetry.metrics import Metrics, total
from tests.support.fakes import framer_of, is_compressed, payload_of

TEXT = b"all work and no play " * 100

wires = st.sampled_from([UNCOMPRESSED, *range(9, 16)])


@given(st.binary(max_size=2000), st.lists(wires, min_size=1), st.integers(0, 2000))
def test_every_client_reads_the_payload(payload: bytes, readers: list[int], floor: int) -> None:
    """Whatever a client agreed to, what it is given holds the payload."""
    frame = framer_of(min_bytes=floor).frame(payload)
    for wire in readers:
        form = frame.on(wire).data
        assert payload_of(form) == payload
        assert form is frame.on(wire).data
        if wire == UNCOMPRESSED or len(payload) < floor:
            assert not is_compressed(form)


@given(st.binary(min_size=300, max_size=2000), st.lists(wires, min_size=1, max_size=30))
def test_forms_are_made_once(payload: bytes, readers: list[int]) -> None:
    """A payload is compressed at most once for each window, in whatever order clients come."""
    metrics = Metrics()
    frame = framer_of(metrics).frame(payload)
    for wire in readers:
        frame.on(wire)
    assert total(metrics.compression.frames) <= len(set(readers) - {UNCOMPRESSED})


def test_nothing_is_made_before_it_is_needed() -> None:
    """A frame that nobody reads compressed is not compressed."""
    metrics = Metrics()
    frame = framer_of(metrics).frame(TEXT)
    frame.on(UNCOMPRESSED)
    assert total(metrics.compression.frames) == 0
    frame.on(15)
    assert total(metrics.compression.frames) == 1


@pytest.mark.parametrize(
    ("length", "is_small"),
    [(99, False), (100, True), (MAX_COMPRESSED_BYTES, True), (MAX_COMPRESSED_BYTES + 1, False)],
)
def test_only_payloads_between_the_bounds_are_compressed(length: int, is_small: bool) -> None:
    """Short ones save nothing, and for the longest the loop would stand still."""
    framer = framer_of(min_bytes=100)
    assert is_compressed(framer.frame(b"x" * length).on(15).data) is is_small
    assert is_compressed(framer.single(b"x" * length, 15)) is is_small


def test_what_does_not_shrink_goes_plain() -> None:
    """Noise costs an attempt, and then nobody has to unpack it."""
    metrics = Metrics()
    noise = os.urandom(1000)
    frame = framer_of(metrics).frame(noise)
    assert not is_compressed(frame.on(15).data)
    assert payload_of(frame.on(15).data) == noise
    assert total(metrics.compression.frames) == 1


def test_a_reply_is_framed_as_its_client_reads_it() -> None:
    """What is for one client alone follows the same rules."""
    framer = framer_of()
    assert not is_compressed(framer.single(TEXT, UNCOMPRESSED))
    assert is_compressed(framer.single(TEXT, 12))
    assert payload_of(framer.single(TEXT, 12)) == TEXT


@pytest.mark.parametrize(("level", "writes"), [(1, 100), (6, 600)])
def test_compressing_is_told_in_writes(level: int, writes: int) -> None:
    """The hub learns what was spent, by size and level, so that it can stop in time."""
    framer = framer_of(level=level)
    before = framer.spent_writes
    framer.frame(b"x" * 51_200).on(15)
    assert framer.spent_writes - before == writes
