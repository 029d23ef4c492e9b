"""Wordle, letter by letter: find a hidden word in six tries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.scripted import Scripted
from sayso.envs.wordle_words import (
    code_of,
    colours,
    consistent,
    load_words,
    most_informative,
)  # fmt: skip
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import derive
from sayso.types import Task

NUM_TRIES = 6
OPENING, NO_WORD = "Wordle:", "not a word"
WRONG_REWARD, RIGHT_REWARD = -1.0, 0.0
NUM_HELD_OUT, OUT_OF = 13, 73
"""Share of the answers without a repeated letter that is held out: 65 of sayso's 365."""
RANDOM_SHARE = 0.66
"""Of the guesses of LMRL-Gym's logged games, arXiv:2311.18232, app. C.3."""


def _random(env: WordleEnv, draws: np.random.Generator) -> str:
    return _spelled(env.words[int(draws.integers(len(env.words)))])


def _consistent(env: WordleEnv, draws: np.random.Generator) -> str:
    candidates = consistent(env.words, env.clues)
    return _spelled(env.words[int(candidates[int(draws.integers(len(candidates)))])])


def _mixture(env: WordleEnv, draws: np.random.Generator) -> str:
    return (_random if draws.random() < RANDOM_SHARE else _consistent)(env, draws)


def _information_gain(env: WordleEnv, draws: np.random.Generator) -> str:
    del draws
    candidates = tuple(consistent(env.words, env.clues).tolist())
    return _spelled(env.words[most_informative(env.words, candidates)])


class WordleEnv(TextEnv):
    """Find the hidden word in six tries; each guess is coloured letter by letter.

    The first observation is ``Wordle:``. An action is a word of the list, its letters separated by
    spaces (``c r a n e``) or not. The reply has a symbol for each letter, separated by spaces:
    ``g`` right, ``y`` elsewhere in the word, ``b`` not there (``colours`` has the rule for letters
    that come twice). A wrong guess costs 1, the right one nothing. An action that is no word of
    the list costs 1 and a try as well, and the reply is ``not a word``. The game is over, that is
    terminated, when the word is found or after six tries: returns are whole numbers from -6 to 0.

    The format and the reward are LMRL-Gym's; its list of words is not copied, and its replies to
    letters that come twice are coarser (Abdulhai et al. 2023, arXiv:2311.18232).

    Reward parts, not added to the reward: ``won`` (1 for the right word), ``not_a_word`` (1).

    Args:
        words: A text file with a list of one's own, one word a line; the words' length is that
            of the first. Unset: sayso's list of 430 common words of five letters.
        answers: ``"split"``: ``unseen`` are the words in which a letter is repeated (65 of
            sayso's list), so that no game trained on has such an answer; a hash holds out 13 in 73
            of the others (300 are left to train on, 65 held out). ``"all"``: train on all, as
            LMRL-Gym does. Guesses may be any word of the list.
    """

    reward_low, reward_high = NUM_TRIES * WRONG_REWARD, RIGHT_REWARD
    part_low, part_high = 0.0, float(NUM_TRIES)
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "random": Scripted(act=_random, about="any word of the list"),
            "consistent": Scripted(act=_consistent, about="any word that fits the replies"),
            "mixture": Scripted(
                act=_mixture, about="66 % random, else consistent: LMRL-Gym's logged games"
            ),
            "information_gain": Scripted(
                act=_information_gain, about="the fitting word that tells most, one guess ahead"
            ),
        }
    )

    def __init__(
        self, *, words: str | Path | None = None, answers: Literal["split", "all"] = "split"
    ) -> None:
        self.words = load_words(words)
        self.answers = answers
        if answers not in ("split", "all"):
            raise OptionValueError(
                where="sayso/Wordle-v0, answers",
                problem=f"got {answers!r}.",
                fix="Use 'split' or 'all'.",
            )
        self._places = {word: place for place, word in enumerate(self.words)}
        self._clues: list[tuple[int, int]] = []
        self._num_tries = 0
        self._answer: str | None = None

    @property
    def num_letters(self) -> int:
        """Length of every word."""
        return len(self.words[0])

    @property
    def clues(self) -> Sequence[tuple[int, int]]:
        """What was shown so far: each guess's place in ``words`` and ``code_of`` its colours."""
        return self._clues

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per answer of the split, in the order of the list."""
        return self._tasks.get(split, ())

    @cached_property
    def _tasks(self) -> dict[str, tuple[Task, ...]]:
        digest = hashlib.sha256(" ".join(self.words).encode()).hexdigest()[:16]
        return {
            split: tuple(
                Task(
                    id=word,
                    env="sayso/Wordle-v0",
                    split=split,
                    payload={"answer": word, "words_sha256": digest, "num_tries": NUM_TRIES},
                )
                for word in self.words
                if self._split_of(word) == split
            )
            for split in SPLITS
        }

    def _split_of(self, word: str) -> str:
        """By the word alone, so that every list is divided alike."""
        if self.answers == "all":
            return "train"
        if len(set(word)) < len(word):
            return "unseen"
        is_held_out = derive(0, "answer", word) % OUT_OF >= OUT_OF - NUM_HELD_OUT
        return "held_out" if is_held_out else "train"

    def why_empty(self, split: str) -> str:
        """Small lists may have no word of a kind."""
        if self.answers == "all" and split in SPLITS:
            return "answers='split' keeps words for it."
        kinds = {"unseen": "with a repeated letter", "held_out": "that the hash holds out"}
        return f"The list has no word {kinds[split]}." if split in kinds else ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Hide the task's word."""
        super().reset(seed=seed)
        self._answer = self.choose(seed, options).payload["answer"]
        self._clues, self._num_tries = [], 0
        return OPENING, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Colour a guess."""
        if self._answer is None:
            raise EnvContractError(
                where="sayso/Wordle-v0, step",
                problem="no word is hidden.",
                fix="Call reset first, and again when a game is over.",
            )
        guess = "".join(action.split()).lower() if action.isascii() else ""
        self._num_tries += 1
        reply, has_won = NO_WORD, guess == self._answer
        is_word = guess in self._places
        if is_word:
            shown = colours(guess, self._answer)
            self._clues.append((self._places[guess], code_of(shown)))
            reply = _spelled(shown)
        terminated = has_won or self._num_tries == NUM_TRIES
        if terminated:
            self._answer = None
        parts = {"won": float(has_won), "not_a_word": float(not is_word)}
        reward = RIGHT_REWARD if has_won else WRONG_REWARD
        return reply, reward, terminated, False, {"reward_parts": parts}


def _spelled(word: str) -> str:
    return " ".join(word)
