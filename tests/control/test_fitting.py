"""What is fitted before the first step: as many components as there are; kept, and taken again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sayso.control import fitting
from sayso.control.controller import Controller, controller
from sayso.control.features import principal_at_most
from sayso.control.probes import probe
from sayso.errors import OptionValueError
from sayso.models.options import TinyOptions
from sayso.models.tiny import tiny_model

SHAPE = TinyOptions(width=16, layers=1)


def made(seed: int = 0, **options: Any) -> Controller:
    small = {"num_probes": 8, "max_new_tokens": 2, "num_dims": 2, "observation": "pca",
             "num_components": 3, "num_states": 8}  # fmt: skip
    return controller(tiny_model(SHAPE, seed=seed), "sayso/Writing-v0", **{**small, **options})


def test_what_took_long_is_kept_and_taken_again_for_the_same_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "cache_folder", lambda: tmp_path)
    asked = []

    def counted(*args: Any) -> Any:
        asked.append(args)
        return probe(*args)

    monkeypatch.setattr(fitting, "probe", counted)
    monkeypatch.setattr(fitting, "WORTH_KEEPING_S", float("inf"))
    made()
    assert not list(tmp_path.rglob("*")), "it is not worth it"
    monkeypatch.setattr(fitting, "WORTH_KEEPING_S", 0.0)
    first = made()
    names = sorted(path.name.split("-")[0] for path in tmp_path.glob("control/*.safetensors"))
    assert (names, len(asked)) == (["directions", "state"], 2)
    again = made()
    assert len(asked) == 2
    assert again.fitted.keys() == first.fitted.keys()
    for name, array in first.fitted.items():
        np.testing.assert_array_equal(array, again.fitted[name])
    made(seed=1)  # other weights
    made(temperature=0.5)
    made(task_kwargs={})
    assert len(asked) == 4
    monkeypatch.setattr(fitting, "code_digest", lambda: "changed")
    made()
    assert len(asked) == 5
    for path in tmp_path.glob("control/*.safetensors"):
        path.write_bytes(b"torn")
    np.testing.assert_array_equal(made().fitted["directions"], first.fitted["directions"])
    assert len(asked) == 6


def test_what_fitting_takes_is_told_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(fitting, "READ_TOGETHER", 3)
    with caplog.at_level(logging.WARNING, "sayso"):
        moved = made(num_probes=8, num_states=8)
    assert "reads 8 prompts, for what the agent is to see: sayso/Writing-v0" in caplog.text
    assert "  3 of 8" in caplog.text
    assert "gives 8 answers of at most 2 tokens, to find 2 directions" in caplog.text
    used = fitting.spent(moved.fitted)
    assert (used["reward_queries"], used["episodes"]) == (8, 8)
    seat = moved.seat()
    shortest = min(len(seat.begin(seed).context) for seed in range(30))
    assert used["env_tokens"] >= 16 * shortest + 8  # as many prompts, and an answer to half of them
    assert used["wall_clock"] > 0


def test_fewer_components_than_asked_for_are_told(caplog: pytest.LogCaptureFixture) -> None:
    points = np.zeros((6, 4), np.float32)
    points[:, :2] = np.random.default_rng(0).normal(size=(6, 2))
    with caplog.at_level(logging.WARNING, "sayso"):
        found = principal_at_most(points, 3, what="num_components")
    assert found.axes.shape == (2, 4)
    assert principal_at_most(points, 1, what="num_components").axes.shape == (1, 4)
    assert "vary in 2 dimensions only: control.num_components is 2 here instead of 3" in caplog.text
    with pytest.raises(OptionValueError, match=r"states are the same.*observation = 'hidden'"):
        principal_at_most(np.ones((6, 4), np.float32), 3, what="num_components")
