"""What stalled clients cost a server and the others of their channel, beside a calm run of it.

The load is that of `flow_scenarios`; here a server has the rules that it has by itself.
"""

from __future__ import annotations

from typing import Final

from tests.load import flow_scenarios
from tests.load.results import Stalling
from tests.load.scenarios import Lab
from tests.load.servers import Kind

STALLED: Final = 200


async def stalling(lab: Lab, kind: Kind) -> Stalling:
    """Deliver 20 publications of 4 KB per second to 2,000 clients: all read, then 200 do not."""
    calm, stalled = [await flow_scenarios.stalled(lab, kind, count) for count in (0, STALLED)]
    return Stalling(
        p99_ratio=stalled.p99_ms / max(calm.p99_ms, 1e-3),
        cpu_ratio=stalled.cpu_s / max(calm.cpu_s, 1e-3),
        calm_p99_ms=calm.p99_ms,
        p99_ms=stalled.p99_ms,
        calm_cpu_s=calm.cpu_s,
        cpu_s=stalled.cpu_s,
        user_kib_per_stalled=(stalled.user_kib - calm.user_kib) / STALLED,
        kernel_kib_per_stalled=(stalled.kernel_kib - calm.kernel_kib) / STALLED,
        ended=stalled.ended,
        lost_others=stalled.lost_others,
        whole_percent=min(calm.whole_percent, stalled.whole_percent),
        waiting_percent=max(calm.waiting_percent, stalled.waiting_percent),
    )
