"""What the kernel tells about a process, and which core each part of a benchmark runs on.

The split is the same for every server: generators, Redis and this harness share the first core,
servers have the others. So a server never competes with what loads it, and the CPU time that it is
charged is its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))  # a container may be given any of the machine's
GENERATOR_CORE = _CORES[0]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_TIME_FIELD = 14  # in proc(5), counted from 1; system time is the next
_FIRST_FIELD_AFTER_NAME = 3


def server_core(index: int) -> int:
    """Return the core of the server with this index; with more servers than cores they share."""
    others = _CORES[1:] or _CORES
    return others[index % len(others)]


def pinned(core: int) -> tuple[str, ...]:
    """Return the start of a command that keeps the rest of it on one core; the process id stays."""
    return ("taskset", "--cpu-list", str(core))


def raise_open_files_limit() -> None:
    """Let this process and its children hold as many sockets as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True)
class Clock:
    """Seconds that a process has run, and that it was ready to run while its core was taken."""

    cpu: float
    waiting: float

    def __sub__(self, earlier: Clock) -> Clock:
        return Clock(self.cpu - earlier.cpu, self.waiting - earlier.waiting)

    def __add__(self, other: Clock) -> Clock:
        return Clock(self.cpu + other.cpu, self.waiting + other.waiting)


@dataclass(frozen=True)
class Memory:
    """Resident memory in KiB; `proportional` counts pages shared with other processes in part."""

    resident: int
    proportional: int


@dataclass(frozen=True)
class Sockets:
    """Connections of a server, and what the kernel holds in their send queues, in KiB.

    One that the server closed, but whose peer takes nothing, is none of the established any more;
    what is queued for it is held on.
    """

    established: int
    queued_kib: float


def clock(pid: int) -> Clock:
    """Return the user and system time that a process has used, to 10 ms, and how long it waited.

    Raises:
        FileNotFoundError: there is no such process.
    """
    cpu = parse_cpu_seconds(Path(f"/proc/{pid}/stat").read_text())
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return Clock(cpu, sum(parse_waiting_seconds(thread.read_text()) for thread in threads))


def parse_cpu_seconds(stat: str) -> float:
    """Return user and system time from the text of /proc/PID/stat."""
    # The second field is the program's name in parentheses, in which anything may stand.
    fields = stat[stat.rindex(")") + 1 :].split()
    user = _USER_TIME_FIELD - _FIRST_FIELD_AFTER_NAME
    return (int(fields[user]) + int(fields[user + 1])) / _TICKS_PER_S


def parse_waiting_seconds(schedstat: str) -> float:
    """Return how long a thread waited for a core, from the text of /proc/PID/task/TID/schedstat."""
    return int(schedstat.split()[1]) / 1e9


def memory(pid: int) -> Memory:
    """Return the memory of a process.

    Raises:
        FileNotFoundError: there is no such process.
    """
    return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parse_memory(smaps_rollup: str) -> Memory:
    """Return the memory from the text of /proc/PID/smaps_rollup."""
    kib = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in smaps_rollup.splitlines())
        if name in {"Rss", "Pss"}
    }
    return Memory(resident=kib["Rss"], proportional=kib["Pss"])


async def sockets(port: int) -> Sockets:
    """Return the connections to a local port."""
    process = await asyncio.create_subprocess_exec(
        *pinned(GENERATOR_CORE),
        *("ss", "--tcp", "--memory", "--numeric", "--no-header", f"sport = :{port}"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return parse_sockets(output.decode())


def parse_sockets(ss: str) -> Sockets:
    """Return the connections from what `ss --tcp --memory --no-header` prints."""
    # "w" is the memory of what is queued to be written, in bytes.
    queued = map(int, re.findall(r"[(,]w(\d+)", ss))
    established = re.findall(r"^ESTAB\b", ss, re.MULTILINE)
    return Sockets(established=len(established), queued_kib=sum(queued) / 1024)


def describe() -> str:
    """Return one line about this machine, for the head of a report."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2] for line in cpuinfo.splitlines() if "model name" in line]
    kernel = os.uname()
    model = models[0].strip() if models else kernel.machine
    return f"{len(_CORES)} cores ({model}), {kernel.sysname} {kernel.release}"
