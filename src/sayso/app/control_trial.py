"""A run of a comparison in which an agent of Stable-Baselines3 controls a frozen model."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sayso.app.arms import LONG, Arm
from sayso.app.control import ControlConfig, build_controller, open_or_create
from sayso.app.measured import append, forget_beyond, measured, points, told
from sayso.app.plan import Plan
from sayso.control.agent import SB3Agent
from sayso.control.controller import Controller
from sayso.control.fitting import spent
from sayso.errors import OptionValueError
from sayso.evaluation.drift import kl_to
from sayso.evaluation.report import EvalReport
from sayso.models.filters import Distribution
from sayso.rollout.collect import collect
from sayso.runs import commit
from sayso.runs.run import Run
from sayso.sampling.options import Decode
from sayso.seeds import derive
from sayso.training.budget import Axis
from sayso.training.progress import num_env_tokens

SPEAKING = ("steer", "prefix", "decode")
"""Modes in which the model draws tokens under control; the others choose among whole texts."""


class ControlTrial:
    """An agent, what it controls, and the budget it learns under.

    Of the budget also goes what fitting takes: its probes are answers of the same model to the same
    tasks. ``"sampled"`` is the agent as it explores by its own draws, ``"greedy"`` its best action;
    the frozen model speaks at its own temperature both times.

    Args:
        plan: Of the comparison.
        arm: Under control.
        seed: Decides model, probes, agent and evaluations.
    """

    def __init__(self, plan: Plan, arm: Arm, seed: int) -> None:
        self.plan, self.arm, self.seed = plan, arm, seed
        own = arm.controlled()
        train = replace(own.train, total_steps=LONG, eval_episodes=0)
        control = replace(own.control, seed=derive(seed, "control", own.control.seed))
        self.config = replace(own, seed=seed, train=train, control=control)
        self._moved: Controller | None = None
        self._model: Any = None

    def open(self, path: Path, *, split: str | None = None) -> Run:
        """The run there, fresh or to go on with; one whose making was cut short is made again.

        Raises:
            NotImplementedError: For another split: plans with such arms do not adapt.
        """
        if split is not None:
            raise NotImplementedError("arms under control do not adapt")
        Run.clear_half_made(path)
        run = open_or_create(self.config, path, command=sys.argv)
        self._moved = build_controller(self.config, run)
        return run

    @property
    def moved(self) -> Controller:
        """What the agent sees and does, once the run is open."""
        if self._moved is None:
            raise RuntimeError("the run is not open")
        return self._moved

    def trained(self, run: Run) -> dict[str, Any]:
        """Spend the budget; what came of it along the way."""
        from sayso.control.run import make_agent, train_agent
        from sayso.control.store import restore, values_of

        budget, found = self.plan.budget, commit.newest(run.checkpoints)
        before = 0.0
        if found is None:
            forget_beyond(run, -1)  # killed before its first checkpoint: all is done again
        else:
            values = values_of(found)
            before = float(values["used"][budget.axis])
            forget_beyond(run, int(values["num_steps"]))
        if found is not None and before >= budget.amount:
            self._model = make_agent(self.moved, self.config.learner, seed=self.seed)
            restore(self._model, found)
            used, num_steps = dict(values_of(found)["used"]), int(self._model.num_timesteps)
        else:
            watch, fresh = _Points(self, run, before), None
            if found is None:
                fitting = self._fitting()
                fresh = make_agent(self.moved, self.config.learner, seed=self.seed)
                watch.measure(fresh, fitting, step=0)
            result = train_agent(
                run, self.moved, self.config.learner, self.config.train, seed=self.seed,
                fresh=fresh, spend=watch,
            )  # fmt: skip
            self._model, used, num_steps = result.model, result.used, result.num_steps
        return {
            "steps": num_steps,
            "stopped_by": "budget",
            "spent": _on_all_axes(used),
            "num_invalid": {},
            "own_evaluations": {"episodes": 0.0, "tokens": 0.0},
            "curve": points(run),
        }

    def _fitting(self) -> dict[str, float]:
        """What fitting has used up before the first step.

        Raises:
            OptionValueError: If nothing of the budget is left to learn with.
        """
        used, budget = spent(self.moved.fitted), self.plan.budget
        if used[budget.axis] >= budget.amount:
            raise OptionValueError(
                where=f"arm {self.arm.name}",
                problem=f"fits directions and components first, which takes "
                f"{used[budget.axis]:,.0f} {budget.axis} of a budget of {budget.amount:,.0f}.",
                fix="Raise --budget, or lower control.num_probes and control.num_states.",
            )
        return used

    def measured(self) -> dict[str, Any]:
        """What the agent makes the model earn in the end, and what it then says."""
        return measured(self.plan, self.arm.env, self.report, self.drift)

    def adapted(self, run: Run) -> dict[str, Any]:
        """Not there: ``refuse_adapting`` sees to it that nobody asks.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"arms under control do not adapt: {run.path}")

    def report(self, split: str, decode: Decode, num_episodes: int) -> EvalReport:
        """An evaluation: for one seed, the same tasks and draws whatever the arm."""
        return self._report(self._model, split, decode, num_episodes)

    def _report(self, model: Any, split: str, decode: Decode, num_episodes: int) -> EvalReport:
        agent = SB3Agent(model, deterministic=decode == "greedy")
        return agent.evaluate(
            split=split, num_episodes=num_episodes, seed=derive(self.seed, "compare")
        )

    def drift(self, split: str) -> float | None:
        """KL from the model by itself, nats per token, where tokens are drawn under control."""
        if self.config.control.mode not in SPEAKING:
            return None
        agent = SB3Agent(self._model, deterministic=False)
        found = kl_to(
            self.moved.lm, agent.policy(), self.moved.task, split=split,
            num_episodes=self.plan.point_episodes, seed=derive(self.seed, "compare"),
            limits=agent.limits(),
            distribution=Distribution(temperature=self.config.control.temperature),
        )  # fmt: skip
        return found if math.isfinite(found) else None


class _Points:
    """Says what share of the budget is spent, and measures on the way."""

    def __init__(self, trial: ControlTrial, run: Run, before: float) -> None:
        self._trial, self._run, self._before = trial, run, before
        self._budget = trial.plan.budget
        self._at = self._budget.parts(trial.plan.points)

    def __call__(self, model: Any, used: Mapping[str, float]) -> float:
        now = used[self._budget.axis]
        if self._places(now) > self._places(self._before):
            self.measure(model, used, step=int(model.num_timesteps))
        self._before = now
        return now / self._budget.amount

    def measure(self, model: Any, used: Mapping[str, float], *, step: int) -> None:
        """Add a point to the curve."""
        trial, plan = self._trial, self._trial.plan
        report = trial._report(  # noqa: SLF001  # of the same file
            model, plan.head(trial.arm.env), plan.decode[0], plan.point_episodes
        )
        append(self._run, {"step": step, "spent": _on_all_axes(used), **told(report)})

    def _places(self, amount: float) -> int:
        return sum(place <= amount for place in self._at)


def _on_all_axes(used: Mapping[str, float]) -> dict[Axis, float]:
    """An agent of numbers reads no tokens when it learns."""
    names = ("env_tokens", "learner_tokens", "wall_clock", "reward_queries", "episodes")
    return {cast("Axis", name): float(used.get(name, 0.0)) for name in names}


def tokens_of_steps(config: ControlConfig, *, num_probed: int) -> float:
    """Environment tokens that a recipe's steps take at the length of answers before training."""
    moved = build_controller(config)
    listed = config.control.mode == "acts"  # there the model by itself says something else
    agent = SB3Agent.constant(moved, 0) if listed else SB3Agent.uncontrolled(moved)
    tasks = moved.task.open().require_tasks(config.control.split, where=moved.task.id)
    count = min(num_probed, len(tasks))
    played = collect(
        agent.policy(), [tasks[i] for i in range(count)], moved.task,
        group_size=-(-num_probed // count), seed=config.seed, path=("budget",),
        limits=agent.limits(),
    )  # fmt: skip
    turns = sum(len(episode.turns) for episode in played)
    return config.train.total_steps * sum(map(num_env_tokens, played)) / max(1, turns)
