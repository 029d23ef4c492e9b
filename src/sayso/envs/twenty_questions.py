"""``sayso/TwentyQuestions-v0``: find out what it is; a table answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.scripted import Scripted
from sayso.envs.twenty_questions_table import normal, table
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import derive
from sayso.types import Task

ENV_ID = "sayso/TwentyQuestions-v0"
HELD_OUT_ONE_IN = 5
NUM_GUESSABLE = 20
"""Guesses are listed as choices once at most this many things are possible."""
NUM_LEFT = 3
"""With at most this many left, a guess is worth more than a question."""
RANDOM_SHARE = 0.6
"""Share of random questions of the player ``mixture``."""


def _information_gain(env: TextEnv, draws: np.random.Generator) -> str:
    """The question that divides what is possible most evenly; then guesses, in order."""
    del draws
    known, possible = table(), cast("TwentyQuestionsEnv", env).possible
    left = np.flatnonzero(possible)
    if len(left) <= NUM_LEFT:
        return known.guesses[int(left[0])]
    unevenness = np.abs(2 * known.rows[possible].sum(axis=0) - len(left))
    return known.questions[int(unevenness.argmin())]


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    """A question not asked yet; the guess when one thing is left."""
    game = cast("TwentyQuestionsEnv", env)
    left, unasked = np.flatnonzero(game.possible), np.flatnonzero(~game.is_asked)
    if len(left) == 1 or not len(unasked):
        return table().guesses[int(left[0])]
    return table().questions[int(unasked[draws.integers(len(unasked))])]


def _mixture(env: TextEnv, draws: np.random.Generator) -> str:
    act = _random if draws.random() < RANDOM_SHARE else _information_gain
    return act(env, draws)


class TwentyQuestionsEnv(TextEnv):
    """Find out which of 367 things it is; yes/no questions and guesses, 20 turns.

    Every turn costs 1, the right guess 0 and ends the game, as does the last turn. A turn is a
    question (``Can it fly?``) or a guess (``Is it a cat?``) in the table's own words; case,
    punctuation and spaces do not matter. The answer is ``Yes.`` or ``No.``, and ``I don't know.``
    to anything else, which costs a turn as well.

    Args:
        num_turns: Turns of a game.
        list_choices: ``info["choices"]`` lists the questions not asked yet and, once at most 20
            things agree with all answers, their guesses: the table then does the deduction.
        tell_questions: The first observation lists all questions.

    Source:
        The game, reward and number of turns of Abdulhai et al. 2023, LMRL-Gym, arXiv:2311.18232
        (20Qs: 158 things, answered by a language model). Things, questions and answers are ours.
    """

    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "information_gain": Scripted(
                act=_information_gain, about="most even question, then guesses"
            ),
            "random": Scripted(act=_random, about="random questions until one thing is left"),
            "mixture": Scripted(act=_mixture, about=f"{RANDOM_SHARE:.0%} random, else most even"),
        }
    )

    def __init__(
        self, *, num_turns: int = 20, list_choices: bool = True, tell_questions: bool = False
    ) -> None:
        if num_turns < 1:
            raise OptionValueError(
                where=f"{ENV_ID}, num_turns", problem=f"got {num_turns}.", fix="Allow at least one."
            )
        self.num_turns, self.list_choices = num_turns, list_choices
        self.tell_questions = tell_questions
        self.reward_low, self.reward_high = float(-num_turns), 0.0
        self.possible: NDArray[np.bool_] = np.ones(len(table().things), dtype=bool)
        """Which things agree with all answers so far."""
        self.is_asked: NDArray[np.bool_] = np.zeros(len(table().questions), dtype=bool)
        self._thing: int | None = None
        self._num_turns = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per thing; whole categories are ``unseen``, of the others a hash holds out."""
        return self._tasks.get(split, ())

    @cached_property
    def _tasks(self) -> dict[str, tuple[Task, ...]]:
        return {
            split: tuple(
                Task(id=thing.replace(" ", "-"), env=ENV_ID, split=split, payload={"thing": thing})
                for thing, category in zip(table().things, table().categories, strict=True)
                if split_of(thing, category) == split
            )
            for split in SPLITS
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Think of the task's thing."""
        super().reset(seed=seed)
        self._thing = table().things.index(self.choose(seed, options).payload["thing"])
        self._num_turns = 0
        self.possible = np.ones(len(table().things), dtype=bool)
        self.is_asked = np.zeros(len(table().questions), dtype=bool)
        told = f"I am thinking of something. You have {self.num_turns} turns to find out what."
        if self.tell_questions:
            told += f" You can ask: {' '.join(table().questions)} Or guess: Is it a cat?"
        return told, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Answer a question or a guess."""
        if self._thing is None:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came before reset.", fix="Call reset first."
            )
        self._num_turns += 1
        said = normal(action)
        question, guess = table().question_places.get(said), table().guess_places.get(said)
        reply, is_right = "I don't know.", guess == self._thing
        if question is not None:
            answer = table().rows[self._thing, question]
            self.is_asked[question] = True
            self.possible &= table().rows[:, question] == answer
            reply = "Yes." if answer else "No."
        elif guess is not None:
            self.possible[guess] = is_right
            reply = "Yes." if is_right else "No."
        terminated = is_right or self._num_turns >= self.num_turns
        return reply, 0.0 if is_right else -1.0, terminated, False, self._info()

    def _info(self) -> dict[str, Any]:
        """The choices: never fewer than one while the game goes on."""
        if not self.list_choices:
            return {}
        left, unasked = np.flatnonzero(self.possible), np.flatnonzero(~self.is_asked)
        choices = [table().questions[place] for place in unasked]
        if len(left) <= NUM_GUESSABLE:
            choices += [table().guesses[place] for place in left]
        return {"choices": choices}


def split_of(thing: str, category: str) -> str:
    """By category, then by a hash of the name."""
    if category in table().unseen:
        return "unseen"
    is_held_out = derive(0, "twenty questions", thing) % HELD_OUT_ONE_IN == 0
    return "held_out" if is_held_out else "train"
