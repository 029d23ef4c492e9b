"""Threads that wait go to sleep soon, unless the user or an earlier import has decided."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ({}, "", "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "", "None"),
        pytest.param({}, "import torch;", "None", marks=pytest.mark.medium),
    ],
)
def test_importing_sayso_sets_it_once_and_only_where_it_counts(
    given: dict[str, str], before: str, expected: str
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    rest = {name: value for name, value in os.environ.items() if name not in names}
    code = f"{before}import os, sayso; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=rest | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
