"""Fingerprints of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from sayso.errors import CheckpointError, LogError, RunError
from sayso.runs import commit
from sayso.runs.digest import _sha256, digest_run, without_clocks
from sayso.runs.jsonl import JsonlLog
from sayso.runs.ledger import EpisodeLog
from sayso.runs.run import Run
from sayso.types import EndReason, Episode, Task, Turn

TENSORS = {"layer.w": np.arange(6, dtype=np.float32).reshape(2, 3), "optimiser.m": np.ones(3)}
VALUES: dict[str, Any] = {
    "learner": {"baseline": 0.1, "elapsed_s": 3.0},
    "progress": {"step": 4, "num_blocks": 2},
    "offsets": {"metrics": 101},
}
METRICS: list[dict[str, Any]] = [
    {"step": 1, "reward/mean": 0.5, "time/step_s": 1.25, "tokens_per_s": 99.0, "time": 12345.6},
    {"step": 2, "reward/mean": 0.25, "train_s": 2.0},
]


def _episode(reward: float) -> Episode:
    turn = Turn(observation_ids=(1,), action_ids=(2,), action_logprobs=(-0.5,), reward=reward)
    return Episode(
        task=Task(id="t", env="e", split="train", payload={"limit_s": 3}),
        sample_index=0,
        policy_version=0,
        turns=(turn,),
        end=EndReason.TERMINATED,
    )


def _make(
    path: Path,
    *,
    tensors: dict[str, np.ndarray] = TENSORS,
    values: dict[str, Any] = VALUES,
    metrics: list[dict[str, Any]] = METRICS,
    rewards: tuple[float, ...] = (1.0, 0.5),
    evaluation: dict[str, Any] | None = None,
) -> dict[str, str]:
    run = Run.create(path, config={}, meta={"created": str(path)})
    with JsonlLog(run.metrics) as log:
        for record in metrics:
            log.append(record)
    episodes = EpisodeLog(run.episodes)
    episodes.append(1, [_episode(reward) for reward in rewards])
    episodes.close()
    files = {"learner.safetensors": save(tensors), "state.json": json.dumps(values).encode()}
    commit.commit(run.checkpoints, 4, files)
    report = evaluation or {"mean": 0.5, "eval_s": 3.0}
    (run.eval / "step-00000004.json").write_text(json.dumps(report))
    return digest_run(path)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    return _make(tmp_path / "reference")


def test_equal_runs_have_equal_digests_whatever_the_clock_and_the_order_of_keys(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    found = _make(
        tmp_path / "other",
        tensors=dict(reversed(TENSORS.items())),
        values={
            "progress": {"num_blocks": 2, "step": 4},
            "offsets": {"metrics": 99},
            "learner": {"elapsed_s": 4.5, "baseline": 0.1},
        },
        metrics=[
            {"time": 1.0, "tokens_per_s": 1e-9, "reward/mean": 0.5, "step": 1},
            {"train_s": 3.0, "reward/mean": 0.25, "step": 2, "started": "now", "pid": 7},
        ],
        evaluation={"eval_s": 99, "mean": 0.5},
    )
    assert found == reference
    assert sorted(found) == [
        "all", "cursors", "episodes", "eval", "metrics", "optimiser", "weights",
    ]  # fmt: skip
    assert all(len(value) == 64 for value in found.values())
    assert len(set(found.values())) == 7


NUDGED = TENSORS["layer.w"].copy()
NUDGED[1, 2] = np.nextafter(NUDGED[1, 2], np.float32(9))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("weights", {"tensors": {**TENSORS, "layer.w": NUDGED}}),
        ("weights", {"tensors": {**TENSORS, "layer.w": TENSORS["layer.w"].reshape(3, 2)}}),
        ("weights", {"tensors": {**TENSORS, "layer.w": TENSORS["layer.w"].view(np.int32)}}),
        ("weights", {"tensors": {"layer.v": TENSORS["layer.w"], "optimiser.m": np.ones(3)}}),
        ("optimiser", {"tensors": {**TENSORS, "optimiser.m": -np.zeros(3)}}),
        ("cursors", {"values": {**VALUES, "progress": {"step": 4, "num_blocks": 3}}}),
        ("cursors", {"values": {**VALUES, "learner": {"baseline": 0.1 + 2**-55}}}),
        ("metrics", {"metrics": [METRICS[0], {**METRICS[1], "reward/mean": 0.250001}]}),
        ("metrics", {"metrics": METRICS[::-1]}),
        ("metrics", {"metrics": METRICS[:1]}),
        ("episodes", {"rewards": (1.0, 0.0)}),
        ("episodes", {"rewards": (0.5, 1.0)}),
        ("eval", {"evaluation": {"mean": 0.5000001}}),
    ],
)
def test_one_difference_changes_its_part_and_the_whole_and_nothing_else(
    tmp_path: Path, reference: dict[str, str], part: str, change: dict[str, Any]
) -> None:
    found = _make(tmp_path / "other", **change)
    assert {name for name in found if found[name] != reference[name]} == {part, "all"}


def test_negative_zero_differs_from_zero(tmp_path: Path) -> None:
    one = _make(tmp_path / "one", rewards=(0.0,))
    other = _make(tmp_path / "other", rewards=(-0.0,))
    assert one["episodes"] != other["episodes"]


def test_clock_fields_are_dropped_at_every_depth_and_nothing_else_is() -> None:
    kept = {"loss": 1, "num_tokens": 2, "rows": 3, "timeouts": 4, "policy_version": 5, "runtime": 6}
    clocks = {"a_s": 1, "x/y_per_s": 2, "time": 3, "time/loss": 4, "wall_time": 5, "created": 6}
    assert without_clocks({"deep": [{**kept, **clocks}], **clocks}) == {"deep": [kept]}


def test_the_newest_sound_checkpoint_counts(tmp_path: Path, reference: dict[str, str]) -> None:
    del reference
    run = Run.open(tmp_path / "reference")
    before = digest_run(run.path)
    commit.commit(run.checkpoints, 9, {"learner.safetensors": save(TENSORS), "state.json": b"{}"})
    assert digest_run(run.path)["cursors"] != before["cursors"]
    (run.checkpoints / "step-00000009" / "state.json").write_bytes(b"[]")
    assert digest_run(run.path) == before


def test_a_run_without_checkpoint_says_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config={}, meta={})
    found = digest_run(run.path)
    assert [found[name] for name in ("weights", "optimiser", "cursors")] == ["none"] * 3


def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        digest_run(tmp_path / "none")
    _make(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    (run.eval / "step-00000009.json").write_text("{")
    with pytest.raises(RunError, match=r"step-00000009\.json: damaged"):
        digest_run(run.path)
    (run.eval / "step-00000009.json").unlink()
    run.metrics.write_bytes(b"?\n" + run.metrics.read_bytes())
    with pytest.raises(LogError, match="line 1"):
        digest_run(run.path)
    run.metrics.write_bytes(b"")
    commit.commit(run.checkpoints, 9, {"learner.safetensors": b"junk", "state.json": b"{}"})
    with pytest.raises(CheckpointError, match="does not parse"):
        digest_run(run.path)


def test_where_one_piece_ends_and_the_next_begins_counts() -> None:
    assert _sha256([b"a", b"bc"]) != _sha256([b"ab", b"c"])
