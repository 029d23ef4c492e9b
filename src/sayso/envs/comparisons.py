"""Pairs of texts and which of them was preferred: what reward models and DPO learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sayso.envs.base import TextEnv
from sayso.envs.scripted import Act, Game, play, scripted
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import generator

MAX_ALIKE = 20
"""Most pairs of equal texts, or of ungraded ones, that are drawn again before giving up."""


def comparisons(
    env: TextEnv,
    num: int,
    seed: int,
    writers: Sequence[str] | Mapping[str, Act],
    *,
    temperature: float = 0.1,
    split: str = "train",
) -> Iterator[dict[str, Any]]:
    """Comparisons of two texts for one task, judged by the environment's own reward.

    Bradley–Terry: the first text is preferred with probability
    ``1 / (1 + exp(-(r1 - r2) / temperature))``, where r1 and r2 are the rewards. The true rewards
    stay in the rows, so that a reward model learned from them can be held against the truth.

    Args:
        env: An environment of one turn whose observation is text, such as ``sayso/Persona-v0``.
        num: How many rows; tasks are drawn with replacement.
        seed: Decides tasks, writers, their texts and the noise.
        writers: Who writes: names of the environment's scripted players, or players of your own by
            name. Two draws of one writer may meet.
        temperature: In units of the reward, from 0 (the better text always wins; even ones by a
            coin).
        split: Of the tasks.

    Yields:
        JSON-able rows with Hugging Face's columns of preferences, ``prompt``, ``chosen``,
        ``rejected``; besides ``score_chosen`` and ``score_rejected`` (true rewards),
        ``writer_chosen``, ``writer_rejected`` and ``task``.

    Raises:
        OptionValueError: If there is no writer, or the temperature is negative.
        EnvContractError: If an episode has several turns or messages, is not graded, or the
            writers write nothing but the same text.
    """
    players = _players(env, writers)
    if not 0.0 <= temperature < math.inf:
        raise OptionValueError(
            where="comparisons, temperature", problem=f"got {temperature}.", fix="Use 0 or more."
        )
    tasks, names = env.require_tasks(split), sorted(players)
    for row in range(num):
        draws = generator(seed, "comparison", split, row)
        for attempt in range(MAX_ALIKE):
            task = tasks[int(draws.integers(len(tasks)))]
            pair = [names[int(draws.integers(len(names)))] for _ in range(2)]
            first = 2 * (row * MAX_ALIKE + attempt)
            one, two = (
                play(env, task, players[name], seed=seed, sample=first + i)
                for i, name in enumerate(pair)
            )
            text_one, reward_one = _judged(env, one)
            text_two, reward_two = _judged(env, two)
            if text_one != text_two:
                break
        else:
            raise EnvContractError(
                where=f"comparisons of {type(env).__name__}",
                problem=f"{', '.join(names)} wrote the same text twice in {MAX_ALIKE} tasks.",
                fix="Name more than one writer, or one whose texts differ.",
            )
        is_first = draws.random() < _chance(reward_one - reward_two, temperature)
        won = (text_one, reward_one, pair[0]), (text_two, reward_two, pair[1])
        chosen, rejected = won if is_first else won[::-1]
        yield {
            "prompt": one.moves[0].observation, "chosen": chosen[0], "rejected": rejected[0],
            "score_chosen": chosen[1], "score_rejected": rejected[1],
            "writer_chosen": chosen[2], "writer_rejected": rejected[2], "task": task.id,
        }  # fmt: skip


def _players(env: TextEnv, writers: Sequence[str] | Mapping[str, Act]) -> dict[str, Act]:
    if isinstance(writers, Mapping):
        players = dict(writers)
    else:
        players = {name: scripted(env, name).act for name in writers}
    if not players:
        raise OptionValueError(
            where="comparisons, writers",
            problem="is empty.",
            fix=f"Name players: {', '.join(env.scripted) or 'of your own'}.",
        )
    return players


def _judged(env: TextEnv, game: Game) -> tuple[str, float]:
    """The text of a game of one turn, and what it earned."""
    move = game.moves[0]
    problem = ""
    if len(game.moves) > 1:
        problem = f"task {game.task.id!r} took {len(game.moves)} turns"
    elif not isinstance(move.observation, str):
        problem = "observations are messages, not text"
    elif move.reward is None:
        problem = f"the answer to task {game.task.id!r} was not graded"
    if problem or move.reward is None:
        raise EnvContractError(
            where=f"comparisons of {type(env).__name__}",
            problem=f"{problem}.",
            fix="Compare texts of an environment of one graded turn.",
        )
    return move.action, move.reward


def _chance(gap: float, temperature: float) -> float:
    """Probability that the text that is better by ``gap`` is preferred."""
    if temperature == 0.0:
        return 0.5 if gap == 0.0 else float(gap > 0.0)
    ratio = gap / temperature
    if ratio < 0.0:  # exp of a large number overflows
        return 1.0 - 1.0 / (1.0 + math.exp(max(ratio, -700.0)))
    return 1.0 / (1.0 + math.exp(-min(ratio, 700.0)))
