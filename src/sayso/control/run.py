"""An agent of Stable-Baselines3 learns in a run directory: metrics, checkpoints, before and after.

The agent's own loop does the learning; what is here watches it, step by step.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sayso.control.agent import SB3Agent
from sayso.control.controller import Controller
from sayso.control.defaults import algorithm_class, sb3_defaults
from sayso.control.env import make_vec
from sayso.control.fitting import spent
from sayso.control.learner import AgentTrainOptions, LearnerOptions
from sayso.control.store import files_of, restore, values_of
from sayso.errors import GuardError, OptionValueError
from sayso.evaluation.report import EvalReport
from sayso.metrics import Mean
from sayso.runs import commit, interrupt
from sayso.runs.durable import replace_file
from sayso.runs.jsonl import JsonlLog
from sayso.runs.run import Run
from sayso.seeds import derive

_log = logging.getLogger("sayso")
Spend = Callable[[Any, Mapping[str, float]], float]
"""From the agent and what is used up (``fitting.SPENT``), to the share of a budget that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """How a call of ``train_agent`` ended.

    Attributes:
        model: The agent of Stable-Baselines3.
        num_steps: Environment steps in all.
        num_episodes: Episodes that ended.
        train_s: Seconds that this call learned.
        used: What is used up since the beginning, fitting included (``fitting.SPENT``).
        before: The model by itself on the evaluation split; ``None`` without evaluation.
        after: The same under the agent.
    """

    model: Any
    num_steps: int
    num_episodes: int
    train_s: float
    used: dict[str, float]
    before: EvalReport | None
    after: EvalReport | None


def make_agent(moved: Controller, learner: LearnerOptions, *, seed: int, num_done: int = 0) -> Any:
    """An agent that has learned nothing yet.

    Args:
        moved: What it sees and does.
        learner: Which, with its settings.
        seed: The run's seed.
        num_done: Steps behind a resumed run: its draws are others than those at the beginning.

    Raises:
        ExtraMissingError: If its package is not installed.
        OptionValueError: If it refuses a setting, or acts by numbers where actions are slots.
    """
    made, env = algorithm_class(learner.type), make_vec(learner.num_envs, moved)
    settings = {**sb3_defaults(learner.type, env), **learner.settings}
    try:
        return made("MlpPolicy", env, seed=derive(seed, "sb3", num_done) & 0x7FFF_FFFF, **settings)
    except (TypeError, AssertionError, ValueError) as error:
        raise OptionValueError(
            where=f"learner.type = {learner.type!r}",
            problem=f"cannot be made: {str(error).splitlines()[0]}.",
            fix="Check learner.settings, and that the algorithm takes the mode's actions: "
            f"{moved.action_space}.",
        ) from error


def train_agent(
    run: Run,
    moved: Controller,
    learner: LearnerOptions,
    options: AgentTrainOptions,
    *,
    seed: int,
    fresh: Any = None,
    spend: Spend | None = None,
) -> AgentResult:
    """Learn until ``total_steps``, from the newest checkpoint if there is one.

    A resumed run has the weights, optimisers, replay memory, directions and number of steps that it
    had. It is not the same bit for bit as one that was never stopped: the agent's random numbers
    are drawn anew from (seed, steps), and episodes that were under way begin again.

    Args:
        run: Where everything is written; its lock is the caller's to hold.
        moved: What the agent sees and does.
        learner: Which agent.
        options: How long.
        seed: The run's seed.
        fresh: For a new run, what ``make_agent`` made; unset: it is made here.
        spend: Under a budget: what share of it is spent. Exploration that falls with the length of
            a run then goes by this share, since the number of steps is not known before.

    Raises:
        GuardError: If weights are no longer finite.
        Interrupted: On SIGINT or SIGTERM, after a checkpoint.
    """
    found = commit.newest(run.checkpoints)
    done = values_of(found) if found is not None else {}
    num_done = int(done.get("num_steps", 0))
    model = fresh or make_agent(moved, learner, seed=seed, num_done=num_done)
    if found is not None:
        restore(model, found)
        for problem in found.damaged:
            _log.warning("A newer checkpoint did not verify and was passed over: %s", problem)
    started = time.monotonic()
    watch = _Watch(run, moved, model, options, done, spend)
    try:
        with interrupt.listen():
            if num_done < options.total_steps:
                watch.learn(options.total_steps - num_done, is_new=found is None)
            watch.save()
        train_s = time.monotonic() - started
    finally:
        watch.log.close()
    before, after = _measured(run, moved, model, options, seed)
    return AgentResult(
        model=model, num_steps=model.num_timesteps, num_episodes=watch.num_episodes,
        train_s=train_s, used=dict(watch.used), before=before, after=after,
    )  # fmt: skip


@dataclass(slots=True)
class _Since:
    """What happened since the last line of metrics."""

    returns: Mean = field(default_factory=lambda: Mean(0.0, 0))
    turns: Mean = field(default_factory=lambda: Mean(0.0, 0))
    tokens: Mean = field(default_factory=lambda: Mean(0.0, 0))
    started: float = field(default_factory=time.monotonic)
    num_steps: int = 0


class _Watch:
    """Called by the agent's loop after each step of all environments."""

    def __init__(
        self, run: Run, moved: Controller, model: Any, options: AgentTrainOptions,
        done: Mapping[str, Any], spend: Spend | None,
    ) -> None:  # fmt: skip
        self._run, self._moved, self._model, self._options = run, moved, model, options
        self._spend = spend
        self.used: dict[str, float] = dict(done.get("used", spent(moved.fitted)))
        self._resumed_at = time.monotonic()
        self.log = JsonlLog(run.metrics)
        self.log.truncate(int(done.get("offset", 0)))
        self.num_episodes = int(done.get("num_episodes", 0))
        self._since = _Since()
        self._saved_at = int(done.get("num_steps", -1))

    def learn(self, num_steps: int, *, is_new: bool) -> None:
        """Let the agent learn; a signal stops it between two steps, after a checkpoint."""
        interrupt.hold()
        self._resumed_at = time.monotonic()
        try:
            self._model.learn(
                num_steps, callback=self, log_interval=None, reset_num_timesteps=is_new
            )
            interrupt.release()
        except interrupt.Interrupted:
            interrupt.hold()
            self.save()
            raise

    def __call__(self, local: Mapping[str, Any], everywhere: Mapping[str, Any]) -> bool:
        """Count, log and save what is due; False once a budget is spent."""
        del everywhere
        now = self._since
        now.num_steps += len(local["infos"])
        for info in local["infos"]:
            now.tokens += Mean(float(info["num_tokens"]), 1)
            self.used["env_tokens"] += info["num_env_tokens"]
            self.used["reward_queries"] += info["num_rewards"]
            if "episode" in info:
                self.num_episodes += 1
                self.used["episodes"] += 1
                now.returns += Mean(float(info["episode"]["r"]), 1)
                now.turns += Mean(float(info["episode"]["l"]), 1)
        if now.num_steps >= self._options.log_every:
            self._write()
        if self._model.num_timesteps - max(self._saved_at, 0) >= self._options.checkpoint_every:
            self.save()
        interrupt.release()
        interrupt.hold()
        return not self._is_spent()

    def _is_spent(self) -> bool:
        """Whether the budget is; the clock stands while something is measured."""
        self.used["wall_clock"] += time.monotonic() - self._resumed_at
        share = 0.0 if self._spend is None else self._spend(self._model, self.used)
        if share > 0:  # exploration falls with this share of a length that nobody knows yet
            total = self._model.num_timesteps / share
            self._model._total_timesteps = total  # noqa: SLF001  # what the agent's loop reads
        self._resumed_at = time.monotonic()
        return share >= 1

    def save(self) -> None:
        """Commit a checkpoint of this moment, unless there is one."""
        if self._saved_at == self._model.num_timesteps:
            return
        self.log.flush()
        values = {
            "num_steps": self._model.num_timesteps,
            "num_episodes": self.num_episodes,
            "offset": self.log.offset,
            "used": self.used,
        }
        files = files_of(self._model, self._moved.fitted, values)
        commit.commit(self._run.checkpoints, self._model.num_timesteps, files)
        commit.prune(self._run.checkpoints, keep=self._options.keep_checkpoints)
        self._saved_at = self._model.num_timesteps

    def _write(self) -> None:
        now, seconds = self._since, time.monotonic() - self._since.started
        line: dict[str, Any] = {
            "step": self._model.num_timesteps,
            "control/episodes": self.num_episodes,
            "control/return_mean": now.returns.value,
            "control/episode_turns": now.turns.value,
            "control/answer_tokens": now.tokens.value,
            "control/steps_per_s": now.num_steps / max(seconds, 1e-9),
        }
        for name, value in self._model.logger.name_to_value.items():
            if name.startswith("train/") and isinstance(value, int | float):
                line[name] = float(value)
        # The share of no variance is no number, and no fault: all returns of a rollout were equal.
        if math.isnan(line.get("train/explained_variance", 0.0)):
            del line["train/explained_variance"]
        broken = [n for n, v in line.items() if n.startswith("train/") and not math.isfinite(v)]
        if broken:
            raise GuardError(
                where=f"{self._run.path}, step {self._model.num_timesteps}",
                problem=f"{broken[0]} is not finite: the agent has diverged.",
                fix="Lower learner.settings.learning_rate and go on from the last checkpoint.",
            )
        told = {name: value for name, value in line.items() if math.isfinite(value)}
        self.log.append(told)
        print_line(told, self._options.total_steps)
        self._since = _Since()


def print_line(line: Mapping[str, Any], total_steps: int) -> None:
    """One line of the log for whoever watches."""
    mean = line.get("control/return_mean")
    told = "no episode ended" if mean is None else f"return {mean:.3f}"
    _log.warning(
        "step %d/%d  episodes %d  %s  %.1f steps/s", line["step"], total_steps,
        line["control/episodes"], told, line["control/steps_per_s"],
    )  # fmt: skip


def _measured(
    run: Run, moved: Controller, model: Any, options: AgentTrainOptions, seed: int
) -> tuple[EvalReport | None, EvalReport | None]:
    """The model by itself and under the agent, on the same tasks with the same seeds."""
    if not options.eval_episodes:
        return None, None
    reports = []
    for step, agent in ((0, SB3Agent.uncontrolled(moved)), (model.num_timesteps, SB3Agent(model))):
        report = agent.evaluate(
            split=options.eval_split, num_episodes=options.eval_episodes, seed=seed
        )
        data = json.dumps({"step": step, **report.to_json()}, sort_keys=True).encode()
        replace_file(run.eval / f"step-{step:08d}.json", data)
        reports.append(report)
    return reports[0], reports[1]
