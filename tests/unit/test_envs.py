"""Mazes, TinyLang, prompts, adapters, registry, spaces, and the checker's own eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import sayso
from sayso.envs import registry, tinylang_math
from sayso.envs.maze import GOAL, MazeEnv
from sayso.envs.spaces import Chat, Message, Utterance
from sayso.envs.tinylang import fixture
from sayso.errors import (
    EnvContractError,
    ExtraMissingError,
    OptionValueError,
    UnknownNameError,
)

SMALL = {"layout": ["11111", "10001", "11011", "11111"], "goal": [2, 2], "starts": "all"}


def play(env: sayso.TextEnv, start: str, actions: Sequence[str]) -> list[tuple[Any, ...]]:
    env.reset(seed=0, options={"task": start, "split": "train"})
    return [env.step(action)[:4] for action in actions]


def test_the_mazes_optimum_averages_minus_6_84_over_25_starts_by_search() -> None:
    env = MazeEnv(starts="all")
    assert len(env.start_cells) == 25
    assert sum(map(env.optimal_return, env.start_cells)) / 25 == pytest.approx(-6.84, abs=1e-12)
    assert GOAL not in env.start_cells


def test_a_path_that_follows_the_distances_earns_the_optimum_from_every_start() -> None:
    env = MazeEnv(starts="all")
    from sayso.envs.maze import MOVES

    for cell in env.start_cells:
        env.reset(options={"task": f"start-{cell[0]}-{cell[1]}", "split": "train"})
        total, here, terminated = 0.0, cell, False
        while not terminated:
            action, here = min(
                (
                    (name, (here[0] + d[0], here[1] + d[1]))
                    for name, d in MOVES.items()
                    if (here[0] + d[0], here[1] + d[1]) in env.distances
                ),
                key=lambda pair: env.distances[pair[1]],
            )
            _, reward, terminated, truncated, _ = env.step(action)
            total += reward
            assert not truncated
        assert total == env.optimal_return(cell)


def test_moves_walls_nonsense_and_the_goal_have_their_rewards() -> None:
    env = MazeEnv(**SMALL)
    steps = play(env, "start-1-1", ["move up", "fly", " Move  RIGHT ", "move down"])
    assert [s[1] for s in steps] == [-1.0, -4.0, -1.0, 0.0]
    assert [s[2] for s in steps] == [False, False, False, True]
    assert steps[0][0] == "Goal: 2, 2. You: 1, 1. Walls: above, below, left."
    assert steps[3][0] == "Success."


def test_the_hundredth_move_truncates_and_does_not_terminate() -> None:
    steps = play(MazeEnv(), MazeEnv().tasks("train")[0].id, ["fly"] * 100)
    assert [s[3] for s in steps] == [False] * 99 + [True]
    assert not any(s[2] for s in steps)


def test_a_partly_observed_maze_does_not_say_where_one_is() -> None:
    env = MazeEnv(observation="partial", **SMALL)
    text, _ = env.reset(options={"task": "start-1-1", "split": "train"})
    assert text == "Walls: above, below, left."


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": ["12"]}, {"goal": [0, 0]}, {"layout": ["111", "101", "111"], "goal": [1, 1]},
        {"observation": "some"}, {"max_moves": 0},
    ],
)  # fmt: skip
def test_a_maze_that_cannot_be_played_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/Maze-v0"):
        MazeEnv(**wrong)


def test_tinylangs_values_are_recomputed_not_copied() -> None:
    expected = fixture()["expected"]
    ref = tinylang_math.reference()
    assert tinylang_math.expected_return(ref) == pytest.approx(expected["J_ref"], abs=1e-12)
    root = expected["root_gamma_1"]
    for beta in (0.5, 0.1):
        told, soft = root[f"soft_beta_{beta}"], tinylang_math.soft_optimum(ref, beta)
        assert soft.objective == pytest.approx(told["V"], abs=1e-6)
        assert soft.policy[""] == pytest.approx(told["pi"], abs=1e-6)
        assert soft.expected_return == pytest.approx(told["J"], abs=1e-6)
        assert soft.kl == pytest.approx(told["KL"], abs=1e-6)
        assert soft.expected_return - beta * soft.kl == pytest.approx(soft.objective, abs=1e-12)
    assert max(tinylang_math.sequences().values()) == root["V_star"]


def test_no_tabular_policy_near_the_soft_optimum_beats_it() -> None:
    ref, beta = tinylang_math.reference(), 0.5
    best = tinylang_math.soft_optimum(ref, beta)
    for prefix in tinylang_math.prefixes():
        moved = {k: list(v) for k, v in best.policy.items()}
        a, b, e = moved[prefix]
        moved[prefix] = [a * 0.9, b + a * 0.1, e]
        score = tinylang_math.expected_return(moved) - beta * tinylang_math.kl(moved, ref)
        assert score < best.objective


@pytest.mark.parametrize(
    ("said", "worth", "is_word"),
    [("", 0.1, 1.0), ("ab", 0.9, 1.0), ("bab", 1.0, 1.0), ("abab", 0.0, 0.0), ("x", 0.0, 0.0)],
)
def test_tinylang_pays_by_its_table(said: str, worth: float, is_word: float) -> None:
    env = registry.source("sayso/TinyLang-v0").open()
    env.reset()
    _, reward, terminated, truncated, info = env.step(said)
    assert (reward, terminated, truncated) == (worth, True, False)
    assert info["reward_parts"] == {"is_word": is_word}


LONG = {
    f"sayso/{name}-v0"
    for name in ("Desk", "Gym", "Persona", "Recommend", "Summary", "Writing", "TextNav", "Tutor")
}
"""Environments whose checks take seconds: their rewards read whole texts."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.medium if n in LONG else ()) for n in registry.ids()],
)
def test_built_in_environments_pass_both_checkers(name: str) -> None:
    try:
        report = sayso.check_text_env(name, num_seeds=5)
    except ExtraMissingError as missing:
        pytest.skip(str(missing))
    assert "exploits" in report.checked
    check_env(gymnasium.make(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("space", [Utterance(50), Chat(4, 50)])
def test_spaces_sample_contain_and_round_trip(space: gymnasium.Space[Any]) -> None:
    space.seed(1)
    first = [space.sample() for _ in range(20)]
    space.seed(1)
    assert [space.sample() for _ in range(20)] == first
    assert all(space.contains(x) for x in first)
    assert space.from_jsonable(space.to_jsonable(first)) == first
    assert not space.contains(3)
    assert not space.contains("x" * 51)


def test_an_utterance_holds_any_unicode() -> None:
    assert all(Utterance().contains(x) for x in ("a b", "\ud800", "🙂", "", "\x00"))
    assert not Chat().contains((Message("judge", "hi"),))


def words(prompt: str, completion: str) -> float:
    return float(len(completion.split()))


def test_prompts_split_by_content_and_keep_their_columns() -> None:
    rows = [{"prompt": f"Say {i}", "answer": str(i)} for i in range(200)]
    env = sayso.PromptEnv(
        prompts=[*rows, rows[0]],
        reward=lambda prompt, completion, answer: {
            "right": float(completion == answer),
            "no": None,
        },
    )
    train, held = env.tasks("train"), env.tasks("held_out")
    assert len(train) + len(held) == 200
    assert 5 < len(held) < 40
    task = train[3]
    assert env.reset(options={"task": task.id})[0] == task.payload["prompt"]
    _, reward, terminated, _, info = env.step(task.payload["answer"])
    assert (reward, terminated) == (1.0, True)
    assert info["reward_parts"] == {"right": 1.0, "no": None}


def test_the_same_prompt_with_other_columns_is_never_in_both_splits() -> None:
    rows = [{"prompt": f"Say {i}", "style": style} for i in range(100) for style in "abc"]
    env = sayso.PromptEnv(prompts=rows, reward=lambda prompt, completion, style: 0.0)
    asked = {
        split: {t.payload["prompt"] for t in env.tasks(split)} for split in ("train", "held_out")
    }
    assert len(env.tasks("train")) + len(env.tasks("held_out")) == 300
    assert len(asked["held_out"]) >= 2
    assert not asked["train"] & asked["held_out"]
    named = sayso.PromptEnv(
        prompts=rows, held_out=[{"prompt": "Say 1", "style": "z"}], reward=lambda *_, **__: 0.0
    )
    assert "Say 1" not in {t.payload["prompt"] for t in named.tasks("train")}


def test_prompts_that_can_be_earned_by_copying_are_found_by_the_checker() -> None:
    words = ("river", "winter", "violin", "bridge")
    env = sayso.PromptEnv(
        prompts=[{"prompt": f"Write about a {w}.", "word": w} for w in words],
        reward=lambda prompt, completion, word: float(word in completion),
        reward_low=0.0,
        reward_high=1.0,
    )
    with pytest.raises(EnvContractError, match="prompt copied back earns 1"):
        sayso.check_text_env(env)


def test_prompts_can_name_their_held_out_part_and_nothing_is_in_both() -> None:
    env = sayso.PromptEnv(prompts=["a", "b", "c"], held_out=["b"], reward=words)
    assert [t.payload["prompt"] for t in env.tasks("train")] == ["a", "c"]
    assert [t.payload["prompt"] for t in env.tasks("held_out")] == ["b"]
    with pytest.raises(EnvContractError, match="no prompts to train on"):
        sayso.PromptEnv(prompts=["a"], held_out=["a"], reward=words)


class Echo(gymnasium.Env[str, str]):
    """A plain Gymnasium environment of text."""

    observation_space = gymnasium.spaces.Text(10)
    action_space = Utterance()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.letter = "abc"[int(self.np_random.integers(3))]
        return self.letter, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", float(action == self.letter), True, False, {}


def test_a_plain_gymnasium_environment_is_adapted_its_seeds_are_the_tasks() -> None:
    env = registry.source(Echo).open()
    held = {t.content_hash for t in env.tasks("held_out")[:100]}
    assert held.isdisjoint(t.content_hash for t in env.tasks("train")[:1000])
    task = env.tasks("train")[7]
    assert env.reset(options={"task": task.id})[0] == Echo().reset(seed=7)[0]


def test_an_environment_without_text_is_refused() -> None:
    with pytest.raises(EnvContractError, match="which is not text"):
        registry.source("CartPole-v1").open()


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'sayso/Writing-v0'"):
        registry.source("sayso/Writting-v0")
    env = MazeEnv(**SMALL)
    with pytest.raises(UnknownNameError, match="Did you mean 'start-1-1'"):
        env.reset(options={"task": "start-1-11"})
    with pytest.raises(UnknownNameError, match="Splits with tasks: train"):
        env.reset(options={"split": "test"})
    with pytest.raises(EnvContractError, match="got the options"):
        env.reset(options={"tusk": "x"})


def broken(**flaws: Any) -> type[sayso.TextEnv]:
    """An environment with one flaw."""

    class Broken(sayso.TextEnv):
        reward_low, reward_high = 0.0, 1.0
        num_resets = 0

        def tasks(self, split: str) -> list[sayso.Task]:
            same = flaws.get("same_content", False)
            return [
                sayso.Task(
                    id="x" if flaws.get("same_id") else f"{split}-{i}",
                    env="Broken",
                    split=split,
                    payload={"n": i if same else f"{split}-{i}"},
                )
                for i in range(3)
            ]

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.choose(seed, options)
            Broken.num_resets += 1
            if flaws.get("random"):
                return f"question {Broken.num_resets}", {}
            return flaws.get("observation", "question"), {}

        def step(self, action: str) -> Any:
            ends = not flaws.get("endless", False)
            reward = 1.0 if flaws.get("generous") else flaws.get("reward", 0.0)
            return "", reward, flaws.get("terminated", ends), False, {}

    return Broken


@pytest.mark.parametrize(
    ("flaws", "found"),
    [
        ({"same_content": True}, "same content"),
        ({"same_id": True}, "ids must be unique"),
        ({"random": True}, "two different"),
        ({"observation": 3}, "observation"),
        ({"reward": float("nan")}, "nan"),
        ({"reward": "1.0"}, "return a number such as"),
        ({"terminated": "yes"}, "return True or False"),
        ({"endless": True}, "no end after"),
        ({"generous": True}, "empty answer earns 1.000"),
    ],
)
def test_the_checker_finds(flaws: dict[str, Any], found: str) -> None:
    with pytest.raises(EnvContractError) as caught:
        sayso.check_text_env(broken(**flaws), num_seeds=3)
    assert found in str(caught.value)


def test_the_checker_has_nothing_against_a_sound_environment() -> None:
    assert sayso.check_text_env(broken(), num_seeds=3).problems == []
