"""A run that a guard stops, or whose checkpoints are gone: what was done is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from train_scenarios import run_training

from sayso.errors import CheckpointError


def test_fault_22_a_run_whose_checkpoints_are_gone_is_refused_and_its_logs_are_kept(
    tmp_path: Path,
) -> None:
    run_training(tmp_path / "run", "reinforce")
    shutil.rmtree(tmp_path / "run/checkpoints")
    files = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"6 steps are logged.*Put checkpoints/ back"):
        run_training(tmp_path / "run", "reinforce")
    assert {p: p.read_bytes() for p in files} == files
