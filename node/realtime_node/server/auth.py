"""Tokens: from the JWT of a client to the claims that a session acts on.

The signature is checked by PyJWT before anything in the token is believed; then audience, issuer
and times, with Centrifugo's meaning of the claims: `exp` and `nbf` limit when a token may be used,
`expire_at` overrides when what it opened ends (0: never), without it that is `exp`, and a token
without `sub` is an anonymous user's. Only HS256, HS384 and HS512 are accepted, so "none" never is;
other algorithms and key sets will be another `TokenVerifier`.

Pure: the clock is passed in. No error holds the token, a part of it, or a key. `tokens` makes what
is verified here.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any, Final, TypeVar

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from msgspec import Raw

from realtime_node.config import ClientSettings, TokenSettings
from realtime_node.errors import ConfigError, TokenError, TokenExpiredError
from realtime_node.protocol.decoding import with_whole_characters
from realtime_node.protocol.json_codec import clean_json
from realtime_node.session.claims import (
    ConnectionClaims,
    ServerSideSubscription,
    SubscriptionClaims,
)

HASHES: Final = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
"""The accepted algorithms."""

LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999: a later time is one in milliseconds."""

_IN_SECONDS: Final = msgspec.Meta(le=LAST_SECOND)
Time = Annotated[int, _IN_SECONDS] | Annotated[float, _IN_SECONDS]
"""Unix seconds, with a fraction if the issuer likes."""


# --- the payload as it is written ---------------------------------------------------------------


class _Attachments(msgspec.Struct, kw_only=True):
    """JSON that a token brings along, as it stands or in base64."""

    info: Raw = Raw()
    b64info: str | None = None
    data: Raw = Raw()
    b64data: str | None = None


class _Registered(_Attachments, kw_only=True):
    """The claims of RFC 7519 that matter here, and those that both kinds of token share."""

    sub: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    exp: Time | None = None
    nbf: Time | None = None
    expire_at: int | None = None
    channel: str | None = None


class _ConnectionPayload(_Registered, kw_only=True):
    channels: list[str] | None = None
    subs: dict[str, _Attachments] | None = None


class _SubscriptionPayload(_Registered, kw_only=True):
    client: str | None = None


_Payload = TypeVar("_Payload", bound=_Registered)


# --- verification -------------------------------------------------------------------------------


class JwtVerifier:
    """Verifies JWTs signed with a shared secret; see `TokenVerifier`."""

    def __init__(self, settings: ClientSettings) -> None:
        """Prepare the keys.

        Raises `ConfigError` if a key is not fit for HMAC, e.g. a public key.
        """
        connection, subscription = settings.token, settings.subscription_token
        self._connection = _Trust(connection, "client.token")
        self._subscription = (
            _Trust(subscription, "client.subscription_token")
            if subscription.enabled
            else self._connection
        )

    def verify_connection_token(self, token: str, *, now: float) -> ConnectionClaims:
        """Return the claims of a connection token.

        Raises `TokenExpiredError` outside of its time, `TokenError` if it is not to be trusted.
        """
        payload = self._connection.read(token, _ConnectionPayload)
        if payload.channel:
            raise TokenError("it is a subscription token: a connection token has no claim channel")
        _check_time(payload, now)
        return ConnectionClaims(
            user=payload.sub or "",
            expire_at=_expiry(payload),
            info=_json("info", payload.info, payload.b64info),
            channels=tuple(payload.channels or ()),
            subs={
                channel: ServerSideSubscription(
                    info=_json("info", sub.info, sub.b64info),
                    data=_json("data", sub.data, sub.b64data),
                )
                for channel, sub in (payload.subs or {}).items()
            },
        )

    def verify_subscription_token(self, token: str, *, now: float) -> SubscriptionClaims:
        """Return the claims of a subscription token, whose channel and user are not yet compared.

        Raises `TokenExpiredError` outside of its time, `TokenError` if it is not to be trusted.
        """
        payload = self._subscription.read(token, _SubscriptionPayload)
        if not payload.channel:
            raise TokenError("a subscription token needs the claim channel")
        _check_time(payload, now)
        return SubscriptionClaims(
            channel=payload.channel,
            user=payload.sub or "",
            client=payload.client or "",
            expire_at=_expiry(payload),
            info=_json("info", payload.info, payload.b64info),
            data=_json("data", payload.data, payload.b64data),
        )


class _Trust:
    """Whose tokens are accepted: a key or two, and the audience and issuer asked for."""

    def __init__(self, settings: TokenSettings, place: str) -> None:
        self._place = place
        self._audience = settings.audience
        self._issuer = settings.issuer
        self._signatures = [
            _signatures(secret, f"{place}.{name}")
            for name in ("hmac_secret_key", "hmac_previous_secret_key")
            if (secret := getattr(settings, name).get_secret_value())
        ]

    def read(self, token: str, kind: type[_Payload]) -> _Payload:
        """The payload of a token by this issuer, for this audience, at whatever time."""
        text = self._signed(token)
        try:
            payload = msgspec.json.decode(with_whole_characters(text), type=kind)
        except msgspec.ValidationError as error:
            raise TokenError(f"malformed claim: {error}") from None
        except (ValueError, RecursionError):
            raise TokenError("its payload is not JSON") from None
        audiences = [payload.aud] if isinstance(payload.aud, str) else payload.aud or []
        if self._audience and self._audience not in audiences:
            raise TokenError(f"its claim aud does not name {self._place}.audience")
        if self._issuer and self._issuer != payload.iss:
            raise TokenError(f"its claim iss is not {self._place}.issuer")
        return payload

    def _signed(self, token: str) -> bytes:
        if not self._signatures:
            raise TokenError(f"no token is accepted: {self._place}.hmac_secret_key is not set")
        for signatures in self._signatures:
            try:
                payload: bytes = signatures.decode(token, algorithms=list(HASHES))
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAlgorithmError:
                raise TokenError(f"its algorithm is none of {', '.join(HASHES)}") from None
            except (jwt.PyJWTError, ValueError, RecursionError):
                raise TokenError("it is not a JWT") from None
            return payload
        raise TokenError(f"it is not signed with {self._place}.hmac_secret_key")


def _signatures(secret: str, place: str) -> jwt.PyJWS:
    """What checks signatures by one key."""
    signatures = jwt.PyJWS(algorithms=[])
    try:
        for name, digest in HASHES.items():
            signatures.register_algorithm(name, _Hmac(digest, secret))
    except jwt.InvalidKeyError as error:
        raise ConfigError(f"{place}: {error}") from None
    return signatures


class _Hmac(HMACAlgorithm):
    """An algorithm bound to its key, which is examined once and not for every token."""

    def __init__(self, digest: Any, secret: str) -> None:  # noqa: ANN401 - PyJWT's own type
        super().__init__(digest)
        self._key = super().prepare_key(secret)

    def prepare_key(self, key: str | bytes) -> bytes:  # noqa: ARG002
        return self._key

    def check_key_length(self, key: bytes) -> None:
        """Say nothing: `Settings.warnings` does so once."""


def _check_time(payload: _Registered, now: float) -> None:
    if payload.exp is not None and now >= payload.exp:
        raise TokenExpiredError(f"it expired {now - payload.exp:.0f} s ago")
    if payload.nbf is not None and now < payload.nbf:
        raise TokenExpiredError(f"it is valid in {payload.nbf - now:.0f} s only")


def _expiry(payload: _Registered) -> int:
    """When what the token opens ends, in Unix seconds; 0: never."""
    expiry = payload.exp if payload.expire_at is None else payload.expire_at
    return max(0, int(expiry or 0))  # a negative expire_at is as good as 0


def _json(claim: str, raw: Raw, base64_text: str | None) -> bytes | None:
    """An attachment, fit to be copied into frames; null is as good as none."""
    try:
        text = base64.b64decode(base64_text, validate=True) if base64_text else bytes(raw)
        return None if text in (b"", b"null") else clean_json(text)
    except ValueError as error:
        raise TokenError(f"malformed claim {claim}: {error}") from None
