"""One run of a comparison: an arm with a seed, trained under its budget and measured.

``python -m sayso.app.trial FOLDER ARM SEED`` does one in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.algorithms.base import Learner
from sayso.app.arms import LONG, Arm, speaks_tokens, trial_config
from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import RunConfig
from sayso.app.measured import append, forget_beyond, measured, points, told
from sayso.app.opening import env_source, open_or_create_run, rollout_limits
from sayso.app.plan import Plan, read_plan
from sayso.app.sweep import policy_as
from sayso.app.warm import FOLDER as WARMED
from sayso.app.warm import warm_up
from sayso.envs.registry import EnvSource
from sayso.errors import SaysoError
from sayso.evaluation.drift import kl_to
from sayso.evaluation.evaluate import evaluate
from sayso.evaluation.report import EvalReport
from sayso.models.lm import LanguageModel
from sayso.runs.durable import replace_file
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run
from sayso.sampling.options import Decode
from sayso.seeds import derive
from sayso.training.budget import Axis, Budget
from sayso.training.callbacks import Callback, TrainingContext
from sayso.training.checkpoint import load_checkpoint
from sayso.training.loop import TrainResult, train
from sayso.training.spending import UnderBudget, spent

if TYPE_CHECKING:
    from sayso.app.control_trial import ControlTrial


def result_path(folder: Path, arm: Arm, seed: int) -> Path:
    """Where the result of a run lies once it is finished."""
    return folder / arm.key / f"seed-{seed}.json"


def run_trial(folder: Path, plan: Plan, arm: Arm, seed: int) -> dict[str, Any]:
    """Train, measure, write the result; what is done already is not done again.

    Args:
        folder: Of the comparison.
        plan: What is the same for all arms.
        arm: Which.
        seed: Of the run, and of everything that is random in it.

    Returns:
        The result, as it lies at ``result_path``.

    Raises:
        SaysoError: What stopped the run.
        Interrupted: On a signal; the run goes on from there when it is asked for again.
    """
    path = result_path(folder, arm, seed)
    if path.is_file():
        return dict(json.loads(path.read_text()))
    trial = _trial(plan, arm, seed, folder)
    run = trial.open(path.with_suffix(""))
    with run.lock():
        found = {"arm": arm.name, "env": arm.env, "seed": seed, **trial.trained(run)}
    found |= trial.measured()
    if plan.adapt:
        adapting = trial.open(path.with_name(f"seed-{seed}-adapt"), split="unseen")
        with adapting.lock():
            found["adaptation"] = trial.adapted(adapting)
    replace_file(path, json.dumps(found, allow_nan=False).encode())
    return found


def _trial(plan: Plan, arm: Arm, seed: int, folder: Path) -> _Trial | ControlTrial:
    if not arm.is_control:
        return _Trial(plan, arm, seed, folder)
    from sayso.app.control_trial import ControlTrial

    return ControlTrial(plan, arm, seed)


class _Trial:
    """Model, learner and environment of one run."""

    def __init__(self, plan: Plan, arm: Arm, seed: int, folder: Path) -> None:
        self.plan, self.arm, self.seed = plan, arm, seed
        self.warmed = result_path(folder, arm, seed).with_name(f"seed-{seed}-{WARMED}")
        self.config: RunConfig = trial_config(arm, plan.budget, seed)
        self.env: EnvSource = env_source(self.config.env)
        self.learner: Learner = build_learner(self.config, self._first_lm())
        if self.config.train.total_episodes == LONG:
            # Whole steps of it, so that nobody is told of the episodes beyond.
            train = dataclasses.replace(self.config.train, total_episodes=self._whole(LONG))
            self.config = dataclasses.replace(self.config, train=train)

    def _first_lm(self) -> LanguageModel:
        """The model that training begins with; its warm start, if any, is in no budget."""
        lm = build_lm(self.config)
        warm_up(self.config, lm, self.warmed)
        return lm

    def _whole(self, total: int) -> int:
        """So many episodes or a few more: what whole steps take."""
        each = self.config.data.batch_episodes
        if self.config.data.path is None:
            num_tasks = len(self.env.open().tasks(self.config.train.split))
            each = min(self.learner.plan.tasks_per_step, num_tasks) * self.learner.plan.group_size
        return -(-total // each) * each

    def options(self, split: str | None) -> RunConfig:
        """Those of training itself, or of going on with another split."""
        if split is None:
            return self.config
        total = max(self.plan.adapt)
        train = dataclasses.replace(
            self.config.train, split=split, total_episodes=total, eval_every=0, patience=0
        )
        return dataclasses.replace(self.config, train=train)

    def open(self, path: Path, *, split: str | None = None) -> Run:
        """The run there, fresh or to go on with; one whose making was cut short is made again."""
        Run.clear_half_made(path)
        return open_or_create_run(self.options(split), path, command=sys.argv)

    def trained(self, run: Run) -> dict[str, Any]:
        """Spend the budget; what came of it along the way."""
        plan, budget = self.plan, self.plan.budget

        def measure(step: int, used: dict[Axis, float]) -> None:
            report = self.report(plan.head(self.arm.env), plan.decode[0], plan.point_episodes)
            append(run, {"step": step, "spent": used, **told(report)})

        stop = UnderBudget(budget, measure, at=budget.parts(plan.points))
        restored = load_checkpoint(run, self.learner)
        is_spent = restored and spent(restored.progress, run)[budget.axis] >= budget.amount
        if restored and is_spent:
            progress, stopped_by = restored.progress, "budget"
        else:
            training = assemble(self.config, run, learner=self.learner, env=self.env,
                                callbacks=[_OneTimeline(), stop])  # fmt: skip
            result: TrainResult = train(training)
            progress, stopped_by = result.progress, result.stopped_by
        used = spent(progress, run)
        return {
            "steps": progress.step,
            "stopped_by": "patience" if stopped_by == "patience" else "budget",
            "spent": used,
            "num_invalid": dict(progress.num_invalid),
            "own_evaluations": _own_evaluations(run),
            "curve": points(run),
        }

    def measured(self) -> dict[str, Any]:
        """What the policy earns in the end, how far it has moved, and what it says."""
        return measured(self.plan, self.arm.env, self.report, self.drift)

    def adapted(self, run: Run) -> dict[str, Any]:
        """Go on with tasks of a kind never trained on; what is gained there and lost elsewhere."""
        plan, total = self.plan, max(self.plan.adapt)
        budget = Budget(axis="episodes", amount=total)

        def measure(step: int, used: dict[Axis, float]) -> None:
            report = self.report("unseen", plan.decode[0], plan.episodes)
            append(run, {"step": step, "spent": used, **told(report)})

        at = [float(n) for n in plan.adapt if n > 0]
        stop = UnderBudget(budget, measure, at=at)
        train(assemble(self.options("unseen"), run, learner=self.learner, env=self.env,
                       callbacks=[_OneTimeline(), stop]))  # fmt: skip
        after = self.report("train", plan.decode[0], plan.episodes)
        return {
            "points": points(run),
            "train": told(after, whole=True),
            "kl": self.drift("unseen"),
        }

    def report(self, split: str, decode: Decode, num_episodes: int) -> EvalReport:
        """An evaluation: for one seed, the same tasks and draws whatever the arm."""
        return evaluate(
            policy_as(self.learner, self.config, decode=decode), self.env, split=split,
            num_episodes=num_episodes, seed=derive(self.seed, "compare"),
            limits=rollout_limits(self.config.env),
        )  # fmt: skip

    def drift(self, split: str) -> float | None:
        """KL to the model as it began, nats per token; ``None`` where the policy is no LM's."""
        if not speaks_tokens(self.config):
            return None
        found = kl_to(
            self._first_lm(), policy_as(self.learner, self.config, decode="sampled"), self.env,
            split=split, num_episodes=self.plan.point_episodes, seed=derive(self.seed, "compare"),
            limits=rollout_limits(self.config.env),
            distribution=self.config.sampling.distribution(),
        )  # fmt: skip
        return found if math.isfinite(found) else None


class _OneTimeline(Callback):
    """Forgets what was measured beyond the step that training goes on from."""

    def on_training_start(self, context: TrainingContext) -> None:
        """Cut the curve back."""
        forget_beyond(context.run, context.progress.step)


def _own_evaluations(run: Run) -> dict[str, float]:
    """What an arm that stops early has used to find out when: in no budget, but told."""
    found = [json.loads(path.read_text()) for path in sorted(run.eval.glob("step-*.json"))]
    return {
        "episodes": sum(each["num_episodes"] for each in found),
        "tokens": sum(each["num_episodes"] * each["mean_tokens"] for each in found),
    }


def main(arguments: list[str]) -> int:
    """One run in this process; the exit code."""
    folder, key, seed = Path(arguments[0]), arguments[1], int(arguments[2])
    plan = read_plan(folder)
    arm = next(arm for arm in plan.arms if arm.key == key)
    try:
        run_trial(folder, plan, arm, seed)
    except SaysoError as error:
        print(error, file=sys.stderr)  # noqa: T201  # into the log of this run
        return 2
    except Interrupted as stopped:
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
