"""From files and the environment to settings, and every mistake told so that it can be mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from realtime_node.config import Settings, load_settings
from realtime_node.config.loading import variable
from realtime_node.config.tree import EACH, Kind, all_keys, dotted
from realtime_node.errors import ConfigError

NO_VARIABLES: Mapping[str, str] = {}
Load = Callable[..., Settings]
ProblemsOf = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load settings from a file with the given content, text or to be written as JSON."""

    def loaded(content: object, name: str = "c.json", **environ: str) -> Settings:
        path = tmp_path / name
        path.write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
        return load_settings(path, {f"REALTIME_NODE_{key}": text for key, text in environ.items()})

    return loaded


@pytest.fixture
def problems_of(load: Load) -> ProblemsOf:
    """The text of the error that loading ends in."""

    def text(content: object, name: str = "c.json", **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(content, name, **environ)
        return str(caught.value)

    return text


# --- files --------------------------------------------------------------------------------------

JSON = '{"channel": {"namespaces": [{"name": "chat", "history_size": 9, "history_ttl": "1m"}]}}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", JSON),
        ("c.JSON", JSON),
        ("c.json", "\ufeff" + JSON),
        ("c.yaml", JSON),
        ("c.yml", "channel:\n  namespaces:\n  - {name: chat, history_size: 9, history_ttl: 1m}\n"),
        ("c.toml", '[[channel.namespaces]]\nname="chat"\nhistory_size=9\nhistory_ttl="1m"\n'),
    ],
)
def test_reads_json_yaml_and_toml(load: Load, name: str, content: str) -> None:
    """The same settings come from each of the formats, which the suffix tells."""
    (chat,) = load(content, name).channel.namespaces
    assert (chat.name, chat.history_size) == ("chat", 9)


@pytest.mark.parametrize(("name", "content"), [("c.json", "{}"), ("c.yaml", ""), ("c.toml", "")])
def test_an_empty_file_means_the_defaults(load: Load, name: str, content: str) -> None:
    """Nothing has to be set."""
    assert load(content, name) == Settings()


def test_no_file_means_the_defaults() -> None:
    """Without a file, defaults and the environment are all there is."""
    assert load_settings(None, NO_VARIABLES) == Settings()


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """A file that is not there is named, and what to do about it."""
    path = tmp_path / "absent.json"
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load_settings(path, NO_VARIABLES)
    assert str(path) in str(caught.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """What cannot be read is told with the system's reason."""
    path = tmp_path / "c.json"
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_settings(path, NO_VARIABLES)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """Only UTF-8 is read, and the byte that is not is named."""
    path = tmp_path / "c.yaml"
    path.write_bytes("node: {name: Köln}".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 at byte 14"):
        load_settings(path, NO_VARIABLES)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("c.json", '{"log":\n  {"level" "info"}}', "line 2, column 12: not JSON"),
        ("c.json", "", "line 1, column 1: not JSON"),
        ("c.json", "[" * 100_000, "nested too deeply"),
        ("c.json", '{"a": ' + "9" * 5000 + "}", "digits"),
        ("c.yaml", "log:\n  level: a: b", "line 2, column 11: not YAML"),
        ("c.yaml", "log: !!python/object:os.system {}", "line 1, column 6: not YAML"),
        ("c.yaml", "a: \x01", "not YAML"),
        ("c.toml", "[log]\nlevel = x", "not TOML: Invalid value (at line 2, column 9)"),
        ("c.json", '{"log": {"level": "info", "level": "warn"}}', '"level" stands twice'),
        ("c.yaml", "log:\n  level: info\n  level: warn", 'line 3, column 3: "level" stands twice'),
        ("c.json", "[]", "has to hold sections such as http_server, not a list"),
        ("c.yaml", "just text", "has to hold sections such as http_server, not a text"),
        ("c.ini", "", "has to end in one of .json, .yaml, .yml, .toml"),
    ],
)
def test_tells_where_a_file_is_broken(
    problems_of: ProblemsOf, name: str, content: str, problem: str
) -> None:
    """A file that cannot be read names its line and column, and what was expected."""
    text = problems_of(content, name)
    assert problem in text
    assert name in text


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "place", "advice"),
    [
        (
            {"channel": {"namespaces": [{"name": "chat", "history_tll": "300s"}]}},
            'channel.namespaces[0].history_tll = "300s"',
            "did you mean channel.namespaces[0].history_ttl?",
        ),
        (
            {"channel": {"history_ttl": "300s"}},
            "channel.history_ttl",
            "did you mean channel.without_namespace.history_ttl?",
        ),
        ({"port": 8000}, "port = 8000", "did you mean http_server.port?"),
        ({"namespaces": []}, "namespaces = []", "did you mean channel.namespaces?"),
        ({"token_hmac_secret_key": "hush"}, "***", "did you mean client.token.hmac_secret_key?"),
        ({"api_key": "hush"}, "api_key = ***", "did you mean http_api.key?"),
        ({"graphite": {"host": "hush"}}, "graphite = {…}", "known here: http_server, engine, "),
        ({"log": {"x": None}}, "log.x = null", "known here: level"),
        ({"log": {"level": "loud"}}, 'log.level = "loud"', 'allowed: one of "debug", "info", '),
        ({"log": 5}, "log = 5", "allowed: a section"),
        ({"engine": {"redis": {"partitions": 0}}}, "partitions = 0", "whole number from 1 to 256"),
        ({"websocket": {"message_size_limit": "1MB"}}, '"1MB"', "a whole number of bytes"),
        ({"client": {"insecure": "yes"}}, 'client.insecure = "yes"', "allowed: true or false"),
        ({"client": {"insecure": 1}}, "client.insecure = 1", "allowed: true or false"),
        ({"client": {"ping_interval": 25}}, "ping_interval = 25", "a number needs its unit"),
        (
            {"client": {"allowed_origins": ["https://a", 5]}},
            "allowed_origins[1] = 5",
            "a list of origins",
        ),
        ({"http_api": {"key": 123}}, "http_api.key = ***", "allowed: text"),
        ({"channel": {"namespaces": [{}]}}, "channel.namespaces[0].name (", "has to be given"),
        ({"channel": {"namespaces": [{"name": "a"}]}}, 'name = "a"', "two or more letters"),
        ({"channel": {"namespaces": [5]}}, "namespaces[0] = 5", "a list of sections"),
        ({"channel": {"namespaces": {}}}, "namespaces = {…}", "a list of sections"),
        (
            {"channel": {"namespaces": [{"name": "chat", "force_recovery": True}]}},
            "channel.namespaces[0].force_recovery = true",
            "it needs history: set history_size and history_ttl",
        ),
        ({"client": {"pong_timeout": "1h"}}, 'pong_timeout = "1h"', "it has to be shorter"),
        (
            {"engine": {"redis": {"address": "redis://ann:hush@host:x"}}},
            'engine.redis.address = "redis://***@host:x"',
            "the address cannot be understood; allowed: HOST:PORT",
        ),
        ({"node": {"name": "x" * 300}}, '= "xxx', "text of at most 255 characters"),
    ],
)
def test_tells_what_is_wrong_and_what_is_allowed(
    problems_of: ProblemsOf, values: object, place: str, advice: str
) -> None:
    """A problem names its key, its value unless that is secret, and what to write instead."""
    text = problems_of(values)
    assert place in text
    assert advice in text
    assert "c.json" in text
    assert "hush" not in text
    assert max(map(len, text.splitlines())) < 500


def test_lists_all_problems_at_once(problems_of: ProblemsOf) -> None:
    """Nobody has to start the node again for every single mistake."""
    chat = {"name": "chat", "history_size": 1, "force_push_join_leave": True}
    text = problems_of(
        {"http_server": {"port": "x", "prot": 1}, "channel": {"namespaces": [chat]}},
        CLIENT__CHANNEL_LIMIT="many",
        CLIENT__NOTHING="",
    )
    assert text.startswith("The settings have 6 problems:")
    for place in (
        "http_server.port",
        "http_server.prot",
        "channel.namespaces[0].history_ttl",
        "channel.namespaces[0].force_push_join_leave",
        "client.channel_limit",
        "REALTIME_NODE_CLIENT__NOTHING",
    ):
        assert f"\n  {place}" in text


SECTIONS = [
    key.path for key in all_keys().values() if key.kind is Kind.SECTION and EACH not in key.path
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    section=st.sampled_from([(), *SECTIONS]),
    name=st.text(max_size=30),
    value=st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
)
@example(section=(), name="", value=None)
@example(section=("log",), name="a.b[0]", value="\ud83d\ude00")
def test_every_unknown_key_is_reported_with_its_path(
    tmp_path: Path, section: tuple[str, ...], name: str, value: object
) -> None:
    """Whatever its name, place and value, an unknown key is an error that names it."""
    assume((*section, name) not in all_keys())
    values: object = {name: value}
    for part in reversed(section):
        values = {part: values}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, NO_VARIABLES)
    assert f"  {dotted((*section, name))}" in str(caught.value)
    assert "unknown key" in str(caught.value)


@pytest.mark.parametrize("key", ["2", "null", "true", "1.5"])
def test_a_key_that_is_no_text_is_refused(problems_of: ProblemsOf, key: str) -> None:
    """YAML takes some bare words for values other than text, which no key is."""
    assert "a key is text: put it in quotes" in problems_of(f"log:\n  {key}: x", "c.yaml")


# --- environment --------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(load: Load) -> None:
    """A variable replaces one key and leaves its neighbours."""
    changed = load(
        {"http_server": {"port": 1, "address": "a"}, "channel": {"namespaces": [{"name": "aa"}]}},
        HTTP_SERVER__PORT="2",
        CLIENT__INSECURE="true",
        CLIENT__ALLOWED_ORIGINS='["https://example.com"]',
        CLIENT__PING_INTERVAL="30s",
        CHANNEL__NAMESPACES='[{"name": "bb", "presence": true}]',
        CHANNEL__WITHOUT_NAMESPACE__PRESENCE="true",
        LOG__LEVEL="warn",
    )
    assert (changed.http_server.port, changed.http_server.address) == (2, "a")
    assert changed.client.insecure
    assert changed.client.allowed_origins == ("https://example.com",)
    assert changed.client.ping_interval.total_seconds() == 30
    assert [namespace.name for namespace in changed.channel.namespaces] == ["bb"]
    assert changed.channel.without_namespace.presence
    assert changed.log.level == "warn"


@pytest.mark.parametrize("text", ["123", "true", '"quoted"', "null", " spaced ", "{}", "Ünï"])
def test_text_is_taken_from_the_environment_as_it_stands(load: Load, text: str) -> None:
    """A key that looks like a number, or like JSON, stays the text that it is."""
    assert load({}, HTTP_API__KEY=text).http_api.key.get_secret_value() == text


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("HTTP_SERVER_PORT", "80", "did you mean REALTIME_NODE_HTTP_SERVER__PORT?"),
        ("HTTP_API__KEYY", "hush", "did you mean REALTIME_NODE_HTTP_API__KEY?"),
        ("PORT", "8000", "did you mean REALTIME_NODE_HTTP_SERVER__PORT?"),
        ("ENGINE", "{}", "engine is a section: set its keys, e.g. REALTIME_NODE_ENGINE__TYPE"),
        ("http_api__key", "hush", "did you mean REALTIME_NODE_HTTP_API__KEY?"),
        (
            "CHANNEL__NAMESPACES__0__HISTORY_SIZE",
            "5",
            "with all its list in REALTIME_NODE_CHANNEL__NAMESPACES",
        ),
        ("", "x", "no key has this variable"),
    ],
)
def test_an_unknown_variable_is_an_error(
    problems_of: ProblemsOf, name: str, text: str, advice: str
) -> None:
    """A variable with our prefix that sets nothing is told, with the one probably meant."""
    error = problems_of({}, **{name: text})
    assert f"REALTIME_NODE_{name} = " in error
    assert advice in error
    assert "hush" not in error


def test_a_wrong_value_names_its_variable(problems_of: ProblemsOf) -> None:
    """A problem with a value from the environment is not blamed on the file."""
    error = problems_of({"http_server": {"port": 8000}}, HTTP_SERVER__PORT="eighty")
    assert 'http_server.port = "eighty" (REALTIME_NODE_HTTP_SERVER__PORT)' in error
    assert "c.json" not in error


def test_a_variable_cannot_mend_a_broken_section(problems_of: ProblemsOf) -> None:
    """A section that is none in the file stays the file's problem."""
    assert "engine = 5 (" in problems_of({"engine": 5}, ENGINE__REDIS__PREFIX="x")


def test_an_empty_section_in_yaml_is_as_good_as_none(load: Load) -> None:
    """A section whose keys are all commented out is null in YAML: defaults and variables apply."""
    content = "engine:\nclient:\n  token:\n"
    assert load(content, "c.yaml") == Settings()
    assert load(content, "c.yaml", ENGINE__TYPE="redis").engine.type == "redis"


def test_ignores_what_kubernetes_says_of_services(load: Load) -> None:
    """A Service whose name begins with realtime-node puts variables into every Pod."""
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
        "INTERNAL_SERVICE_HOST": "10.0.0.1",
        "INTERNAL_PORT": "tcp://10.0.0.1:8000",
        "INTERNAL_PORT_9000_TCP_PROTO": "tcp",
    }
    assert load({}, **links) == Settings()


def test_ignores_other_variables() -> None:
    """Only variables with our prefix are looked at."""
    assert load_settings(None, {"PATH": "/bin", "REALTIME_NODES": "x"}) == Settings()


def test_every_key_outside_of_lists_has_a_variable_of_its_own() -> None:
    """No two keys share a variable, and no key's variable is taken for one of Kubernetes'."""
    single = [key for key in all_keys().values() if EACH not in key.path and key.default]
    assert len({variable(key.path) for key in single}) == len(single)
    environ = {variable(key.path): key.default.strip('"') for key in single}
    assert load_settings(None, environ) == Settings()
    for key in single:
        if key.kind in (Kind.NUMBER, Kind.SWITCH, Kind.DURATION, Kind.CHOICE, Kind.TEXTS):
            with pytest.raises(ConfigError):
                load_settings(None, {variable(key.path): "not this"})
