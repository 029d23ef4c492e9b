"""Which pairs of texts a person is asked about: drawn by the seed, from one or two writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sayso.data.labels import Judged, Question
from sayso.data.records import plain
from sayso.envs.base import TextEnv
from sayso.envs.comparisons import MAX_ALIKE
from sayso.envs.registry import EnvSource
from sayso.envs.scripted import play, scripted
from sayso.errors import EnvContractError, OptionValueError
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.seeds import generator
from sayso.types import EndReason, Task

SCRIPTED = "scripted:"
Write = Callable[[Task, int], str]
"""From a task and the number of an attempt to a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Somebody who writes texts to be judged.

    Attributes:
        name: Kept with each text, not shown.
        write: Writes one.
    """

    name: str
    write: Write


def scripted_writer(env: EnvSource, name: str, *, seed: int) -> Writer:
    """One of an environment's scripted players."""
    opened = env.open()
    player = scripted(opened, name)

    def write(task: Task, sample: int) -> str:
        return play(opened, task, player.act, seed=seed, sample=sample).moves[0].action

    return Writer(name=f"{SCRIPTED}{name}", write=write)


def policy_writer(
    policy: Policy, env: EnvSource, limits: RolloutLimits, *, name: str, seed: int
) -> Writer:
    """A policy, sampled at its own temperature."""

    def write(task: Task, sample: int) -> str:
        (episode,) = collect(
            policy, [task], env, group_size=1, seed=seed, path=("label", name), limits=limits,
            first_sample=sample,
        )  # fmt: skip
        if episode.end is EndReason.FAILED:
            raise EnvContractError(
                where=f"{env.id}, task {task.id}",
                problem=f"the episode failed: {episode.failure and episode.failure.message}.",
                fix="Mend the environment.",
            )
        return episode.turns[0].action

    return Writer(name=name, write=write)


class Questions:
    """The questions of one labelling, each decided by the seed, its number and the answers so far.

    Attributes:
        writers: One: two of its texts meet; several: texts of two of them.
    """

    def __init__(
        self, env: EnvSource, writers: Sequence[Writer], *, split: str, seed: int, repeat: float
    ) -> None:
        """Set up.

        Args:
            env: Poses the tasks; of one turn.
            writers: Who writes.
            split: Of the tasks.
            seed: Decides everything.
            repeat: Share of the questions that are asked again, the other way round.

        Raises:
            OptionValueError: If there is no writer, or the share is not in [0, 0.5].
            EnvContractError: If the environment has several turns.
        """
        if not writers:
            raise OptionValueError(
                where="--policy", problem="is missing.",
                fix="Name a run, or a scripted player: --policy scripted:NAME.",
            )  # fmt: skip
        if not 0 <= repeat <= 0.5:
            raise OptionValueError(
                where="--repeat", problem=f"got {repeat}.", fix="Use a share from 0 to 0.5."
            )
        self._env: TextEnv = env.open()
        if self._env.max_turns != 1:
            raise EnvContractError(
                where=env.id, problem="has episodes of several turns.",
                fix="Label texts of an environment of one turn.",
            )  # fmt: skip
        self.writers, self._split, self._seed, self._repeat = writers, split, seed, repeat
        self._tasks = self._env.require_tasks(split, where=env.id)

    def next(self, judged: Sequence[Judged]) -> Question:
        """The question after these answers."""
        draws = generator(self._seed, "label", self._split, "again", len(judged))
        open_ = self._open_pairs(judged)
        if open_ and draws.random() < self._repeat:
            return open_[int(draws.integers(len(open_)))].question.swapped()
        asked = [one.question.pair for one in judged if not one.question.is_again]
        return self._pair(max(asked, default=-1) + 1)

    def _open_pairs(self, judged: Sequence[Judged]) -> list[Judged]:
        """Pairs that were judged and not asked again yet, but for the very last one."""
        again = {one.question.pair for one in judged if one.question.is_again}
        return [
            one
            for one in judged[:-1]
            if one.answer != "skip" and not one.question.is_again and one.question.pair not in again
        ]

    def _pair(self, number: int) -> Question:
        draws = generator(self._seed, "label", self._split, "pair", number)
        for attempt in range(MAX_ALIKE):
            task = self._tasks[int(draws.integers(len(self._tasks)))]
            places = draws.permutation(len(self.writers))[:2].tolist() * 2
            pair = [self.writers[place] for place in places[:2]]
            sample = 2 * (number * MAX_ALIKE + attempt)
            texts = [writer.write(task, sample + i) for i, writer in enumerate(pair)]
            if texts[0].strip() != texts[1].strip() and all(text.strip() for text in texts):
                shown, _ = self._env.reset(
                    seed=self._seed, options={"task": task.id, "split": task.split}
                )
                return Question(
                    pair=number, task=task.id, prompt=plain(shown), first=texts[0],
                    second=texts[1], writer_first=pair[0].name, writer_second=pair[1].name,
                )  # fmt: skip
        raise EnvContractError(
            where=f"pair {number}",
            problem=f"{' and '.join(w.name for w in self.writers)} wrote the same text twice, or "
            f"none, in {MAX_ALIKE} tasks.",
            fix="Name more than one writer, or one whose texts differ.",
        )
