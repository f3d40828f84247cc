"""What a test needs from the machine: asked for here, so that one rule holds for all.

A prerequisite that is missing skips the test on a developer's machine and says how to get it. Under
CI it fails the test instead: a skip there would pass for a test that ran.
"""

import os
import shutil
from typing import overload

import pytest


@overload
def require(needed: str, fix: str) -> str: ...
@overload
def require(needed: bool, fix: str) -> None: ...
def require(needed: str | bool, fix: str) -> str | None:
    """Return the path of the command `needed`, or None where `needed` is a condition that holds.

    Otherwise end the calling test, fixture or test module: skipped, or failed where the environment
    has CI=true. `fix` is the command that mends it, e.g. "apt-get install redis-server".

    Raises:
        pytest.skip.Exception: it is missing on a developer's machine.
        pytest.fail.Exception: it is missing under CI.
    """
    if needed is True:
        return None
    if isinstance(needed, str):
        path = shutil.which(needed)
        if path is not None:
            return path
        reason = f"{needed} is not on PATH; to get it: {fix}"
    else:
        reason = f"a prerequisite is missing; to get it: {fix}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
