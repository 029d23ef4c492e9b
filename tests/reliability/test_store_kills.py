"""SIGKILL at every durable step of the checkpoint store, the logs and the run directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from kill_harness import STORE_POINTS, TRAINER_POINTS, Outcome, first_and_last, kill_at, run_forked

from sayso.errors import RunError
from sayso.runs import commit
from sayso.runs.failpoints import Failpoint
from sayso.runs.jsonl import JsonlLog, read
from sayso.runs.ledger import EpisodeLog, read_episodes
from sayso.runs.run import Run
from sayso.types import EndReason, Episode, Task, Turn

pytestmark = pytest.mark.medium

NUM_STEPS = 4


def _state(step: int) -> dict[str, bytes]:
    return {"learner.safetensors": bytes([step]) * 300, "state.json": b'{"step": %d}' % step}


def _episode(step: int) -> Episode:
    turn = Turn(observation_ids=(1,), action_ids=(step,), action_logprobs=(-0.5,), reward=1.0)
    task = Task(id=f"t{step}", env="e", split="train")
    return Episode(
        task=task, sample_index=0, policy_version=step, turns=(turn,), end=EndReason.TERMINATED
    )


def _train(path: Path) -> None:
    """A toy trainer: resume from what is there, then log, save (the last step twice) and prune."""
    try:
        run = Run.open(path)
    except RunError:
        run = Run.create(path, config={"seed": 0}, meta={"seed": 0})
    with run.lock(), JsonlLog(run.metrics) as metrics:
        episodes = EpisodeLog(run.episodes)
        found = commit.newest(run.checkpoints)
        offsets = _offsets(found)
        metrics.truncate(offsets[0])
        episodes.truncate(offsets[1])
        for step in range(found.step + 1 if found else 1, NUM_STEPS + 1):
            episodes.append(step, [_episode(step)])
            metrics.append({"step": step, "reward": step / 3})
            assert metrics.flush()
            assert episodes.flush()
            at = f"{metrics.offset},{episodes.offset}".encode()
            commit.commit(run.checkpoints, step, {**_state(step), "offsets": at})
            commit.prune(run.checkpoints, 2, {1})
        last = commit.newest(run.checkpoints)
        assert last is not None
        if "final" not in last.manifest.files:
            files = {name: last.read(name) for name in last.manifest.files}
            commit.commit(run.checkpoints, NUM_STEPS, {**files, "final": b"1"})
        commit.prune(run.checkpoints, 2, {1})
        episodes.close()


def _offsets(found: commit.Committed | None) -> tuple[int, int]:
    if found is None:
        return 0, 0
    metrics, episodes = found.read("offsets").split(b",")
    return int(metrics), int(episodes)


def _train_again(path: Path) -> None:
    """As a user would: a directory whose creation was cut short is deleted first."""
    if path.exists() and not (path / "meta.json").exists():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
    _train(path)


def _result(path: Path) -> dict[str, object]:
    run = Run.open(path)
    found = commit.newest(run.checkpoints)
    assert found is not None
    return {
        "files": {name: found.read(name) for name in found.manifest.files},
        "damaged": found.damaged,
        "steps": commit.steps(run.checkpoints),
        "metrics": run.metrics.read_bytes(),
        "episodes": run.episodes.read_bytes(),
        "records": len(list(read(run.metrics))) + len(list(read_episodes(run.episodes))),
        "leftovers": sorted(p.name for p in run.path.rglob(".*")),
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, dict[str, object]]:
    """Counts of every failpoint and the result of a run that nobody kills."""
    path = tmp_path_factory.mktemp("unbroken") / "run"
    outcome = run_forked(lambda: (_train(path), _train(path)))
    assert outcome.exit_code == 0, outcome.error
    result = _result(path)
    assert result["records"] == 2 * NUM_STEPS
    assert result["steps"] == [1, NUM_STEPS - 1, NUM_STEPS]
    assert result["leftovers"] == []
    return outcome, result


@pytest.mark.parametrize("point", STORE_POINTS, ids=lambda point: point.value)
def test_fault_18_a_run_killed_at_any_durable_step_ends_as_the_unbroken_one(
    point: Failpoint, unbroken: tuple[Outcome, dict[str, object]], tmp_path: Path
) -> None:
    counted, expected = unbroken
    for hit in first_and_last(point, counted):
        path = tmp_path / f"run-{hit}"
        killed = kill_at(point, hit, lambda path=path: (_train(path), _train(path)))
        assert killed.is_killed, killed.error
        resumed = run_forked(lambda path=path: _train_again(path))
        assert resumed.exit_code == 0, resumed.error
        found = _result(path)
        leftovers = found.pop("leftovers")
        assert found == {key: value for key, value in expected.items() if key != "leftovers"}
        # What the last commit of a killed run left is swept by the next one.
        commit.clean(path / "checkpoints")
        assert [p for p in (path / "checkpoints").iterdir() if p.name.startswith(".")] == []
        assert isinstance(leftovers, list)
        assert all(name.startswith((".tmp-", ".old-", ".del-")) for name in leftovers)


@pytest.mark.parametrize("point", STORE_POINTS[:9], ids=lambda point: point.value)
def test_at_every_kill_inside_a_save_the_newest_checkpoint_is_whole(
    point: Failpoint, unbroken: tuple[Outcome, dict[str, object]], tmp_path: Path
) -> None:
    counted, _ = unbroken
    for hit in range(1, counted.hits[point.value] + 1):
        path = tmp_path / f"run-{hit}"
        assert kill_at(point, hit, lambda path=path: _train(path)).is_killed
        found = commit.newest(path / "checkpoints")
        if found is not None:
            assert found.damaged == ()
            assert found.read("state.json") == _state(found.step)["state.json"]


def test_a_naive_store_fails_the_same_kills(tmp_path: Path) -> None:
    """The control: writing in place, the usual way, loses the state to a kill."""
    from sayso.runs.failpoints import fp

    def naive() -> None:
        for step in range(1, NUM_STEPS + 1):
            data = _state(step)["learner.safetensors"]
            with (tmp_path / "state").open("wb", buffering=0) as file:
                file.write(data[:150])
                fp(Failpoint.CHECKPOINT_FILE_HALF)
                file.write(data[150:])

    assert kill_at(Failpoint.CHECKPOINT_FILE_HALF, 3, naive).is_killed
    assert (tmp_path / "state").read_bytes() not in [
        _state(step)["learner.safetensors"] for step in range(1, NUM_STEPS + 1)
    ]


def test_every_failpoint_has_a_kill_test() -> None:
    assert sorted(p.value for p in (*STORE_POINTS, *TRAINER_POINTS)) == sorted(
        p.value for p in Failpoint
    )


def test_a_child_that_hangs_is_ended_and_reported() -> None:
    with pytest.raises(AssertionError, match="longer than"):
        run_forked(lambda: commit.fp(Failpoint.EVAL), spec="train.eval:1:hang", timeout_s=0.5)
