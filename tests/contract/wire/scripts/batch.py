"""Many calls of the HTTP API in one."""

from __future__ import annotations

from tests.contract.wire.conversation import Call
from tests.contract.wire.scripts.building import call, connect, secured, subscribe

CONVERSATIONS = [
    secured(
        "batch",
        "A batch runs its commands in order and answers each without a `result`.",
        connect("a", user="batch"),
        subscribe("a", 2, "history:batch"),
        call(
            "batch",
            commands=[
                {"publish": {"channel": "history:batch", "data": {"n": 1}}},
                {"publish": {"channel": "history:batch", "data": {"n": 2}}},
                {"publish": {"channel": "nowhere:batch", "data": {"n": 3}}},
                {"publish": {"channel": "history:batch"}},
                {"history": {"channel": "history:batch", "limit": -1}},
                {"presence_stats": {"channel": "presence:batch"}},
                {"disconnect": {"user": "nobody"}},
                {"broadcast": {"channels": ["open:batch"], "data": {"n": 4}}},
            ],
        ),
    ),
    secured(
        "batch-parallel",
        "A parallel batch answers in the order of its commands.",
        Call(
            method="batch",
            body={
                "parallel": True,
                "commands": [
                    {"publish": {"channel": "history:batch-parallel-1", "data": {"n": 1}}},
                    {"presence": {"channel": "presence:batch-parallel"}},
                    {"publish": {"channel": "nowhere:batch-parallel", "data": {"n": 1}}},
                    {"history": {"channel": "history:batch-parallel-2", "limit": -1}},
                ],
            },
        ),
    ),
    secured(
        "batch-odd",
        "A batch of nothing, and of what is no command.",
        call("batch", commands=[]),
        call("batch"),
        call("batch", commands=[{}]),
        call("batch", commands=[{"unknown": {}}]),
    ),
]
