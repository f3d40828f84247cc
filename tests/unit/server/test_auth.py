"""Tokens: whose are believed, for how long, and what they say."""

from __future__ import annotations

import base64
import json
from typing import Final

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime_node.config import ClientSettings
from realtime_node.errors import ConfigError, TokenError, TokenExpiredError
from realtime_node.server.auth import JwtVerifier
from realtime_node.server.tokens import make_connection_token, make_subscription_token
from realtime_node.session.claims import ServerSideSubscription, TokenVerifier
from tests.support.selection import examples

SECRET: Final = "a secret of thirty-two characters"
OTHER_SECRET: Final = "another secret of so many letters"
NOW: Final = 1_800_000_000.0
NAMES: Final = (
    *("sub", "exp", "nbf", "aud", "iss", "expire_at", "channel", "channels", "subs", "client"),
    *("info", "b64info", "data", "b64data", "meta", "override"),
)
"""All claims that mean something here, or to Centrifugo."""


def verifier(**token: str) -> TokenVerifier:
    """A verifier that shares `SECRET` with the issuer."""
    return JwtVerifier(
        ClientSettings.model_validate({"token": {"hmac_secret_key": SECRET, **token}})
    )


def raw_token(payload: bytes, header: bytes = b'{"alg":"HS256"}') -> str:
    """A well signed token of any bytes."""
    hmac = jwt.get_algorithm_by_name("HS256")
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = base64.urlsafe_b64encode(hmac.sign(signed, SECRET.encode())).rstrip(b"=")
    return (signed + b"." + signature).decode()


def connection_token(**claims: object) -> str:
    """A token of exactly these claims."""
    return raw_token(json.dumps(claims).encode())


UNSIGNED: Final = raw_token(b"{}", b'{"alg":"none"}').rpartition(".")[0] + "."


# --- what tokens say ----------------------------------------------------------------------------


def test_reads_a_connection_token() -> None:
    """Every claim of a connection token reaches the session."""
    token = make_connection_token(
        SECRET,
        "ann",
        expires_at=int(NOW) + 60,
        channels=["news"],
        info={"name": "Ann"},
        subs={"chat:a": {"info": {"b": 1}, "b64data": base64.b64encode(b"[1]").decode()}},
    )
    claims = verifier().verify_connection_token(token, now=NOW)
    assert claims.user == "ann"
    assert claims.expire_at == NOW + 60
    assert claims.info == b'{"name":"Ann"}'
    assert claims.channels == ("news",)
    assert claims.subs == {"chat:a": ServerSideSubscription(info=b'{"b":1}', data=b"[1]")}


def test_reads_a_subscription_token() -> None:
    """Every claim of a subscription token reaches the session."""
    token = make_subscription_token(
        SECRET, "ann", "chat:a", expires_at=int(NOW) + 60, client="c1", info=[1]
    )
    claims = verifier().verify_subscription_token(token, now=NOW)
    assert (claims.user, claims.channel, claims.client) == ("ann", "chat:a", "c1")
    assert (claims.expire_at, claims.info) == (NOW + 60, b"[1]")


def test_what_a_token_leaves_out_is_empty() -> None:
    """A token without `sub` is an anonymous user's, and one without `exp` never expires."""
    claims = verifier().verify_connection_token(connection_token(), now=NOW)
    assert (claims.user, claims.expire_at, claims.info) == ("", 0, None)
    assert (claims.channels, claims.subs) == ((), {})


def test_null_is_as_good_as_nothing() -> None:
    """A claim that is null counts as left out."""
    nulls = dict.fromkeys(NAMES)
    assert verifier().verify_connection_token(
        connection_token(**nulls), now=NOW
    ) == verifier().verify_connection_token(connection_token(), now=NOW)
    claims = verifier().verify_subscription_token(
        connection_token(**nulls | {"channel": "a"}), now=NOW
    )
    assert (claims.user, claims.client, claims.expire_at, claims.info) == ("", "", 0, None)


def test_half_a_character_is_replaced() -> None:
    """A name that was cut within an emoji opens a connection all the same."""
    for claims in ({"sub": "Ann \ud83d"}, {"sub": "Ann \ud83d", "info": {"name": "Ann \ud83d"}}):
        read = verifier().verify_connection_token(connection_token(**claims), now=NOW)
        assert read.user == "Ann \ufffd"
        assert read.info in {None, rb'{"name": "Ann \ufffd"}'}
    token = make_subscription_token(SECRET, "ann", "chat:\ud83d")
    assert verifier().verify_subscription_token(token, now=NOW).channel == "chat:\ufffd"


def test_claims_without_meaning_here_are_ignored() -> None:
    """A token may carry what concerns others, as JWTs do."""
    token = connection_token(sub="ann", iat="yesterday", jti=5, roles=["admin"])
    assert verifier().verify_connection_token(token, now=NOW).user == "ann"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_accepts_every_hmac(algorithm: str) -> None:
    """All three hashes are accepted with the same secret."""
    token = jwt.encode({"sub": "ann"}, SECRET * 2, algorithm=algorithm)
    verifying = verifier(hmac_secret_key=SECRET * 2)
    assert verifying.verify_connection_token(token, now=NOW).user == "ann"


def test_info_fits_into_one_line_of_a_frame() -> None:
    """JSON over several lines, which would split a frame's messages, is brought into one."""
    token = raw_token(b'{"info": {"a":\n 1.10e5}}')
    assert verifier().verify_connection_token(token, now=NOW).info == b'{"a":1.10e5}'
    encoded = base64.b64encode(b'{"a":\n1}').decode()
    token = connection_token(b64info=encoded, info="overridden")
    assert verifier().verify_connection_token(token, now=NOW).info == b'{"a":1}'


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "expire_at"),
    [
        ({"exp": NOW + 60.9}, NOW + 60),
        ({"exp": NOW + 60, "expire_at": int(NOW) + 9}, NOW + 9),
        ({"exp": NOW + 60, "expire_at": 0}, 0),
        ({"exp": NOW + 60, "expire_at": -5}, 0),
        ({"expire_at": int(NOW) + 9}, NOW + 9),
        ({"nbf": NOW, "exp": NOW + 0.5}, NOW),
    ],
)
def test_expire_at_overrides_when_a_connection_ends(
    claims: dict[str, object], expire_at: int
) -> None:
    """`exp` limits the use of the token and, unless `expire_at` says otherwise, what it opened."""
    token = connection_token(**claims)
    assert verifier().verify_connection_token(token, now=NOW).expire_at == expire_at


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": 0},
        {"exp": -1e300},
        {"exp": NOW - 1, "expire_at": int(NOW) + 60},
        {"nbf": NOW + 1},
    ],
)
def test_a_token_out_of_its_time_is_expired(claims: dict[str, object]) -> None:
    """Past `exp`, or before `nbf`, a client is asked for a new token, whatever it would open."""
    with pytest.raises(TokenExpiredError):
        verifier().verify_connection_token(connection_token(**claims), now=NOW)
    token = connection_token(channel="a", **claims)
    with pytest.raises(TokenExpiredError):
        verifier().verify_subscription_token(token, now=NOW)


def test_a_forged_token_is_never_called_expired() -> None:
    """Nothing in a token is told before its signature is known to be good."""
    token = jwt.encode({"exp": NOW - 1}, OTHER_SECRET)
    with pytest.raises(TokenError, match="not signed with") as caught:
        verifier().verify_connection_token(token, now=NOW)
    assert not isinstance(caught.value, TokenExpiredError)


# --- whose tokens are believed ------------------------------------------------------------------


def in_base64(text: bytes) -> str:
    """What a claim such as `b64info` holds."""
    return base64.b64encode(text).decode()


DEEP: Final = b"[" * 100_000
BAD_TOKENS: Final = {
    "empty": ("", "not a JWT"),
    "no base64": ("a.b.c", "not a JWT"),
    "surrogates": ("\ud800.\ud800.\ud800", "not a JWT"),
    "other secret": (jwt.encode({}, OTHER_SECRET), "not signed with client.token.hmac_secret_key"),
    "unsigned": (
        UNSIGNED,
        "algorithm is none of HS256, HS384, HS512",
    ),
    "public key": (raw_token(b"{}", b'{"alg":"RS256"}'), "algorithm is none of"),
    "list of algorithms": (raw_token(b"{}", b'{"alg":["HS256"]}'), "algorithm is none of"),
    "no algorithm": (raw_token(b"{}", b"{}"), "algorithm is none of"),
    "deep header": (raw_token(b"{}", DEEP), "not a JWT"),
    "critical header": (raw_token(b"{}", b'{"alg":"HS256","crit":["x"],"x":1}'), "not a JWT"),
    "detached": (raw_token(b"{}", b'{"alg":"HS256","b64":false,"crit":["b64"]}'), "not a JWT"),
    "no payload": (raw_token(b""), "payload is not JSON"),
    "no UTF-8": (raw_token(b'{"sub":"\xff"}'), "payload is not JSON"),
    "no UTF-8 in info": (raw_token(b'{"info":"\xff"}'), "malformed claim info"),
    "deep info": (raw_token(b'{"info":' + DEEP), "payload is not JSON"),
    "deep elsewhere": (raw_token(b'{"x":' + DEEP), "payload is not JSON"),
    "a list": (raw_token(b"[]"), "malformed claim"),
    "endless exp": (raw_token(b'{"exp":1e999}'), "malformed claim"),
    "number as sub": (connection_token(sub=5), r"malformed claim: .* at `\$.sub`"),
    "text as exp": (connection_token(exp="soon"), r"malformed claim: .* at `\$.exp`"),
    "milliseconds": (connection_token(exp=NOW * 1000), r"malformed claim: .* at `\$.exp`"),
    "true as exp": (connection_token(exp=True), r"malformed claim: .* at `\$.exp`"),
    "text as channels": (connection_token(channels="news"), r"malformed claim: .*`\$.channels`"),
    "list as subs": (connection_token(subs=["news"]), r"malformed claim: .*`\$.subs`"),
    "broken base64": (connection_token(b64info="%"), "malformed claim info"),
    "broken JSON in base64": (connection_token(b64info=in_base64(b"{")), "malformed claim info"),
    "no UTF-8 in base64": (connection_token(b64info=in_base64(b'"\xff"')), "malformed claim info"),
    "deep JSON in base64": (connection_token(b64info=in_base64(DEEP)), "malformed claim info"),
    "broken base64 in subs": (connection_token(subs={"a": {"b64data": "%"}}), "claim data"),
    "other kind": (connection_token(channel="a"), "it is a subscription token"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_refuses_what_cannot_be_trusted(case: str) -> None:
    """Every kind of broken or forged token is refused with its reason."""
    token, reason = BAD_TOKENS[case]
    with pytest.raises(TokenError, match=reason):
        verifier().verify_connection_token(token, now=NOW)


def test_a_subscription_token_needs_its_channel() -> None:
    """A connection token is no subscription token."""
    with pytest.raises(TokenError, match="needs the claim channel"):
        verifier().verify_subscription_token(make_connection_token(SECRET, "ann"), now=NOW)


@pytest.mark.parametrize(
    ("setting", "claim", "accepted"),
    [
        ({"audience": "us"}, {"aud": "us"}, True),
        ({"audience": "us"}, {"aud": ["them", "us"]}, True),
        ({"audience": "us"}, {"aud": "usa"}, False),
        ({"audience": "us"}, {"aud": []}, False),
        ({"audience": "us"}, {}, False),
        ({}, {"aud": "anyone", "iss": "anyone"}, True),
        ({"issuer": "us"}, {"iss": "us"}, True),
        ({"issuer": "us"}, {"iss": "them"}, False),
        ({"issuer": "us"}, {}, False),
    ],
)
def test_asks_for_audience_and_issuer_where_configured(
    setting: dict[str, str], claim: dict[str, object], *, accepted: bool
) -> None:
    """A token for another audience, or by another issuer, is refused; unasked, any will do."""
    verifying, token = verifier(**setting), connection_token(**claim)
    if accepted:
        verifying.verify_connection_token(token, now=NOW)
    else:
        with pytest.raises(TokenError, match=r"its claim (aud|iss)"):
            verifying.verify_connection_token(token, now=NOW)


def test_without_a_secret_no_token_is_accepted() -> None:
    """An unset secret is not an empty one that anybody could sign with."""
    for token in ("a.b.c", UNSIGNED, connection_token()):
        with pytest.raises(TokenError, match="hmac_secret_key is not set"):
            verifier(hmac_secret_key="").verify_connection_token(token, now=NOW)


def test_subscription_tokens_may_have_a_secret_of_their_own() -> None:
    """With `client.subscription_token` enabled, each secret signs only its own kind."""
    verifying = JwtVerifier(
        ClientSettings.model_validate(
            {
                "token": {"hmac_secret_key": SECRET},
                "subscription_token": {"enabled": True, "hmac_secret_key": OTHER_SECRET},
            }
        )
    )
    token = make_subscription_token(OTHER_SECRET, "ann", "a")
    assert verifying.verify_subscription_token(token, now=NOW).user == "ann"
    with pytest.raises(TokenError, match=r"client.subscription_token.hmac_secret_key"):
        verifying.verify_subscription_token(make_subscription_token(SECRET, "", "a"), now=NOW)
    with pytest.raises(TokenError, match=r"client.token.hmac_secret_key"):
        verifying.verify_connection_token(make_connection_token(OTHER_SECRET, ""), now=NOW)


def test_a_public_key_is_no_secret() -> None:
    """A public key in place of the secret would let everybody sign; it stops the node."""
    pem = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"
    with pytest.raises(ConfigError, match=r"client.token.hmac_secret_key"):
        verifier(hmac_secret_key=pem)


def test_a_short_secret_works() -> None:
    """A short secret is warned of at the start, not with every token."""
    token = raw_token(b'{"sub":"ann"}')
    with pytest.raises(TokenError, match="not signed"):
        verifier(hmac_secret_key="short").verify_connection_token(token, now=NOW)


# --- anything at all ----------------------------------------------------------------------------

VERIFIER: Final = verifier()
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CLAIMS: Final = st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=8)


def refuses_or_reads(token: str) -> None:
    """Verify as both kinds: claims or a TokenError that does not hold the token."""
    for verify in (VERIFIER.verify_connection_token, VERIFIER.verify_subscription_token):
        try:
            claims = verify(token, now=NOW)
        except TokenError as error:
            assert len(token) < 40 or token not in str(error)  # noqa: PT017
        else:
            assert claims.expire_at >= 0
            if claims.info is not None:
                assert b"\n" not in claims.info
                json.loads(claims.info)


@settings(max_examples=examples(500))
@given(st.text() | st.lists(st.text(alphabet="aZ09-_=."), min_size=3, max_size=3).map(".".join))
def test_garbage_is_refused_with_a_token_error(token: str) -> None:
    """No text, however broken, raises anything else."""
    refuses_or_reads(token)


@settings(max_examples=examples(500))
@given(st.binary(), st.binary() | st.just(b'{"alg":"HS256"}'))
@example(payload=b'{"exp":' + b"9" * 5000 + b"}", header=b'{"alg":"HS256"}')
@example(payload=b"{}", header=b'{"alg":"HS256","x":' + b"9" * 5000 + b"}")
def test_signed_garbage_is_refused_with_a_token_error(payload: bytes, header: bytes) -> None:
    """Not even the issuer can make the verifier fail otherwise."""
    refuses_or_reads(raw_token(payload, header))


@settings(max_examples=examples(500))
@given(CLAIMS)
def test_claims_of_any_type_are_read_or_refused(claims: dict[str, object]) -> None:
    """A claim of the wrong type is a TokenError, too."""
    refuses_or_reads(raw_token(json.dumps(claims).encode()))


@settings(max_examples=examples(200))
@given(st.data())
def test_a_changed_token_is_never_accepted(data: st.DataObject) -> None:
    """Changing any one character of a token makes it worthless."""
    token = make_connection_token(SECRET, "ann", expires_at=int(NOW) + 60)
    index = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda other: other != token[index]))
    with pytest.raises(TokenError):
        VERIFIER.verify_connection_token(token[:index] + letter + token[index + 1 :], now=NOW)


# --- changing keys ------------------------------------------------------------------------------


def test_tokens_of_the_previous_key_are_accepted_while_it_is_set() -> None:
    """Both keys sign; a third does not."""
    both = verifier(hmac_secret_key=OTHER_SECRET, hmac_previous_secret_key=SECRET)
    for secret in (SECRET, OTHER_SECRET):
        token = make_connection_token(secret, "ann", expires_at=int(NOW) + 60)
        assert both.verify_connection_token(token, now=NOW).user == "ann"
    forged = make_connection_token("f" * 32, "ann", expires_at=int(NOW) + 60)
    with pytest.raises(TokenError, match="not signed"):
        both.verify_connection_token(forged, now=NOW)
    token = make_connection_token(SECRET, "ann", expires_at=int(NOW) + 60)
    with pytest.raises(TokenError, match="not signed"):
        verifier(hmac_secret_key=OTHER_SECRET).verify_connection_token(token, now=NOW)
    with pytest.raises(TokenError, match="algorithm"):
        both.verify_connection_token(UNSIGNED, now=NOW)
