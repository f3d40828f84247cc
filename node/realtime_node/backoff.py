"""How long to wait before the next try: doubling, jittered, bounded."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.05
"""The bound of the first pause."""


class Backoff:
    """Full jitter between nothing and a bound that doubles up to `max_delay_s`.

    The nodes of a cluster lose Redis at the same moment; the jitter keeps them from coming back so.
    """

    def __init__(
        self, max_delay_s: float, *, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._max_delay_s = max_delay_s
        self._uniform = uniform
        self._bound_s = FIRST_S

    def next(self) -> float:
        """The next pause, in seconds."""
        pause = self._uniform(0.0, self._bound_s)
        self._bound_s = min(self._bound_s * 2, self._max_delay_s)
        return pause

    def reset(self) -> None:
        """Begin again with short pauses, after a success."""
        self._bound_s = FIRST_S
