"""Any environment under another reward: its own stays among the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import sayso
from sayso.app.config import EnvOptions
from sayso.app.opening import env_source
from sayso.envs.registry import from_spec, source
from sayso.envs.rewarded import RewardedBy
from sayso.errors import EnvContractError, UnknownNameError

PERSONA = "sayso/Persona-v0"
LENGTH: dict[str, Any] = {"type": "length", "min_words": 3, "max_words": 5}


def first(env: Any, text: str) -> tuple[Any, Mapping[str, Any]]:
    task = env.tasks("train")[0]
    env.reset(seed=0, options={"task": task.id, "split": "train"})
    _, reward, _, _, info = env.step(text)
    return reward, info["reward_parts"]


def test_the_rule_pays_and_the_truth_is_told() -> None:
    text = "Rain fell on the quiet old bridge all night long."
    plain = source(PERSONA).open()
    true, parts = first(plain, text)
    seen: list[Any] = []

    def rule(prompt: Any, completion: str) -> float:
        seen.append((prompt, completion))
        return 0.25

    reward, told = first(RewardedBy(PERSONA, rule), text)
    assert reward == told["model"] == 0.25
    assert told["true"] == true
    assert told["true/fluency"] == parts["fluency"]
    assert seen == [(plain.tasks("train")[0].payload["prompt"], text)]


def test_an_option_of_a_run_wraps_any_environment_and_processes_can_make_it() -> None:
    env = env_source(EnvOptions(id=PERSONA, kwargs={"num_pairs": 3}, reward=LENGTH))
    assert env.id == PERSONA
    reward, told = first(env.open(), "three words here")
    assert (reward, "true" in told) == (1.0, True)
    assert env.spec is not None
    again = from_spec(env.spec)
    assert isinstance(again, RewardedBy)
    assert [t.id for t in again.tasks("train")[:3]] == [t.id for t in env.open().tasks("train")[:3]]
    with pytest.raises(UnknownNameError, match="'length'"):
        env_source(EnvOptions(id=PERSONA, reward={"type": "lenght"}))


def test_the_scripted_players_still_play_and_turns_are_seen_as_a_conversation() -> None:
    from sayso.envs.scripted import play, scripted

    env = RewardedBy(PERSONA, LENGTH)
    game = play(env, env.tasks("train")[0], scripted(env, "knows").act, seed=0)
    assert game.moves[0].parts["true"] is not None
    prompts: list[Any] = []
    maze = RewardedBy("sayso/Maze-v0", lambda prompt, text: prompts.append(prompt) or 0.0)
    maze.reset(seed=0)
    for _ in range(2):
        maze.step("move up")
    assert isinstance(prompts[0], str)
    assert [m["role"] for m in prompts[1]] == ["user", "assistant", "user"]


def test_a_rule_that_is_broken_is_told_and_none_is_not_graded() -> None:
    with pytest.raises(EnvContractError, match="nan"):
        first(RewardedBy(PERSONA, lambda prompt, text: float("nan")), "x")
    reward, told = first(RewardedBy(PERSONA, lambda prompt, text: None), "x")
    assert reward is told["model"] is None
    assert told["true"] is not None


def test_python_agents_take_the_option_too() -> None:
    made = sayso.RLOO(
        "tiny", "sayso/TinyLang-v0", tiny={"tokens": ["a", "b"], "width": 16, "layers": 1,
        "heads": 2}, max_new_tokens=3, reward=LENGTH,
    )  # fmt: skip
    assert isinstance(made.source.open(), RewardedBy)
    assert made.config.env.reward == LENGTH
