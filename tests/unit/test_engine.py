"""Settings of the engine become what the backplane is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from realtime_node.certificates import TlsOptions
from realtime_node.cluster.on_redis.options import RedisOptions
from realtime_node.config import EngineSettings
from realtime_node.engine import check_engine, redis_options
from realtime_node.errors import ConfigError
from tests.support.certificates import write_certificates

if TYPE_CHECKING:
    from pathlib import Path


def _options(**redis: Any) -> RedisOptions:
    return redis_options(EngineSettings.model_validate({"type": "redis", "redis": redis}).redis)


def test_defaults_are_the_same_on_both_sides() -> None:
    """Who sets nothing gets what the backplane has as default."""
    assert _options() == RedisOptions()


def test_all_of_tls_is_told() -> None:
    """Each key of both sections arrives, with the section's name for errors."""
    given = {
        "enabled": True,
        "cert_pem": "c",
        "key_pem": "k",
        "server_ca_pem": "a",
        "server_name": "n",
        "insecure_skip_verify": True,
    }
    told = TlsOptions(cert_pem="c", key_pem="k", server_ca_pem="a", server_name="n", verify=False)
    options = _options(tls=given, sentinel_tls=given | {"server_name": "s"})
    assert options.tls == told
    assert options.sentinel_tls == TlsOptions(
        cert_pem="c",
        key_pem="k",
        server_ca_pem="a",
        server_name="s",
        verify=False,
        section="engine.redis.sentinel_tls",
    )


def test_all_of_sentinel_is_told() -> None:
    """Addresses, name and credentials."""
    options = _options(
        sentinel_address=["s:1", "t"],
        sentinel_master_name="m",
        sentinel_user="u",
        sentinel_password="p",
    )
    assert options.sentinels == (("s", 1), ("t", 26379))
    assert (options.sentinel_master, options.sentinel_user) == ("m", "u")
    assert (options.sentinel_password, options.sentinel_tls) == ("p", None)


def test_a_redis_cluster_is_told() -> None:
    """Its nodes, and into how many partitions the channels are divided."""
    options = _options(cluster_address="a,b:1", partitions=12, prefix="x", user="u", password="p")
    assert options.cluster_nodes == (("a", 6379), ("b", 1))
    assert (options.partitions, options.prefix) == (12, "x")
    assert (options.endpoint.user, options.endpoint.password) == ("u", "p")


@pytest.mark.parametrize("section", ["tls", "sentinel_tls"])
def test_wrong_certificates_are_found_before_anything_runs(section: str, tmp_path: Path) -> None:
    """They are read when the engine is checked, and named as the settings name them."""
    write_certificates(tmp_path)
    tls = {
        "enabled": True,
        "cert_pem": str(tmp_path / "client.pem"),
        "key_pem": str(tmp_path / "client.key"),
    }
    check_engine(EngineSettings.model_validate({"type": "redis", "redis": {section: tls}}))
    wrong = {section: tls | {"key_pem": str(tmp_path / "server.key")}}
    settings = EngineSettings.model_validate({"type": "redis", "redis": wrong})
    with pytest.raises(ConfigError, match=rf"^engine\.redis\.{section}\.key_pem is the key of"):
        check_engine(settings)
