"""Rewards that are no numbers, raise or hang: rows 5 to 9 of the fault table.

Each test asserts what is said, that the other episodes are untouched, that this process (or the
pool of processes) lives on, and that the failure is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import badenv
import numpy as np
import pytest
import torch
from badenv import NUM_TURNS
from env_faults import (
    DEADLINE_S,
    alive,
    assert_only_bad_ones_failed,
    bad,
    judged,
    play,
    workers_of,
)
from rollout_fakes import scripted_policy

from sayso.envs.prompts import PromptEnv
from sayso.envs.registry import source
from sayso.errors import EnvContractError
from sayso.evaluation.evaluate import evaluate
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.types import EndReason


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


# Rows 5 to 7: rewards


REWARDS = {
    **dict.fromkeys(["nan", "numpy_nan"], ("reward_not_finite", "reward is nan")),
    "inf": ("reward_not_finite", "reward is inf"),
    "minus_inf": ("reward_not_finite", "reward is -inf"),
    "huge_int": ("reward_not_finite", "reward is inf"),
    "1e30": ("reward_too_large", "reward is 1e+30, beyond ±1e+06; rescale it"),
    "string": ("reward_type", "reward is '1.0' (str); return a number such as float(score)"),
    "list": ("reward_type", "reward is [1.0] (list)"),
    "array": ("reward_type", "reward is array([1.]) (ndarray)"),
    "numpy_string": ("reward_type", "(ndarray)"),
    "complex": ("reward_type", "(complex64)"),
    "dict": ("reward_type", "reward is {'score': 1.0} (dict)"),
    "parts_nan": ("reward_not_finite", "reward part 'style' is nan"),
    "parts_string": ("reward_type", "reward part 'style' is 'good' (str)"),
    "parts_list": ("reward_type", "info['reward_parts'] is [1.0]"),
}


def _assert_reward_fault(fault: str) -> None:
    kind, says = REWARDS[fault]
    failures = assert_only_bad_ones_failed(play(bad(fault)), kind)
    for sample, failure in enumerate(failures):
        assert says in failure.message
        assert "test/Bad-v0, task t1, action '" in failure.message
        assert f"(sample {sample}, turn 2, " in failure.message
    policy, engine = scripted_policy()
    report = evaluate(
        policy, bad(fault), split="train", num_episodes=4, seed=0, limits=RolloutLimits()
    )
    assert report.num_failed == {kind: 1}
    assert report.mean.n == 3
    assert report.mean.mean == NUM_TURNS
    with pytest.raises(EnvContractError, match=f"{kind}: test/Bad-v0, task t1"):
        play(bad(fault), limits=RolloutLimits(strict=True))
    assert not engine.held


@pytest.mark.parametrize("fault", ["nan", "numpy_nan", "parts_nan"])
def test_fault_05_a_reward_of_nan_is_invalid_and_strict_raises(fault: str) -> None:
    _assert_reward_fault(fault)


@pytest.mark.parametrize("fault", ["inf", "minus_inf", "huge_int", "1e30"])
def test_fault_06_a_reward_without_measure_is_invalid(fault: str) -> None:
    _assert_reward_fault(fault)


@pytest.mark.parametrize(
    "fault", [name for name, (kind, _) in REWARDS.items() if kind == "reward_type"]
)
def test_fault_07_a_reward_of_the_wrong_type_is_named_with_what_to_return(fault: str) -> None:
    _assert_reward_fault(fault)


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), np.array(True), torch.tensor(True)], ids=repr
)
def test_a_verdict_is_a_reward_of_one_or_nothing(value: Any) -> None:
    def judge(prompt: str, completion: str) -> Any:
        return {"right": value} if prompt == "parts" else value if prompt == "yes" else not value

    env = PromptEnv(prompts=["yes", "no", "parts"], held_out=["x"], reward=judge)
    episodes = play(source(env), group_size=1)
    found = {e.task.payload["prompt"]: e.return_ for e in episodes}
    assert found == {"yes": 1.0, "no": 0.0, "parts": 1.0}
    assert all(type(e.return_) is float for e in episodes)


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.float64(2), np.int8(2), np.longdouble(2), np.array(2), np.array(2.0),
     torch.tensor(2), torch.tensor(2.0, dtype=torch.bfloat16), torch.tensor(2.0).requires_grad_()],
    ids=repr,
)  # fmt: skip
def test_fault_07_numbers_of_numpy_and_torch_are_numbers(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(badenv.REWARDS, "given", value)
    episode = play(bad("given"))[2]
    assert episode.end is EndReason.TERMINATED
    assert [turn.reward for turn in episode.turns] == [1.0, 2.0, 1.0]
    assert type(episode.turns[1].reward) is float


def test_fault_06_the_limit_is_an_option_and_includes_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(badenv.REWARDS, "given", -5.0)
    assert play(bad("given"), limits=RolloutLimits(max_reward=5.0))[2].failure is None
    episode = play(bad("given"), limits=RolloutLimits(max_reward=4.9))[2]
    assert episode.failure is not None
    assert episode.failure.kind == "reward_too_large"


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("none", "contract", "step returned None; return (observation, reward, terminated"),
        ("old_gym", "contract", "return (observation, reward, terminated, truncated, info)"),
        ("list_not_tuple", "contract", "return (observation, reward, terminated"),
        ("info_none", "contract", "info is None (NoneType); return {}"),
        ("observation_none", "observation_type", "observation is None (NoneType)"),
        ("observation_list", "observation_type", "observation is ['look'] (list)"),
        ("observation_empty_chat", "observation_type", "observation is () (tuple)"),
        ("terminated_string", "contract", "terminated is 'False' (str); return True or False"),
        ("terminated_array", "contract", "terminated is array([ True]) (ndarray)"),
        ("truncated_none", "contract", "truncated is None (NoneType)"),
        ("choices_string", "contract", "info['choices'] is 'left'; return a list of strings"),
        ("choices_numbers", "contract", "info['choices'] is [1, 2]"),
        ("choices_huge", "contract", "info['choices'] is longer than 100,000 characters"),
    ],
)
def test_fault_07_an_answer_of_the_wrong_shape_is_named_with_what_to_return(
    fault: str, kind: str, says: str
) -> None:
    failures = assert_only_bad_ones_failed(play(bad(fault)), kind)
    assert all(says in failure.message for failure in failures)
    assert all(failure.detail == "" for failure in failures)


def test_flags_of_numpy_are_flags() -> None:
    episode = play(bad("numpy_flags"))[2]
    assert (episode.end, len(episode.turns)) == (EndReason.TERMINATED, 2)
    episode = play(bad("both_ends"))[2]
    assert (episode.end, len(episode.turns)) == (EndReason.TERMINATED, 2)


# Row 8: reward raises


def prompts(**columns: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"say {i}", "n": i, **dict.fromkeys(columns, i == 5)} for i in range(20)]


def test_fault_08_a_reward_that_raises_is_invalid_never_zero() -> None:
    rows = [{"prompt": f"say {i}", "n": i, "bad": i == 5} for i in range(20)]
    env = PromptEnv(prompts=rows, held_out=[], reward=badenv.reward_that_raises)
    episodes = judged(env)
    failed = [e for e in episodes if e.failure]
    assert [e.task.payload["n"] for e in failed] == [5]
    assert failed[0].failure is not None
    assert failed[0].failure.kind == "env_raised"
    assert "ZeroDivisionError: judge divided by zero" in failed[0].failure.message
    assert "in reward_that_raises" in failed[0].failure.detail
    assert failed[0].return_ is None
    assert all(e.return_ is not None and e.return_ > 0 for e in episodes if not e.failure)


# Row 9: reward hangs


@pytest.mark.medium
@pytest.mark.parametrize(
    ("reward", "how"),
    [(badenv.reward_that_hangs, "regex"), ("badenv:reward_that_hangs", "power_tower")],
)
def test_fault_09_row_34_a_reward_that_hangs_is_killed_and_named(reward: Any, how: str) -> None:
    rows = [{"prompt": f"say {i}", "n": i, "hang": how if i == 5 else ""} for i in range(20)]
    env = PromptEnv(prompts=rows, held_out=[], reward=reward, timeout_s=DEADLINE_S)
    episodes = judged(env)
    failed = [e for e in episodes if e.failure]
    assert [e.task.payload["n"] for e in failed] == [5]
    assert failed[0].failure is not None
    assert failed[0].failure.kind == "env_timeout"
    assert f"task {failed[0].task.id}, action" in failed[0].failure.message
    assert "gave no answer within 2 s and was killed" in failed[0].failure.message
    assert failed[0].return_ is None
    assert all(e.return_ == 1.0 for e in episodes if not e.failure)


@pytest.mark.medium
def test_fault_09_many_hangs_leave_the_pool_as_large_as_it_was() -> None:
    env = bad("regex", at=1, timeout_s=0.3, bad_tasks=["t0", "t1", "t2", "t3"])
    pool = workers_of(env)
    held = []
    for round_ in range(3):
        episodes = play(env, group_size=1)
        assert all(e.failure and e.failure.kind == "env_timeout" for e in episodes)
        assert pool.num_killed == 4 * (round_ + 1)
        held.append([len(list(Path("/proc/self", d).iterdir())) for d in ("task", "fd")])
    assert len(pool.hosts) == 2
    assert held[0] == held[1] == held[2]
    assert not alive(pool)
