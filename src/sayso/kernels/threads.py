"""How threads wait for each other."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

SPINS = "10000"
"""Turns of libgomp's waiting loop: less than a millisecond. Alone on a machine, as fast as more."""


def wait_briefly(environment: MutableMapping[str, str] | None = None) -> bool:
    """Let threads that wait for others go to sleep soon, instead of holding their core for long.

    PyTorch's threads meet some ten thousand times in an update. By default libgomp's spin for
    milliseconds at each meeting: on a core that somebody else uses too, the thread waited for does
    not get to run meanwhile, and beside two other trainings an update took fifteen times as long.

    The library reads its environment when PyTorch loads it: later there is nothing to set. What the
    user has set stays.

    Returns:
        Whether it was set.
    """
    environment = os.environ if environment is None else environment
    is_late = "torch" in sys.modules
    if is_late or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        return False
    environment["GOMP_SPINCOUNT"] = SPINS
    return True
