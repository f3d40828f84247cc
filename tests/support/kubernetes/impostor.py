"""Somebody who answers the operator in a node's place, while the node serves its clients.

    operator -> internal port of the Pod -> redirected in the Pod's network -> a server of files

Only what comes from the operator is redirected. Probes, the backend and the tests themselves reach
the node, so that nothing but the operator's picture of it is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from tests.support.kubernetes.lab import Lab

INTERNAL_PORT: Final = 9000
TABLE: Final = "impostor"
RULES: Final = """
table ip {table} {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
    ip saddr {{ {sources} }} tcp dport {port} redirect to :{own_port}
  }}
}}
"""


class Impostor(NamedTuple):
    """What the server of files tells, and was asked."""

    folder: Path
    log: Path

    def say(self, status: str) -> None:
        """Answer so on `/status` from now on."""
        new = self.folder / "new"
        new.write_text(status)
        new.rename(self.folder / "status")

    def asked(self) -> int:
        """How often the operator has asked so far."""
        return self.log.read_text().count('"GET /status ')


@contextmanager
def impostor(
    lab: Lab, pod: Mapping[str, Any], operators: Sequence[str], status: str
) -> Iterator[Impostor]:
    """Answer those with the IP addresses `operators` in the place of `pod`, within the block."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()))
        made = Impostor(place / "files", place / "log")
        made.folder.mkdir()
        made.say(status)
        log = stack.enter_context(made.log.open("w"))
        options = ("--bind", pod["status"]["podIP"], "--directory", str(made.folder), "0")
        command = lab.inside(pod, sys.executable, "-u", "-m", "http.server", *options)
        server = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        )
        stack.callback(server.terminate)
        assert server.stdout
        announced = server.stdout.readline()  # Serving HTTP on 198.18.129.7 port 40001 (http://...
        assert announced, made.log.read_text()
        rules = RULES.format(
            table=TABLE,
            sources=", ".join(operators),
            port=INTERNAL_PORT,
            own_port=announced.split()[5],
        )
        lab.do_inside(pod, "nft", "--file", "-", given=rules)
        stack.callback(lab.do_inside, pod, "nft", "delete", "table", "ip", TABLE)
        yield made
