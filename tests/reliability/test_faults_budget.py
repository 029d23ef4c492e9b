"""What training does about invalid episodes: rows 5 and 8 of the fault table, in whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import badenv
import pytest
import torch

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import RunConfig, load_config
from sayso.app.opening import create_run
from sayso.envs.registry import source
from sayso.errors import ConfigError, EnvContractError, GuardError
from sayso.rollout.pool import shutdown_pools
from sayso.runs.ledger import read_episodes
from sayso.runs.run import Run
from sayso.training.callbacks import Callback, StepReport, TrainingContext
from sayso.training.checkpoint import load_checkpoint
from sayso.training.loop import TrainResult, train
from sayso.types import EndReason

NUM_TASKS = 50


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


class Listener(Callback):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_step(self, context: TrainingContext, report: StepReport) -> bool:
        self.warnings += report.warnings
        return True


def config(**env: Any) -> RunConfig:
    table = {
        "model": {"name": "tiny", "tiny": {"tokens": ["a", "b"], "width": 8, "layers": 1,
                                           "heads": 1}},
        "env": {"id": "badenv:BadEnv", **env},
        "sampling": {"max_new_tokens": 2},
        "algorithm": {"type": "reinforce", "tasks_per_step": 5, "group_size": 2},
        "train": {"total_episodes": 100, "checkpoint_every": 1},
    }  # fmt: skip
    return load_config(table, source="test")


def trained(path: Path, listener: Listener, **env: Any) -> tuple[Run, TrainResult | Exception]:
    torch.set_num_threads(1)
    options = config(**env)
    run = create_run(options, path)
    learner = build_learner(options, build_lm(options))
    try:
        with run.lock():
            return run, train(assemble(options, run, learner=learner, callbacks=[listener]))
    except (GuardError, EnvContractError) as error:
        return run, error


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("raise", "env_raised", "RuntimeError: boom"),
        ("nan", "reward_not_finite", "reward is nan"),
    ],
)
def test_fault_08_fault_05_a_few_invalid_episodes_are_told_counted_and_survived(
    fault: str, kind: str, says: str, tmp_path: Path
) -> None:
    listener = Listener()
    kwargs = {"fault": fault, "bad_tasks": ["t7"], "num_tasks": NUM_TASKS}
    run, result = trained(tmp_path / "run", listener, kwargs=kwargs)
    assert isinstance(result, TrainResult)
    assert result.stopped_by == "done"
    assert result.progress.num_invalid == {kind: 2}
    assert result.progress.num_episodes >= 100
    told = [w for w in listener.warnings if kind in w]
    assert len(told) == 1
    assert says in told[0]
    assert "task t7, action " in told[0]
    assert "(sample " in told[0]
    logged = [e for _, e in read_episodes(run.episodes)]
    failed = [e for e in logged if e.end is EndReason.FAILED]
    assert {e.task.id for e in failed} == {"t7"}
    assert all(e.failure is not None and says in e.failure.message for e in failed)


def test_fault_08_a_reward_that_always_raises_stops_the_run_at_the_budget(tmp_path: Path) -> None:
    listener = Listener()
    bad_tasks = [f"t{n}" for n in range(NUM_TASKS)]
    kwargs = {"fault": "raise", "bad_tasks": bad_tasks, "num_tasks": NUM_TASKS}
    run, error = trained(tmp_path / "run", listener, kwargs=kwargs)
    assert isinstance(error, GuardError)
    assert "10 of the last 10 episodes were invalid (budget 20%)" in str(error)
    assert "the commonest cause is env_raised (10)" in str(error)
    assert "--resume" in str(error)
    options = config(kwargs=kwargs)
    fresh, stored = (build_learner(options, build_lm(options)) for _ in range(2))
    restored = load_checkpoint(run, stored)
    assert restored is not None
    for name, tensor in fresh.lm.trainable().items():
        assert torch.equal(tensor, stored.lm.trainable()[name])
    assert len(list(read_episodes(run.episodes))) == 10


def test_fault_08_a_third_of_invalid_episodes_is_over_the_budget(tmp_path: Path) -> None:
    bad_tasks = [f"t{n}" for n in range(0, NUM_TASKS, 3)]
    kwargs = {"fault": "raise", "bad_tasks": bad_tasks, "num_tasks": NUM_TASKS}
    _, error = trained(tmp_path / "run", Listener(), kwargs=kwargs)
    assert isinstance(error, GuardError)
    assert "the commonest cause is env_raised" in str(error)


def test_fault_05_strict_stops_at_the_first_invalid_episode(tmp_path: Path) -> None:
    kwargs = {"fault": "nan", "bad_tasks": ["t7"], "num_tasks": NUM_TASKS}
    _, error = trained(tmp_path / "run", Listener(), kwargs=kwargs, strict=True)
    assert isinstance(error, EnvContractError)
    assert "reward_not_finite: test/Bad-v0, task t7" in str(error)
    assert "without `strict`" in str(error)


def test_limits_reach_the_rollout_and_wrong_ones_are_refused() -> None:
    limits = config(max_reward=5.0, num_workers=2, timeout_s=3.0, max_turns=7).env.limits()
    assert (limits.max_reward, limits.num_workers, limits.env_timeout_s) == (5.0, 2, 3.0)
    assert (limits.max_turns, limits.strict) == (7, False)
    for wrong in ({"timeout_s": 0.0}, {"max_turns": 0}, {"num_workers": 0}, {"max_reward": -1.0}):
        with pytest.raises(ConfigError):
            config(**wrong)


def test_fault_12_cut_observations_are_told_and_counted(tmp_path: Path) -> None:
    listener = Listener()
    kwargs = {"fault": "text", "at": 1, "text": "a", "text_size": 101, "bad_tasks": ["t7"],
              "num_tasks": NUM_TASKS}  # fmt: skip
    _, result = trained(tmp_path / "run", listener, kwargs=kwargs, max_observation_chars=50)
    assert isinstance(result, TrainResult)
    assert [w for w in listener.warnings if "2 in this step" in w]
    assert result.progress.warnings["Observations were too long and cut"] == 1
    assert result.progress.num_invalid == {}


def test_the_environment_of_these_tests_is_sound_without_a_fault(tmp_path: Path) -> None:
    listener = Listener()
    _, result = trained(tmp_path / "run", listener, kwargs={"num_tasks": NUM_TASKS})
    assert isinstance(result, TrainResult)
    assert result.progress.num_invalid == {}
    assert not [w for w in listener.warnings if "Invalid" in w]
    assert source("badenv:BadEnv").open().tasks("train")[0] == badenv.BadEnv().tasks("train")[0]
