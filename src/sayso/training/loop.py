"""The training loop. It knows no algorithm and no model."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.base import Learner, LearnerState, RolloutPlan, Selective, Update
from sayso.envs.registry import EnvSource
from sayso.errors import GuardError
from sayso.evaluation.evaluate import evaluate
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.runs import interrupt
from sayso.runs.failpoints import Failpoint, fp
from sayso.runs.run import Run
from sayso.seeds import derive
from sayso.training import overoptimisation
from sayso.training.callbacks import Callback, StepReport, TrainingContext
from sayso.training.checkpoint import Saver, load_checkpoint, require_no_history
from sayso.training.curriculum import MediumOrder, medium_order
from sayso.training.guards import (
    check_failure_budget,
    check_fatal,
    check_idle,
    check_skips,
    check_ungraded,
)
from sayso.training.logs import RunLogs, write_evaluation
from sayso.training.options import TrainOptions
from sayso.training.order import EpisodeOrder, TaskOrder
from sayso.training.part_scales import rescaled
from sayso.training.progress import Progress
from sayso.training.step_metrics import (
    Clocks,
    step_metrics,
    step_warnings,
    stored_metrics,
)
from sayso.types import EndReason, Episode

StoppedBy = Literal["done", "patience", "callback"]
Order = TaskOrder | MediumOrder | EpisodeOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a call of ``train`` ended.

    Attributes:
        stopped_by: All episodes done, early stopping, or a callback.
        progress: Final counters.
        train_s: Seconds this call spent, evaluations included.
    """

    stopped_by: StoppedBy
    progress: Progress
    train_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run in the making: what the steps share.

    Attributes:
        learner: The algorithm.
        source: Opens the environment.
        run: Where everything is written.
        options: See ``TrainOptions``.
        seed: The run's seed; everything random is derived from it.
        limits: Limits of a rollout.
        callbacks: Called in order.
        data: Stored episodes to learn from; unset: steps play the environment.
        batch_episodes: How many of them a step takes.
    """

    learner: Learner
    source: EnvSource
    run: Run
    options: TrainOptions
    seed: int
    limits: RolloutLimits = field(default_factory=RolloutLimits)
    callbacks: Sequence[Callback] = ()
    data: Sequence[Episode] | None = None
    batch_episodes: int = 64


def train(training: Training) -> TrainResult:
    """Collect, learn, log, evaluate, checkpoint; go on from the newest checkpoint if there is one.

    Raises:
        GuardError: If a guard stopped the run. Where the weights are in doubt the last good
            checkpoint is kept, else the last whole step is saved.
        Interrupted: On SIGINT or SIGTERM, after a checkpoint of the last whole step.
        CheckpointError: If checkpoints exist but none verifies, or steps are logged and there is
            no checkpoint at all.
    """
    start = time.monotonic()
    fp(Failpoint.RESUME_STARTED)
    restored = load_checkpoint(training.run, training.learner)
    if restored is None:
        require_no_history(training.run)
    progress = restored.progress if restored else Progress()
    logs = RunLogs(training.run, restored.offsets if restored else {})
    saver = Saver(training.run, training.learner, keep=training.options.keep_checkpoints)
    if restored:
        saver.note_saved(progress)
    for problem in restored.damaged if restored else ():
        logs.note(f"A newer checkpoint did not verify and was passed over: {problem}")
    if 0 < progress.patience_total < training.options.total_episodes:  # asked for more since
        progress.num_stale_evals = progress.patience_total = 0
    fp(Failpoint.RESUME_LOADED)
    context = TrainingContext(
        run=training.run, learner=training.learner, options=training.options, progress=progress
    )
    with contextlib.ExitStack() as at_end:
        at_end.callback(logs.close)
        for callback in training.callbacks:  # one that fails to start must not leave others open
            callback.on_training_start(context)
            at_end.callback(callback.on_training_end, context)
        with interrupt.listen():
            stopped_by = _run(training, context, logs, saver)
        if told := overoptimisation.told(training.run):
            logs.note(told)
    return TrainResult(stopped_by=stopped_by, progress=progress, train_s=time.monotonic() - start)


def _run(training: Training, context: TrainingContext, logs: RunLogs, saver: Saver) -> StoppedBy:
    """Step until the end; on a signal, checkpoint the last whole step and pass the signal on."""
    learner, progress = training.learner, context.progress
    order = _order(training, progress, logs)
    stopped: StoppedBy | None = None
    boundary = (logs.offsets(), copy.deepcopy(dict(learner.state().values)))
    try:
        while stopped is None:
            stopped = _evaluate_if_due(training, context, logs)
            if stopped == "patience":
                progress.patience_total = training.options.total_episodes
            if _checkpoint_is_due(training, progress, stopped=stopped):
                saver.save(progress, logs)
                interrupt.release()
            if stopped is None:
                boundary = (logs.offsets(), copy.deepcopy(dict(learner.state().values)))
                stopped = _step(training, context, logs, order)
                boundary = (logs.offsets(), copy.deepcopy(dict(learner.state().values)))
                _stop_if_pointless(training, progress, logs, saver)
                interrupt.release()
    except interrupt.Interrupted:
        interrupt.hold()
        # No weight has moved since the boundary, but a baseline or a log line may have.
        offsets, values = boundary
        logs.truncate(offsets)
        learner.load_state(LearnerState(tensors=learner.state().tensors, values=values))
        saver.save(progress, logs)
        raise
    saver.save(progress, logs)
    if stopped == "patience":
        load_checkpoint(training.run, learner, step=progress.best_step)
    return stopped


def _order(training: Training, progress: Progress, logs: RunLogs) -> Order:
    """What steps work on; says so where it is less than was asked for."""
    plan, stored = training.learner.plan, training.data
    if stored is None:
        env = training.source.open()
        tasks = env.tasks(training.options.split)
        order: TaskOrder | MediumOrder = TaskOrder(tasks, plan.tasks_per_step, seed=training.seed)
        if training.options.curriculum == "medium":
            order = medium_order(
                env, tasks, plan.tasks_per_step, seed=training.seed, counts=progress.curriculum
            )
        if order.block_size < plan.tasks_per_step:
            logs.note(_few_tasks(training.options.split, order.block_size, plan))
        return order
    chosen = stored
    if isinstance(training.learner, Selective):
        chosen = training.learner.select(stored)
        logs.note(f"Of {len(stored)} stored episodes, {len(chosen)} are learnt from; equal returns "
                  "are kept or left out together.")  # fmt: skip
    return EpisodeOrder(
        chosen, training.batch_episodes, seed=training.seed, together=plan.stored_together
    )


def _few_tasks(split: str, num_tasks: int, plan: RolloutPlan) -> str:
    """Say that a step is smaller than it was meant to be, and what would make up for it."""
    attempts, asked = plan.group_size, plan.tasks_per_step * plan.group_size
    return (
        f"Split {split!r} has {num_tasks} {'task' if num_tasks == 1 else 'tasks'}, fewer than "
        f"tasks_per_step = {plan.tasks_per_step}: a step trains on {num_tasks} * {attempts} = "
        f"{num_tasks * attempts} episodes. For the {asked} that were asked for, set group_size = "
        f"{-(-asked // num_tasks)}."
    )


def _step(
    training: Training, context: TrainingContext, logs: RunLogs, order: Order
) -> StoppedBy | None:
    """Sample or draw stored episodes, update, log. "callback" when one of them asks to stop."""
    progress, learner = context.progress, training.learner
    is_stored = isinstance(order, EpisodeOrder)
    for callback in () if is_stored else training.callbacks:
        callback.on_rollout_start(context)
    started = time.monotonic()
    if isinstance(order, EpisodeOrder):
        useful = order.batch(progress.num_blocks)
        episodes, num_blocks = useful, 1
    else:
        episodes, num_blocks, useful = _gather(training, progress, order)
    fp(Failpoint.ROLLOUT_DONE)
    for callback in () if is_stored else training.callbacks:
        callback.on_rollout_end(context, episodes)
    sampled = time.monotonic()
    update = Update(metrics={}, num_optimiser_steps=0)
    weighed, part_stats = rescaled(useful, training.options.part_weights, progress.part_stats)
    num_read = learner.lm.num_read_tokens
    if useful:
        update = learner.update(weighed, seed=derive(training.seed, "update", progress.step))
    interrupt.hold()
    progress.part_stats = part_stats
    clocks = Clocks(rollout_s=sampled - started, update_s=time.monotonic() - sampled)
    played = () if is_stored else episodes  # what is stored already is not logged again
    progress.num_learner_tokens += learner.lm.num_read_tokens - num_read
    progress.note_step(played, update, num_blocks=num_blocks, num_trained=len(useful))
    warnings = step_warnings(progress, played, () if is_stored else useful, update)
    if isinstance(order, EpisodeOrder):
        epoch = order.epoch(progress.num_blocks)
        metrics = stored_metrics(progress, useful, update, clocks, epoch=epoch)
    else:
        metrics = step_metrics(progress, episodes, update, clocks)
        if isinstance(order, MediumOrder):
            metrics |= order.note(episodes)
    logs.append(progress.step, metrics, played if training.options.log_episodes else ())
    if update.skipped:
        logs.save_bad_batch(progress.step, useful, update.skipped[-1].reason)
        check_skips(progress, update.skipped[-1].reason)
    check_fatal(progress, update)
    report = StepReport(step=progress.step, metrics=metrics, episodes=episodes, warnings=warnings)
    answers = [callback.on_step(context, report) for callback in training.callbacks]
    return "callback" if False in answers else None


def _stop_if_pointless(training: Training, progress: Progress, logs: RunLogs, saver: Saver) -> None:
    """Stop a run that the environment or the reward fails; what it did is sound, so it is saved.

    The counts that stop it start afresh, or a run whose environment was mended would stop at once.

    Raises:
        GuardError: Saying why.
    """
    try:
        check_failure_budget(progress, training.options.failure_budget)
        check_idle(progress)
        check_ungraded(progress)
    except GuardError:
        progress.recent_invalid, progress.num_idle_steps, progress.num_ungraded_steps = [], 0, 0
        saver.save(progress, logs)
        raise


def _gather(
    training: Training, progress: Progress, order: TaskOrder | MediumOrder
) -> tuple[list[Episode], int, list[Episode]]:
    """Episodes of one step.

    With dynamic sampling, groups whose returns (those learnt from, see ``part_weights``) are all
    equal are replaced by fresh tasks, for at most ``max_resample_rounds`` further rounds.

    Returns:
        All episodes; task blocks used; the valid episodes to train on.
    """
    plan = training.learner.plan
    everything: list[Episode] = []
    useful: list[Episode] = []
    num_groups = 0
    rounds = 0
    while num_groups < order.block_size and rounds <= plan.max_resample_rounds:
        # A task that was kept is not met again in the step: two of its groups would be one.
        block = order.block(progress.num_blocks + rounds, but={e.task.id for e in useful})
        rounds += 1
        episodes = collect(
            training.learner.sampler(),
            block,
            training.source,
            group_size=plan.group_size,
            seed=training.seed,
            path=("rollout", progress.step, rounds - 1),
            limits=training.limits,
        )
        everything += episodes
        valid = [e for e in episodes if e.end is not EndReason.FAILED]
        weighed, _ = rescaled(valid, training.options.part_weights, progress.part_stats)
        learnt = {id(e): seen.return_ for e, seen in zip(valid, weighed, strict=True)}
        for start in range(0, len(episodes), plan.group_size):
            attempts = episodes[start : start + plan.group_size]
            group = [e for e in attempts if id(e) in learnt]
            alive = len({learnt[id(e)] for e in group}) > 1
            if num_groups < order.block_size and (alive or plan.max_resample_rounds == 0):
                useful += group
                num_groups += 1
    return everything, rounds, useful


def _evaluate_if_due(
    training: Training, context: TrainingContext, logs: RunLogs
) -> StoppedBy | None:
    """Evaluate every ``eval_every`` steps and at the end; say whether training is over.

    What is due depends on counters alone, so a run stopped before an evaluation makes up for it.
    Measuring changes nothing in training, bit for bit: other seeds, no state.
    """
    options, progress = training.options, context.progress
    is_done = progress.num_episodes >= options.total_episodes
    keep_going = True
    every = options.eval_every
    if every and (progress.step % every == 0 or is_done) and progress.eval_step != progress.step:
        report = evaluate(
            training.learner.policy(),
            training.source,
            split=options.eval_split,
            num_episodes=options.eval_episodes,
            seed=training.seed,
            limits=training.limits,
        )
        interrupt.hold()
        try:
            fp(Failpoint.EVAL)
            write_evaluation(training.run, progress.step, report.to_json())
        except OSError as error:
            logs.note(f"step {progress.step}: the evaluation could not be written: {error}")
        progress.note_evaluation(report.mean.mean)
        answers = [callback.on_evaluation(context, report) for callback in training.callbacks]
        keep_going = False not in answers
        interrupt.release()
    if is_done:
        return "done"
    if options.patience and progress.num_stale_evals >= options.patience:
        return "patience"
    return None if keep_going else "callback"


def _checkpoint_is_due(
    training: Training, progress: Progress, *, stopped: StoppedBy | None
) -> bool:
    is_best = 0 <= progress.best_step == progress.step
    return bool(stopped) or is_best or progress.step % training.options.checkpoint_every == 0
