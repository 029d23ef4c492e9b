"""Initial weights from a seed, without a trace in the global random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's CPU generator starts from ``seed``; afterwards it is as it was before.

    Weights are made on the CPU, so the generators of other devices need no care;
    ``torch.manual_seed`` would reseed them too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
