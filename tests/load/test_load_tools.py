"""The load tools count exactly what a server sent: a benchmark is worth no more than its counts."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.load import generators
from tests.load.fake_server import FakeServer, serving
from tests.load.generators import GeneratorError, SendLoopSummary
from tests.load.latencies import Latencies
from tests.load.steered_wsload import wsload
from tests.load.tools import Tools
from tests.support.conditions import eventually


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server that sends what the test tells it to."""
    async with serving() as running:
        yield running


async def test_every_publication_is_counted_and_so_is_every_frame(
    tools: Tools, server: FakeServer
) -> None:
    """50 publications to 20 clients, 3 to a frame, are 1,000 publications in 340 frames."""
    async with wsload(tools, server.port, clients=20) as load:
        assert (await load.event())["subscribed"] == 20
        await server.publish(50, per_frame=3)
        summary = await load.expect(50)
    assert summary["publications"] == 20 * 50
    assert summary["frames"] == 20 * 17
    assert summary["frames_of"] == {"2": 20, "3": 20 * 16}
    assert summary["publications_per_frame"] == pytest.approx(50 / 17, abs=0.001)
    assert summary["most_per_frame"] == 3
    assert (summary["fewest"], summary["most"], summary["complete"]) == (50, 50, 20)
    assert (summary["lost"], summary["errors"], summary["closed"]) == (0, 0, {})


async def test_a_missing_publication_shows(tools: Tools, server: FakeServer) -> None:
    """When the time is over, the clients that lack something are not complete."""
    async with wsload(tools, server.port, clients=4, seconds=0.5) as load:
        await load.event()
        await server.publish(3, per_frame=1)
        summary = await load.expect(4)
    assert (summary["complete"], summary["expected"], summary["most"]) == (0, 4, 3)


async def test_a_publication_too_many_shows(tools: Tools, server: FakeServer) -> None:
    """A client that received more than expected is not complete either."""
    async with wsload(tools, server.port, clients=4, seconds=0.5) as load:
        await load.event()
        await server.publish(3, per_frame=3)
        summary = await load.expect(2)
    assert (summary["complete"], summary["most"]) == (0, 3)


async def test_a_stalled_client_is_not_counted(tools: Tools, server: FakeServer) -> None:
    """Of 20 clients 5 stop reading: only the publications of the other 15 count."""
    async with wsload(tools, server.port, clients=20, stalled=5) as load:
        await load.event()
        await server.publish(10, per_frame=2)
        summary = await load.expect(10)
    assert (summary["stalled"], summary["complete"]) == (5, 15)
    assert (summary["publications"], summary["frames"]) == (15 * 10, 15 * 5)


async def test_closes_are_counted_by_code(tools: Tools, server: FakeServer) -> None:
    """Close frames count under their code, a reset under 1006, also those of stalled clients."""
    async with wsload(tools, server.port, clients=8, stalled=1, seconds=0.5) as load:
        await load.event()
        # The first to start is the first to stall, but another may have been accepted before it.
        for client, code in zip(server.clients, (3008, 3008, 3008, 3008, 3001, 3001), strict=False):
            await client.close(code)
        server.clients[6].reset()
        summary = await load.expect(1)
    assert summary["closed"] == {"1006": 1, "3001": 2, "3008": 4}
    assert (summary["lost"], summary["subscribed"]) == (7, 1)


async def test_stalled_clients_that_are_lost_are_told_apart(
    tools: Tools, server: FakeServer
) -> None:
    """Of 4 clients that are reset 3 read nothing: 4 are lost, 3 of them stalled."""
    async with wsload(tools, server.port, clients=4, stalled=3, seconds=0.5) as load:
        await load.event()
        for client in server.clients:
            client.reset()
        summary = await load.expect(1)
    assert (summary["lost"], summary["lost_stalled"]) == (4, 3)


async def test_a_refused_upgrade_is_counted_by_status(tools: Tools, server: FakeServer) -> None:
    """Clients answered 503 are lost, and appear as refused, not as closed."""
    server.upgrade_status = 503
    async with wsload(tools, server.port, clients=3, seconds=0) as load:
        assert (await load.event())["lost"] == 3
        summary = await load.event()
    assert (summary["refused"], summary["closed"], summary["subscribed"]) == ({"503": 3}, {}, 0)


async def test_a_refused_subscription_is_an_error(tools: Tools, server: FakeServer) -> None:
    """A client whose subscribe is answered by an error does not count as subscribed."""
    server.subscribe_error = {"code": 103, "message": "permission denied"}
    async with wsload(tools, server.port, clients=2, seconds=0) as load:
        ready = await load.event()
    assert (ready["errors"], ready["subscribed"]) == (2, 0)


async def test_latency_is_the_age_of_the_payload(tools: Tools, server: FakeServer) -> None:
    """A publication sent 300 ms ago was 300 ms under way."""
    async with wsload(tools, server.port, clients=5) as load:
        await load.event()
        await server.publish(1, per_frame=1, age_s=0.3)
        summary = await load.expect(1)
    assert 300 <= summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"] * 1.02 < 2_000


async def test_the_bins_of_latency_hold_every_publication(tools: Tools, server: FakeServer) -> None:
    """Ages of 5, 50 and 500 ms are in three places, narrow ones, for each of the clients."""
    async with wsload(tools, server.port, clients=5) as load:
        await load.event()
        for age_s in (0.5, 0.05, 0.005):
            await server.publish(1, per_frame=1, age_s=age_s)
        summary = await load.expect(3)
    latencies = Latencies.read(summary["latency_us"])
    assert latencies.count == 15
    assert latencies.below(400) == 10
    assert latencies.quantile_ms(1) == pytest.approx(summary["max_ms"], rel=0.02)
    assert all(each.width_us <= max(1, each.low_us / 64) for each in latencies.bins)


@pytest.mark.parametrize(("ages_s", "disordered"), [((3, 2, 1), 0), ((3, 1, 2), 2), ((1, 3, 2), 4)])
async def test_a_publication_older_than_one_before_it_is_out_of_order(
    tools: Tools, server: FakeServer, ages_s: tuple[int, ...], disordered: int
) -> None:
    """Two clients are each sent three; whichever comes behind a newer one counts."""
    async with wsload(tools, server.port, clients=2) as load:
        await load.event()
        for age_s in ages_s:
            await server.publish(1, per_frame=1, age_s=age_s)
        summary = await load.expect(3)
    assert summary["disordered"] == disordered


async def test_a_frame_that_arrives_in_pieces_is_one(tools: Tools, server: FakeServer) -> None:
    """A frame larger than any socket buffer takes many reads, and is counted once, whole."""
    async with wsload(tools, server.port, clients=3) as load:
        await load.event()
        await server.publish(4, per_frame=2, pad=300_000)
        summary = await load.expect(4)
    assert (summary["publications"], summary["frames"]) == (12, 6)
    assert summary["bytes"] > 12 * 300_000


async def test_clients_spread_over_channels_ports_and_addresses(
    tools: Tools, server: FakeServer
) -> None:
    """Client i is on channel i modulo M, of server i modulo N, from address i modulo K."""
    async with (
        serving() as other,
        wsload(
            tools,
            *(server.port, other.port),
            clients=12,
            channel="c",
            channels=3,
            source_ips=4,
            seconds=0,
        ) as load,
    ):
        assert (await load.event())["subscribed"] == 12
        channels = sorted(client.channel for client in server.clients)
        addresses = {client.address for client in server.clients + other.clients}
    assert channels == ["c0", "c0", "c1", "c1", "c2", "c2"]
    assert len(other.clients) == 6
    assert addresses == {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}


async def test_clients_stay_and_answer_pings_until_they_are_let_go(
    tools: Tools, server: FakeServer
) -> None:
    """After the summary the clients are still there, so that CPU time can be read undisturbed."""
    async with wsload(tools, server.port, clients=2, seconds=0) as load:
        await load.event()
        await load.event()
        await server.ping()
        await eventually(lambda: [client.pongs for client in server.clients] == [1, 1])
        assert len(server.open_clients()) == 2
    await eventually(lambda: not server.open_clients())


async def test_the_timeline_adds_up(tools: Tools, server: FakeServer) -> None:
    """A line per second, and what the lines count is what the summary counts."""
    async with wsload(tools, server.port, clients=2, timeline=True) as load:
        await load.event()
        await server.publish(6, per_frame=2)
        events = [await load.expect(6)]
        while events[-1]["event"] == "second":
            events.append(await load.event())
    seconds, summary = events[:-1], events[-1]
    assert [second["second"] for second in seconds] == list(range(len(seconds)))
    assert sum(second["publications"] for second in seconds) == summary["publications"] == 12
    assert sum(second["frames"] for second in seconds) == summary["frames"] == 6


async def test_a_credit_is_given_for_each_so_many_deliveries(
    tools: Tools, server: FakeServer
) -> None:
    """10 publications to 4 clients, a credit per 8 deliveries: 5 credits."""
    with generators.Credits(every=8, ahead=1) as credit:
        async with generators.clients(tools, [server.port], 4, seconds=5, credit=credit) as load:
            await server.publish(10, per_frame=5)
            summary = await load.expect(10)
        assert summary.publications == 40
        assert os.read(credit.read_end, 100) == b"+++++"


async def test_clients_that_cannot_subscribe_end_the_measurement(
    tools: Tools, server: FakeServer
) -> None:
    """The harness does not measure with fewer clients than it asked for."""
    server.upgrade_status = 503
    with pytest.raises(GeneratorError, match="only 0 of 2 clients"):
        async with generators.clients(tools, [server.port], 2, seconds=1):
            pass


async def test_a_publication_is_a_request_of_exact_size(tools: Tools, server: FakeServer) -> None:
    """Each request publishes 200 bytes of data with the time in it, under the API key."""
    summary = await generators.publish(tools, [server.port], seconds=10, requests=25)
    assert (summary.requests, summary.accepted, summary.rejected) == (25, 25, 0)
    assert len(server.published) == 25
    for publication in server.published:
        assert publication["channel"] == "bench"
        assert len(json.dumps(publication["data"], separators=(",", ":"))) == 200
        assert isinstance(publication["data"]["t"], int)
    assert set(server.api_keys) == {"bench"}


async def test_publications_go_to_the_channels_of_the_clients_in_turn(
    tools: Tools, server: FakeServer
) -> None:
    """Three clients in three channels, six publications: two into each of these channels."""
    async with generators.clients(tools, [server.port], 3, seconds=0, channels=3):
        subscribed = sorted(client.channel for client in server.clients)
    await generators.publish(tools, [server.port], seconds=10, requests=6, channels=3)
    assert subscribed == ["bench0", "bench1", "bench2"]
    assert [publication["channel"] for publication in server.published] == subscribed * 2


async def test_a_batch_is_one_request_of_many_publications(
    tools: Tools, server: FakeServer
) -> None:
    """5 requests of 16 publications each, every one with its time."""
    summary = await generators.publish(tools, [server.port], seconds=10, requests=5, batch=16)
    assert (summary.requests, summary.accepted) == (5, 80)
    assert len(server.api_keys) == 5
    assert len({publication["data"]["t"] for publication in server.published}) == 5


async def test_a_pace_is_kept(tools: Tools, server: FakeServer) -> None:
    """41 requests at 100 per second take 400 ms, however fast they are answered."""
    summary = await generators.publish(
        tools, [server.port], seconds=10, requests=41, rate=100, connections=2, pipeline=4
    )
    assert summary.accepted == 41
    assert summary.seconds >= 0.4


async def test_publishing_ends_in_time(tools: Tools, server: FakeServer) -> None:
    """Without a number of requests it goes on as fast as it is answered until the time is over."""
    summary = await generators.publish(tools, [server.port], seconds=0.3, connections=3, pipeline=2)
    assert summary.accepted == summary.requests == len(server.published) > 3
    assert 0.3 <= summary.seconds < 5


async def test_errors_are_counted_by_publication(tools: Tools, server: FakeServer) -> None:
    """Of 80 publications in batches every 10th is answered by an error: 8 are rejected."""
    server.api_error_every = 10
    summary = await generators.publish(tools, [server.port], seconds=10, requests=5, batch=16)
    assert (summary.accepted, summary.rejected) == (72, 8)


async def test_a_failed_request_rejects_all_of_its_publications(
    tools: Tools, server: FakeServer
) -> None:
    """A status other than 200 accepts nothing."""
    server.api_status = 503
    summary = await generators.publish(tools, [server.port], seconds=10, requests=2, batch=16)
    assert (summary.accepted, summary.rejected) == (0, 32)


async def test_a_chunked_answer_is_understood(tools: Tools, server: FakeServer) -> None:
    """A server may send an answer in chunks; its errors are found across them."""
    server.api_chunked = True
    server.api_error_every = 4
    summary = await generators.publish(
        tools, [server.port], seconds=10, requests=3, batch=16, pipeline=2
    )
    assert (summary.accepted, summary.rejected) == (36, 12)


async def test_credits_pace_the_publisher(tools: Tools, server: FakeServer) -> None:
    """Two requests ahead, and one for each credit: 2 + 3, then it ends with the credits."""
    with generators.Credits(every=1, ahead=2) as credit:
        os.write(credit.write_end, b"+++")
        credit.write_end_is_handed_over()
        summary = await generators.publish(tools, [server.port], seconds=10, credit=credit)
    assert summary.requests == len(server.published) == 5


@pytest.mark.parametrize("rate", [100, 0])
@pytest.mark.parametrize("loop", [generators.send_loop, generators.uvloop_send_loop])
async def test_a_send_loop_sends_what_it_says(
    tools: Tools, loop: Callable[..., Awaitable[SendLoopSummary]], rate: float
) -> None:
    """10 rounds to 20 connections are 200 sends, at 100 rounds per second they take 90 ms."""
    summary = await loop(tools, connections=20, frame_bytes=248, rounds=10, rate=rate)
    assert summary.sends == 200
    assert summary.us_per_send > 0
    assert summary.seconds >= (0.0899 if rate else 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--ports", "1", "--clients", "many"], '--clients is "many": give a number from 1'),
        (["--ports", "70000"], '--ports is "70000": give port numbers'),
        (["--ports", "1", "--protocol", "mqtt"], '--protocol is "mqtt": give centrifuge or'),
        ([], "wsload --ports"),
    ],
)
async def test_a_wrong_option_is_told(tools: Tools, arguments: list[str], complaint: str) -> None:
    """A wrong command line is answered by what is right, and nothing is measured."""
    process = await asyncio.create_subprocess_exec(tools.wsload, *arguments, stderr=PIPE)
    _, complaints = await process.communicate()
    assert process.returncode
    assert complaint in complaints.decode()
