"""The writing environment: contract, reward, options."""

from __future__ import annotations

import json

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from sayso.envs.writing import WritingEnv
from sayso.envs.writing_score import BASE, SHAPE_SHARE, WEIGHTS, score
from sayso.errors import EnvContractError, OptionValueError, UnknownNameError
from sayso.rewards.constraints import CONSTRAINTS
from sayso.rollout.check import check_text_env

pytestmark = pytest.mark.medium

QUALITY = {"form", "spelling", "grammar", "repetition", "own_words", "size", "layout"}


def test_reset_with_a_task_poses_exactly_that_task() -> None:
    env = WritingEnv()
    task = env.tasks("unseen")[7]
    observation, info = env.reset(options={"task": task.id, "split": "unseen"})
    assert observation == task.payload["prompt"]
    assert (info["task"], info["split"]) == (task.id, "unseen")


def test_reset_with_a_seed_draws_the_same_task_each_time() -> None:
    first, second = WritingEnv(), WritingEnv()
    assert first.reset(seed=3)[0] == second.reset(seed=3)[0]
    assert len({first.reset(seed=seed)[0] for seed in range(20)}) > 15


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        WritingEnv().reset(options={"task": "train-9999", "split": "train"})


def test_an_answer_ends_the_episode_and_is_graded_the_same_each_time() -> None:
    env = WritingEnv()
    rewards = []
    for _ in range(2):
        env.reset(options={"task": "train-0003", "split": "train"})
        _, reward, terminated, truncated, info = env.step("The old dog slept by the door.")
        assert (terminated, truncated) == (True, False)
        assert 0.0 < reward < 1.0
        assert set(info["reward_parts"]) == {*CONSTRAINTS, *QUALITY, "constraints", "quality"}
        rewards.append((reward, info["reward_parts"]))
    assert rewards[0] == rewards[1]


def test_parts_that_the_task_does_not_ask_for_are_none() -> None:
    task = WritingEnv().tasks("train")[0]
    asked = {constraint["kind"] for constraint in task.payload["constraints"]}
    _, parts = score("The sea was calm.", task.payload)
    assert {kind for kind in CONSTRAINTS if parts[kind] is not None} == asked


def test_the_reward_is_the_gate_times_base_and_constraints() -> None:
    task = WritingEnv().tasks("train")[0]
    value, parts = score("The sea was calm and the boats came home.", task.payload)
    gate, met = parts["quality"], parts["constraints"]
    assert gate is not None
    assert met is not None
    assert value == pytest.approx(gate * (BASE + (1 - BASE) * met))


def test_a_step_before_reset_or_after_the_end_is_refused() -> None:
    env = WritingEnv()
    with pytest.raises(EnvContractError, match="ENV-001"):
        env.step("Too early.")
    env.reset(seed=0)
    env.step("In time.")
    with pytest.raises(EnvContractError):
        env.step("Too late.")


def test_weights_change_what_counts() -> None:
    payload = {
        "prompt": "p",
        "constraints": [
            {"kind": "length", "low": 8, "high": 14},
            {"kind": "use", "words": ["lantern"]},
        ],
    }
    text = "She walked along the river until the morning came."
    only_length = score(text, payload, {**WEIGHTS, "use": 0.0})[0]
    only_word = score(text, payload, {**WEIGHTS, "length": 0.0})[0]
    assert only_length == pytest.approx(1.0)
    assert only_word == pytest.approx(BASE + (1 - BASE) * SHAPE_SHARE)


@pytest.mark.parametrize("wrong", [{"lenght": 1.0}, {"use": -1.0}, {"use": float("nan")}])
def test_wrong_weights_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionValueError, match=r"CFG-002.*WritingEnv\.weights"):
        WritingEnv(weights=wrong)


def test_given_weights_replace_the_defaults_of_their_kind_only() -> None:
    assert WritingEnv(weights={"use": 9.0}).weights == {**WEIGHTS, "use": 9.0}


def test_every_kind_has_a_weight() -> None:
    assert set(WEIGHTS) == set(CONSTRAINTS)


def test_the_reward_range_is_declared() -> None:
    assert (WritingEnv.reward_low, WritingEnv.reward_high) == (0.0, 1.0)


MARKS_AND_WORDS = st.lists(
    st.sampled_from(
        [*"?!.,;:\"'-()\n ", "\u201c", "\u2019", "...", "lantern", "The", "When", "12", "is", "a"]
    )
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | MARKS_AND_WORDS, st.integers(min_value=0, max_value=999))
def test_any_text_earns_a_finite_reward_in_range(text: str, index: int) -> None:
    for split in ("held_out", "unseen"):
        value, parts = score(text, WritingEnv().tasks(split)[index].payload)
        assert 0.0 <= value <= 1.0
        assert all(part is None or 0.0 <= part <= 1.0 for part in parts.values())
        json.dumps(parts)


def test_lone_surrogates_and_nulls_are_graded_too() -> None:
    payload = WritingEnv().tasks("train")[0].payload
    for odd in ("\ud800 \udfff", "\x00" * 10, "\u202e" * 50, "a" * 100_000):
        assert score(odd, payload)[0] < 0.1


def test_both_checkers_accept_it_and_find_no_exploit() -> None:
    check_env(WritingEnv(), skip_render_check=True)
    report = check_text_env("sayso/Writing-v0")
    assert not report.problems
    assert len(report.exploits) == 4
    assert max(report.exploits.values()) <= 0.1


def test_copying_the_prompt_stuffing_keywords_and_endless_text_score_low_on_every_task() -> None:
    env = WritingEnv()
    for split in ("train", "held_out", "unseen"):
        for task in env.tasks(split)[:150]:
            prompt = task.payload["prompt"]
            keys = [w for c in task.payload["constraints"] for w in (*c.get("words", ()),)[:4]]
            stuffed = " ".join([*keys, *keys, *keys]) + "."
            for text in ("", ".", prompt, prompt * 30, stuffed, " ".join(keys).title() + "?"):
                assert score(text, task.payload)[0] <= 0.3, (prompt, text)
