"""Tails against a model: in whatever order things happen, an answer continues without a hole."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import integers
from msgspec import Raw

from realtime_node.cluster.backplane import Entry, EntryKind, Subscribed
from realtime_node.cluster.on_redis.tails import Tail, Tails
from realtime_node.protocol.messages import Publication, StreamPosition
from tests.support.selection import examples

_KEPT = 4


class _Storm(RuleBasedStateMachine):
    """One channel: a stream, an inbox that lags behind it, and a question that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.is_leased = True
        self.tails = Tails(is_leased=lambda _: self.is_leased, clock=lambda: self.now)
        self.epoch = 1
        self.stream: list[Publication] = []
        self.first = 1
        self.waiting: list[Entry] = []
        self.received = StreamPosition(offset=0, epoch="1")
        self.question: tuple[Tail, int] | None = None
        self.answer: Subscribed | None = None

    @property
    def top(self) -> StreamPosition:
        offset = self.first + len(self.stream) - 1
        return StreamPosition(offset=offset, epoch=str(self.epoch))

    @rule()
    def publish(self) -> None:
        offset = self.top.offset + 1
        publication = Publication(data=Raw(b"%d" % offset), offset=offset)
        self.stream.append(publication)
        self.waiting.append(
            Entry(
                partition=0,
                sequence=0,
                kind=EntryKind.PUBLICATION,
                channel="news",
                epoch=str(self.epoch),
                publication=publication,
            )
        )

    @precondition(lambda self: self.waiting)
    @rule(count=integers(1, 3))
    def deliver(self, count: int) -> None:
        entries, self.waiting = self.waiting[:count], self.waiting[count:]
        self.tails.feed(entries)
        for entry in entries:
            assert entry.publication is not None
            self.received = StreamPosition(offset=entry.publication.offset, epoch=entry.epoch)

    @precondition(lambda self: self.waiting)
    @rule()
    def lose_an_entry(self) -> None:
        # What `repair` does about it reaches the tails as a loss.
        self.waiting.pop(0)
        self.tails.drop(("news",))
        self.received = self.top
        self.waiting.clear()

    @rule()
    def begin_anew(self) -> None:
        self.epoch += 1
        self.stream, self.first = [], 1

    @precondition(lambda self: self.question is None)
    @rule(back=integers(0, 6))
    def ask(self, back: int) -> None:
        self.question = self.tails.open("news"), max(self.top.offset - back, 0)

    @precondition(lambda self: self.question is not None and self.answer is None)
    @rule()
    def be_answered_by_redis(self) -> None:
        assert self.question is not None
        kept = self.stream[-_KEPT:]
        missed = [each for each in kept if each.offset > self.question[1]]
        self.answer = Subscribed(top=self.top, publications=missed)

    @precondition(lambda self: self.answer is not None)
    @rule()
    def hear_the_answer(self) -> None:
        assert self.question is not None
        assert self.answer is not None
        tail, since = self.question
        self.tails.settle("news", tail, self.answer, since)
        self.question = self.answer = None

    @rule(seconds=integers(0, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def lose_the_lease(self) -> None:
        self.is_leased = not self.is_leased

    @invariant()
    def every_answer_continues(self) -> None:
        """An answer is whole in itself, and what follows it has not been received yet."""
        for offset in range(8):
            since = StreamPosition(offset=offset, epoch=str(self.epoch))
            found = self.tails.answer("news", since, 100)
            if found is None:
                continue
            assert self.is_leased
            offsets = [publication.offset for publication in found.publications]
            assert offsets == list(range(offset + 1, found.top.offset + 1))
            if found.top.epoch == self.received.epoch:
                assert found.top.offset >= self.received.offset


_Storm.TestCase.settings = settings(max_examples=examples(300), stateful_step_count=30)
test_a_tail_never_leaves_a_hole = _Storm.TestCase


def test_a_tail_is_not_older_than_its_life() -> None:
    """Two seconds after Redis was read it is read again."""
    now = 0.0
    tails = Tails(is_leased=lambda _: True, clock=lambda: now)
    since = StreamPosition(offset=3, epoch="e")
    tails.settle("news", tails.open("news"), Subscribed(top=since, publications=[]), 3)
    assert tails.answer("news", since, 10) == Subscribed(top=since, publications=[])
    now = 2.0
    assert tails.answer("news", since, 10) is None


def test_tails_are_bounded() -> None:
    """The oldest tail makes room for the sixty-fifth."""
    tails = Tails(is_leased=lambda _: True, clock=lambda: 0.0)
    top = StreamPosition(offset=1, epoch="e")
    for number in range(65):
        tail = tails.open(str(number))
        tails.settle(str(number), tail, Subscribed(top=top, publications=[]), 1)
    assert tails.answer("0", top, 10) is None
    assert tails.answer("1", top, 10) is not None
    assert tails.answer("64", top, 10) is not None


def test_a_tail_that_grows_too_large_is_dropped() -> None:
    """Memory is bounded: a tail of more than four MiB is Redis' again."""
    tails = Tails(is_leased=lambda _: True, clock=lambda: 0.0)
    top = StreamPosition(offset=0, epoch="e")
    tails.settle("news", tails.open("news"), Subscribed(top=top, publications=[]), 0)
    for offset in range(1, 6):
        assert tails.answer("news", top, 10) is not None
        publication = Publication(data=Raw(b"x" * 1_000_000), offset=offset)
        tails.feed(
            [
                Entry(
                    partition=0,
                    sequence=offset,
                    kind=EntryKind.PUBLICATION,
                    channel="news",
                    epoch="e",
                    publication=publication,
                )
            ]
        )
    assert tails.answer("news", top, 10) is None
