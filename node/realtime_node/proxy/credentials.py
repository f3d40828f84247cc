"""Under which key an answer is kept: a digest of all that the backend was asked with. Pure.

The same question has the same key on every node and in every process of this release. What is one
request's alone (the client's id, ids of traces) is left out, or no key would be found again.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from msgspec import UNSET

from realtime_node.proxy.backend import Headers
from realtime_node.proxy.messages import ConnectRequest, SubscribeRequest

_OF_ONE_REQUEST: Final = frozenset(
    {
        *("b3", "cf-ray", "request-id", "traceparent", "tracestate", "x-amzn-trace-id"),
        *("x-b3-parentspanid", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"),
        *("x-cloud-trace-context", "x-correlation-id", "x-request-id", "x-request-start"),
    }
)
_OF_MANY_CLIENTS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "dnt", "forwarded"),
        *("origin", "pragma", "referer", "sec-websocket-protocol", "user-agent", "via"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
        *("x-real-ip",),
    }
)
"""Headers that tell where a client is and what program, and not who."""


def key_of(
    proxy: str, request: ConnectRequest | SubscribeRequest, passed_on: Headers
) -> bytes | None:
    """Return the key of a question; None: it does not say who asks, so its answer is not kept.

    `passed_on` are the client's headers, static ones left out. Without credentials a backend may
    well give every client another user, and one of them must not become everybody's.
    """
    headers = sorted(header for header in passed_on if header[0] not in _OF_ONE_REQUEST)
    is_known = isinstance(request, SubscribeRequest) and request.user
    says_who = any(name not in _OF_MANY_CLIENTS and value for name, value in headers)
    if not (is_known or says_who or request.data is not UNSET or request.b64data):
        return None
    anonymous = msgspec.structs.replace(request, client="")
    question = (proxy, type(request).__name__, msgspec.json.encode(anonymous), headers)
    return hashlib.sha256(msgspec.msgpack.encode(question)).digest()
