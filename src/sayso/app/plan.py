"""The plan of a comparison: all that decides its numbers but the seeds, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sayso.app.allowance import allowed
from sayso.app.arms import Arm, refuse_adapting, refuse_arms, refuse_selection, refuse_under
from sayso.envs.base import SPLITS
from sayso.envs.listed import num_tasks
from sayso.errors import OptionValueError, RunError
from sayso.runs.agreed import agree
from sayso.sampling.options import Decode
from sayso.training.budget import Budget

FILE = "comparison.json"
DECODES: tuple[Decode, ...] = ("sampled", "greedy")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How arms are compared; ``sayso compare`` has a flag for each.

    Attributes:
        seeds: Runs of each arm; the seeds are 0, 1, 2, ....
        budget: What a run may use up: ``"env_tokens=N"`` or another axis of ``training.budget``.
            Empty: the environment tokens of the first recipe's ``train.total_episodes``, at the
            length that episodes have before training.
        splits: Evaluated at the end; empty: each of train, held_out and unseen that has tasks.
        episodes: Of each evaluation at the end.
        points: Evaluations along the way, at equal parts of the budget.
        point_episodes: Of each of those.
        decode: Ways of acting that are measured, the same for all arms; the first is the one of
            the curves.
        adapt: Episodes of training on unseen tasks after which the return on them is measured
            again; empty: none.
        jobs: Runs at a time; with more than one each has a process of its own.
        margin: Least difference of returns that matters: below it arms are called equal.
        out: Directory; empty: one below ``runs`` that is named by what is compared, so that the
            same command goes on.
    """

    seeds: int = 10
    budget: str = ""
    splits: tuple[str, ...] = ()
    episodes: int = 100
    points: int = 10
    point_episodes: int = 32
    decode: tuple[Decode, ...] = DECODES
    adapt: tuple[int, ...] = ()
    jobs: int = 1
    margin: float | None = None
    out: Path | str = ""

    def __post_init__(self) -> None:
        for name in ("seeds", "episodes", "points", "point_episodes", "jobs"):
            if getattr(self, name) < 1:
                self._refuse(name, "Use 1 or more.")
        if not self.decode or not set(self.decode) <= set(DECODES):
            self._refuse("decode", "Use sampled, greedy or both.")
        if self.adapt and (min(self.adapt) < 0 or max(self.adapt) < 1):
            self._refuse("adapt", "Name numbers of episodes: 0,64,256,1000.")
        if self.margin is not None and not self.margin > 0:
            self._refuse("margin", "Name a positive difference, or leave it out.")

    def _refuse(self, name: str, fix: str) -> None:
        raise OptionValueError(
            where=f"compare, {name}", problem=f"got {getattr(self, name)!r}.", fix=fix
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every run of a comparison agrees on.

    Attributes:
        arms: What is compared.
        budget: Of each run.
        splits: Evaluated at the end, by environment.
        ranges: Least and greatest return, where known, by environment.
        episodes: As in ``CompareOptions``, like those that follow.
        points: Along the way.
        point_episodes: Of each point.
        decode: Ways of acting.
        adapt: Episodes on unseen tasks, rising; empty: none.
    """

    arms: tuple[Arm, ...]
    budget: Budget
    splits: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[float | None, float | None]]
    episodes: int
    points: int
    point_episodes: int
    decode: tuple[Decode, ...]
    adapt: tuple[int, ...] = ()

    def head(self, env: str) -> str:
        """The split that an environment's curves are of: held-out tasks say most."""
        return "held_out" if "held_out" in self.splits[env] else self.splits[env][0]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "arms": [arm.to_json() for arm in self.arms],
            "budget": self.budget.to_json(),
            "splits": {env: list(splits) for env, splits in self.splits.items()},
            "ranges": {env: list(ends) for env, ends in self.ranges.items()},
            **{name: getattr(self, name) for name in ("episodes", "points", "point_episodes")},
            "decode": list(self.decode),
            "adapt": list(self.adapt),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        """Undo ``to_json``."""
        return cls(
            arms=tuple(Arm(**arm) for arm in record["arms"]),
            budget=Budget(**record["budget"]),
            splits={env: tuple(splits) for env, splits in record["splits"].items()},
            ranges={env: (low, high) for env, (low, high) in record["ranges"].items()},
            **{name: record[name] for name in ("episodes", "points", "point_episodes")},
            decode=tuple(record["decode"]),
            adapt=tuple(record["adapt"]),
        )

    def digest(self) -> str:
        """Eight letters that another plan does not have."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def make_plan(arms: Sequence[Arm], options: CompareOptions) -> Plan:
    """What is to be done.

    Args:
        arms: What is compared.
        options: How.

    Raises:
        OptionValueError: If arms cannot be told apart, not stopped by the budget, or not adapt.
        EnvContractError: If a split has no tasks.
    """
    refuse_arms(arms)
    if options.adapt:
        for arm in arms:
            refuse_adapting(arm)
    splits = {arm.env: _splits(arm, options) for arm in arms}
    for arm in arms:
        refuse_selection(arm, splits[arm.env])
    budget = allowed(options.budget, arms)
    for arm in arms:
        refuse_under(arm, budget)
    return Plan(
        arms=tuple(arms),
        budget=budget,
        splits=splits,
        ranges={arm.env: _range(arm) for arm in arms},
        episodes=options.episodes,
        points=options.points,
        point_episodes=options.point_episodes,
        decode=tuple(dict.fromkeys(options.decode)),
        adapt=tuple(sorted({*options.adapt})),
    )


def store_plan(folder: Path, plan: Plan) -> None:
    """Write the plan, or see that the one there is the same.

    Raises:
        RunError: If the directory holds another comparison, or something else.
    """
    agree(
        folder / FILE, plan.to_json(), other="a comparison of other arms, budget or evaluations",
        fix="Name another directory; seeds, jobs and margin may change in this one.",
    )  # fmt: skip


def read_plan(folder: Path) -> Plan:
    """The plan that lies in a directory.

    Raises:
        RunError: If there is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise RunError(
            where=str(folder),
            problem=f"holds no {FILE}.",
            fix="Give the directory of a comparison.",
        )
    return Plan.from_json(json.loads(path.read_text()))


def _splits(arm: Arm, options: CompareOptions) -> tuple[str, ...]:
    env = arm.source().open()
    if options.adapt:
        env.require_tasks("unseen", where=arm.env)
    for split in options.splits:
        env.require_tasks(split, where=arm.env)
    return options.splits or tuple(split for split in SPLITS if num_tasks(env, split))


def _range(arm: Arm) -> tuple[float | None, float | None]:
    env = arm.source().open()
    return env.reward_low, env.reward_high
