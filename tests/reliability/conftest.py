"""Makes ``kill_harness`` importable by the tests of this directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sayso.runs import failpoints

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _failpoints_off() -> Iterator[None]:
    """No failpoint outlives the test that armed it."""
    failpoints.disarm()
    yield
    failpoints.disarm()
