"""The C library keeps freed memory, and says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource
from sayso.kernels.allocator import keep_freed_memory
import torch
kept = keep_freed_memory() if {keep} else None
for _ in range(30):  # until the heap has grown to what is needed
    torch.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(8 << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(keep=keep)], capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.medium
def test_the_same_large_tensor_again_costs_no_page_faults() -> None:
    plain, kept = faults(keep=False), faults(keep=True)
    if kept[0] == "False":
        return  # not glibc: nothing was promised
    assert kept == ("True", kept[1])
    assert kept[1] * 10 < plain[1]
