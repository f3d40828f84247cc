"""Measures our node, Centrifugo and Socket.IO in turns, in one run: `make bench-peers`.

Takes less than a quarter of an hour, and a few minutes more the first time, when Centrifugo is
built from its Go module.
"""

from __future__ import annotations

import sys

from tests.load import rounds, suite
from tests.load.centrifugo import VERSION, CentrifugoNotBuiltError, build_centrifugo
from tests.load.servers import OUR_NODE, centrifugo, socketio
from tests.load.socketio import SocketIoNotInstalledError, install_socketio, versions


def main() -> None:
    """Make the peers if need be, then measure."""
    arguments = rounds.parse_arguments(__doc__, suite.SCENARIOS)
    try:
        command = install_socketio()
        program = build_centrifugo()
    except (CentrifugoNotBuiltError, SocketIoNotInstalledError) as failure:
        sys.exit(str(failure))
    installed = versions()
    peers = (
        f", Centrifugo {VERSION}, Socket.IO {installed['socket.io']}"
        f" (Redis streams adapter {installed['@socket.io/redis-streams-adapter']})"
    )
    kinds = [OUR_NODE, centrifugo(program), socketio(command)]
    suite.main("bench-peers", arguments, kinds, notes=peers)


if __name__ == "__main__":
    main()
