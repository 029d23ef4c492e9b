"""reasoning-gym behind its own checkers: every family, honest scores, nothing evaluated."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import sayso
from sayso.envs.cut import is_held_out
from sayso.envs.games_answers import EVALUATED, PARSED
from sayso.envs.games_families import EASY, NO_REFERENCE, REFUSED, UNSEEN
from sayso.envs.games_reasoning import ReasoningGymEnv, data_set, problem_of
from sayso.envs.scripted import bounds
from sayso.errors import EnvContractError, OptionValueError

factory = pytest.importorskip("reasoning_gym.factory")
pytest.importorskip("reasoning_gym")
pytestmark = pytest.mark.medium
FAMILIES = sorted(set(factory.DATASETS) - set(REFUSED))
GIBBERISH = "The dog sat by the old door."
HEDGE = "yes no true false 0 1 2 3 4 5 6 7 8 9"
LENIENT = ("rotate_matrix",)
"""Checkers that give up to a fifth for a copied question: it holds the matrix."""


def posed(family: str, index: int = 0, **options: Any) -> ReasoningGymEnv:
    env = ReasoningGymEnv(families=[family], unseen_families=(), **options)
    env.reset(options={"task": f"train-{index:05d}"})
    return env


def said(family: str, text: str | None, num: int = 4, **options: Any) -> float:
    """Mean reward of an answer; of the question itself if it is ``None``."""
    total = 0.0
    for index in range(num):
        env = posed(family, index, **options)
        total += env.step(str(env.entry["question"]) if text is None else text)[1]
    return total / num


def test_there_are_many_families() -> None:
    assert len(FAMILIES) >= 95


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_pays_its_reference_in_full_and_nonsense_little(family: str) -> None:
    env = posed(family)
    if family not in NO_REFERENCE:
        _, reward, terminated, truncated, info = env.step(str(env.entry["answer"]))
        assert (reward, terminated, truncated) == (1.0, True, False)
        assert info["reward_parts"] == {"exact": 1.0, "unread": 0.0}
    assert said(family, "") == 0.0
    assert said(family, " \n ") == 0.0
    assert said(family, GIBBERISH) <= 0.15
    assert said(family, HEDGE) <= 0.2
    assert said(family, None) <= (0.25 if family in LENIENT else 0.15)
    assert said(family, "word " * 2_000) <= 0.06


@pytest.mark.parametrize("family", sorted(set(EASY + UNSEEN)))
def test_the_easy_ones_are_short(family: str) -> None:
    env = posed(family)
    assert len(str(env.entry["question"])) < 300
    assert len(str(env.entry["answer"])) < 100


def test_a_checker_that_cannot_read_an_answer_gives_nothing_and_says_so() -> None:
    env = posed("prime_factorization")  # raises ValueError for what is no number
    _, reward, _, _, info = env.step("two times three")
    assert reward == 0.0
    assert info["reward_parts"]["unread"] == 1.0


def test_a_checker_that_fails_on_the_right_answer_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    env = posed("chain_sum")

    def broken(answer: str, entry: Any) -> float:
        raise RuntimeError("no such table")

    monkeypatch.setattr(data_set("chain_sum", 0, "{}"), "score_answer", broken)
    with pytest.raises(RuntimeError, match="no such table"):
        env.step("5")


def test_a_score_outside_its_range_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    env = posed("chain_sum")
    monkeypatch.setattr(data_set("chain_sum", 0, "{}"), "score_answer", lambda a, e: 1.5)
    with pytest.raises(EnvContractError, match=r"gave 1\.5"):
        env.step("5")


@pytest.mark.parametrize("family", sorted(EVALUATED + PARSED))
@pytest.mark.parametrize(
    "code", ["__import__('os')._exit(3)", "[].append(1)", "9**9**9**9", "exit()", "(lambda: 1)()"]
)
def test_no_text_is_evaluated(family: str, code: str) -> None:
    env = posed(family)
    _, reward, _, _, info = env.step(code)
    assert reward == 0.0
    assert info["reward_parts"]["unread"] == 1.0


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_unsound_families_are_refused_with_the_reason(family: str) -> None:
    with pytest.raises(OptionValueError) as raised:
        ReasoningGymEnv(families=[family])
    assert REFUSED[family] in str(raised.value)


def test_the_refused_checkers_are_as_bad_as_they_are_said_to_be() -> None:
    life, puzzle = factory.DATASETS["game_of_life_halting"], factory.DATASETS["puzzle24"]
    data = life[0](config=life[1](seed=0, size=5))
    assert {data.score_answer("nonsense", data[i]) for i in range(5)} == {1.0}
    data = puzzle[0](config=puzzle[1](seed=0, size=5))
    assert {data.score_answer("4*6*1*1", data[i]) for i in range(5)} == {1.0}


def test_tags_are_needed_where_they_are_asked_for() -> None:
    env = posed("chain_sum", answer="tag")
    right = str(env.entry["answer"])
    for text, earned in {
        f"Let me think. <answer>{right}</answer>": 1.0, f"<answer> {right}\n</answer> Done.": 1.0,
        right: 0.0, f"<answer>{right}": 0.0, f"</answer>{right}<answer>": 0.0,
        f"<answer>{right}</answer><answer>x</answer>": 0.0,
    }.items():  # fmt: skip
        env = posed("chain_sum", answer="tag")
        assert env.step(text)[1] == earned, text
    shown, _ = env.reset(options={"task": "train-00000"})
    assert shown.endswith("Write it between <answer> and </answer>.")


def test_parts_of_the_reward_can_be_switched_off() -> None:
    env = posed("chain_sum")
    hedged = f"{env.entry['answer']} or so"
    assert 0.0 < env.step(hedged)[1] < 1.0
    assert posed("chain_sum", partial=False).step(hedged)[1] == 0.0


def test_level_and_config_change_the_questions() -> None:
    short = len(str(posed("chain_sum").entry["question"]))
    assert len(str(posed("chain_sum", level=5).entry["question"])) > short
    env = posed("chain_sum", level=None, config={"min_terms": 6, "max_terms": 6})
    assert str(env.entry["metadata"]["num_terms"]) == "6"


@pytest.mark.parametrize(
    "wrong",
    [
        {"families": ()}, {"families": "no_such_family"}, {"families": "lcm,gcd"},
        {"level": 11}, {"level": -1}, {"answer": "some"}, {"config": {"no_such": 3}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/ReasoningGym-v0"):
        ReasoningGymEnv(**wrong)


def test_splits_are_cut_by_the_question_and_unseen_by_family() -> None:
    env, seen = ReasoningGymEnv(), {}
    for split in ("train", "held_out", "unseen"):
        tasks = env.tasks(split)[:700]
        seen[split] = {
            str(problem_of(t.payload["family"], 0, "{}", t.payload["seed"])["question"])
            for t in tasks
        }
    assert seen["train"].isdisjoint(seen["held_out"])
    assert all(map(is_held_out, seen["held_out"]))
    families = {s: {t.payload["family"] for t in env.tasks(s)[:50]} for s in seen}
    assert families["train"] == families["held_out"] == set(EASY)
    assert families["unseen"] == set(UNSEEN)


def test_another_version_of_the_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    env = posed("chain_sum")
    monkeypatch.setattr(
        type(data_set("chain_sum", 0, "{}")), "__getitem__",
        lambda self, index: {"question": "other", "answer": "1", "metadata": {}},
    )  # fmt: skip
    with pytest.raises(EnvContractError, match="another question for this seed"):
        env.reset(options={"task": "train-00000"})


def test_every_family_poses_the_same_in_every_process() -> None:
    code = (
        "from sayso.envs.cut import digest_of\n"
        "from sayso.envs.games_reasoning import problem_of\n"
        f"for family in {FAMILIES!r}:\n"
        "    for seed in (5, 123456789):\n"
        "        asked = str(problem_of(family, 0, '{}', seed)['question'])\n"
        "        print(family, digest_of(asked))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    one, *rest = (set(text.splitlines()) for text in said)
    assert [sorted(one ^ other) for other in rest] == []


def test_bounds_of_the_scripted_players() -> None:
    found = bounds(ReasoningGymEnv(), split="held_out", num_games=140)
    assert found["oracle"].mean == 1.0
    assert found["other"].high < 0.3
    assert found["echo"].high < 0.05


def test_it_keeps_the_contract_with_two_hundred_seeds() -> None:
    report = sayso.check_text_env("sayso/ReasoningGym-v0", num_seeds=200)
    assert max(report.exploits.values()) < 0.03
