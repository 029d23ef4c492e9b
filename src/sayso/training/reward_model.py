"""A reward model learns from preferences, in a run directory: metrics, checkpoints, a report."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sayso.algorithms.optim import Optimiser
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import Part, Parts, StepOutcome, guarded_step
from sayso.data.preferences import Preference, PreferenceSet
from sayso.errors import CheckpointError, GuardError
from sayso.evaluation.preference import PreferenceReport, judge_preferences
from sayso.losses.preference import bradley_terry
from sayso.models.reward_network import RewardModelOptions, RewardNetwork, parts_of
from sayso.runs import commit, interrupt
from sayso.runs.jsonl import JsonlLog
from sayso.runs.run import Run
from sayso.training.checkpoint import TENSORS, VALUES
from sayso.training.logs import write_evaluation
from sayso.training.order import order_of

_log = logging.getLogger("sayso")
NUM_SCALED = 512
"""Training texts whose rewards give the scale that is saved with the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainOptions:
    """How long a reward model learns; written under ``[train]``.

    Attributes:
        epochs: Times that every pair is met; parts of one are fine. One is often best: more learns
            the pairs by heart.
        batch_pairs: Pairs per step.
        eval_every: Measure on the held-out pairs every so many steps; at the end in any case.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many are kept; at least 2.
    """

    epochs: float = 1.0
    batch_pairs: int = 32
    eval_every: int = 0
    checkpoint_every: int = 20
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs must be positive, got {self.epochs}")
        for name in ("batch_pairs", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.eval_every < 0:
            raise ValueError(f"eval_every must be 0 (off) or positive, got {self.eval_every}")
        if self.keep_checkpoints < 2:
            raise ValueError(f"keep_checkpoints must be at least 2, got {self.keep_checkpoints}")

    def num_steps(self, num_pairs: int) -> int:
        """Optimiser steps over so many pairs."""
        return max(1, math.ceil(self.epochs * num_pairs / self.batch_pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardResult:
    """How a call of ``train_reward_model`` ended.

    Attributes:
        report: On the held-out pairs, at the end.
        num_steps: Optimiser steps in all.
        train_s: Seconds that this call spent.
    """

    report: PreferenceReport
    num_steps: int
    train_s: float


class RewardTrainer:
    """A reward network with its optimiser, and the pairs it learns from.

    Attributes:
        network: What trains.
        optimiser: Over all of it that trains.
    """

    def __init__(
        self,
        network: RewardNetwork,
        data: PreferenceSet,
        options: RewardModelOptions,
        optim: OptimOptions,
        *,
        seed: int,
    ) -> None:
        self.network, self.data, self.options, self.seed = network, data, options, seed
        self.optimiser = Optimiser(network.trainable(), optim, own_lr={"head.": options.head_lr})
        self._states: dict[tuple[Preference, bool], Tensor] = {}
        self._tokens: dict[Preference, list[list[int]]] = {}

    def step(self, index: int, batch_pairs: int) -> StepOutcome:
        """One optimiser step on batch ``index`` of the training pairs."""
        places = order_of(index, batch_pairs, len(self.data.train), seed=self.seed)
        return guarded_step(self, self._parts([self.data.train[place] for place in places]))

    def _parts(self, pairs: Sequence[Preference]) -> Parts:
        margins = [p.margin or 0.0 for p in pairs] if self.options.use_margins else None
        for part in self._cut(pairs):
            rewards = self.network.rewards(self._read([pairs[i] for i in part]))
            chosen, rejected = rewards.view(-1, 2).unbind(1)
            margin = None if margins is None else chosen.new_tensor([margins[i] for i in part])
            loss = bradley_terry(
                chosen, rejected, num_pairs_in_step=len(pairs), margin=margin,
                centre_coef=self.options.centre_coef,
            )  # fmt: skip
            yield Part(losses=[loss], about=f"prompt {str(pairs[part[0]].prompt)[:60]!r}, …")

    def gaps(self, pairs: Sequence[Preference]) -> list[float]:
        """r⁺ - r⁻ of each pair."""
        with torch.no_grad():
            sides = [
                self.network.rewards(self._read([pairs[i] for i in part])).view(-1, 2)
                for part in self._cut(pairs)
            ]
            found = torch.cat(sides).double()
            return (found[:, 0] - found[:, 1]).tolist()

    def measured(self) -> PreferenceReport:
        """On the held-out pairs."""
        held_out = self.data.held_out
        return judge_preferences(held_out, self.gaps(held_out), seed=self.seed)

    def set_scale(self) -> None:
        """Give the network the mean and spread of what it says of the texts it learnt from."""
        some = self.data.train[: NUM_SCALED // 2]
        with torch.no_grad():
            said = torch.cat([
                self.network.rewards(self._read([some[i] for i in part]))
                for part in self._cut(some)
            ]).double()  # fmt: skip
        self.network.mean = float(said.mean())
        spread = float(said.std()) if len(said) > 1 else 0.0
        self.network.std = spread if spread > 0 else 1.0

    def _cut(self, pairs: Sequence[Preference]) -> list[list[int]]:
        """Places of pairs that go through one forward."""
        lengths = [max(len(ids) for ids in self._ids(pair)) for pair in pairs]
        return parts_of(lengths, max(1, self.optimiser.options.micro_batch_tokens // 2))

    def _ids(self, pair: Preference) -> list[list[int]]:
        if pair not in self._tokens:
            sides = (pair.chosen, pair.rejected)
            self._tokens[pair] = [self.network.ids(pair.prompt, text) for text in sides]
        return self._tokens[pair]

    def _read(self, pairs: Sequence[Preference]) -> Tensor:
        """States of both sides of each pair, chosen first: [2p, d]."""
        if self.options.trains == "all":
            return self.network.states([ids for pair in pairs for ids in self._ids(pair)])
        for pair in pairs:  # the trunk is frozen: what it says of a text is always the same
            if (pair, True) not in self._states:
                with torch.no_grad():
                    both = self.network.states(self._ids(pair))
                self._states[pair, True], self._states[pair, False] = both.unbind(0)
        return torch.stack([self._states[pair, side] for pair in pairs for side in (True, False)])


def train_reward_model(
    run: Run, trainer: RewardTrainer, options: RewardTrainOptions
) -> RewardResult:
    """Learn to the end, from the newest checkpoint if there is one; the same bits either way.

    At the end the network lies in the run's ``model/``, and its report in ``eval/``.

    Args:
        run: Where everything is written; its lock is the caller's to hold.
        trainer: What learns, from what.
        options: How long.

    Raises:
        GuardError: If the loss or a gradient is not finite.
        Interrupted: On SIGINT or SIGTERM, after a checkpoint.
    """
    started = time.monotonic()
    num_steps = options.num_steps(len(trainer.data.train))
    trainer.optimiser.follow(num_steps)
    done, offset = _restore(run, trainer)
    with JsonlLog(run.metrics) as log:
        log.truncate(offset)
        with interrupt.listen():
            _learn(run, trainer, options, log, range(done, num_steps))
    trainer.set_scale()
    report = trainer.measured()
    write_evaluation(run, num_steps, report.to_json())
    trainer.network.save(run.path / "model", card=_card(trainer, report))
    return RewardResult(report=report, num_steps=num_steps, train_s=time.monotonic() - started)


def _learn(
    run: Run, trainer: RewardTrainer, options: RewardTrainOptions, log: JsonlLog, steps: range
) -> None:
    step = steps.start
    try:
        for step in steps:
            outcome = trainer.step(step, options.batch_pairs)
            interrupt.hold()
            if outcome.skipped is not None:
                raise GuardError(
                    where=f"{run.path}, step {step}", problem=f"{outcome.skipped.reason}.",
                    fix="Lower optim.lr or reward_model.head_lr and start again.",
                )  # fmt: skip
            _write(log, trainer, options, step + 1, outcome)
            if (step + 1) % options.checkpoint_every == 0 or step + 1 == steps.stop:
                _save(run, trainer, log, keep=options.keep_checkpoints)
            interrupt.release()
    except interrupt.Interrupted:
        interrupt.hold()
        _save(run, trainer, log, keep=options.keep_checkpoints)
        raise


def _write(
    log: JsonlLog, trainer: RewardTrainer, options: RewardTrainOptions, step: int,
    outcome: StepOutcome,
) -> None:  # fmt: skip
    pairs = len(trainer.data.train)
    line: dict[str, Any] = {"step": step, "progress/epochs": step * options.batch_pairs / pairs}
    line |= {name: mean.value for name, mean in sorted(outcome.metrics.items())}
    if options.eval_every and step % options.eval_every == 0:
        report = trainer.measured()
        line |= {"held_out/accuracy": report.accuracy.mean, "held_out/loss": report.loss,
                 "held_out/ece": report.ece}  # fmt: skip
    log.append(line)
    _log.warning(
        "step %d/%d  loss %.3f  accuracy %.3f  held out %s", step, options.num_steps(pairs),
        line["reward_model/loss"], line["reward_model/accuracy"],
        f"{line['held_out/accuracy']:.3f}" if "held_out/accuracy" in line else "-",
    )  # fmt: skip


def _save(run: Run, trainer: RewardTrainer, log: JsonlLog, *, keep: int) -> None:
    log.flush()
    tensors = {f"model.{n}": p.detach() for n, p in trainer.optimiser.parameters.items()}
    tensors |= trainer.optimiser.state_tensors()
    own = {n: t.cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}
    step = trainer.optimiser.num_steps
    values = {"num_steps": step, "offset": log.offset, "digest": trainer.data.digest}
    files = {TENSORS: save_tensors(own), VALUES: json.dumps(values, sort_keys=True).encode()}
    commit.commit(run.checkpoints, step, files)
    commit.prune(run.checkpoints, keep=keep)


def _restore(run: Run, trainer: RewardTrainer) -> tuple[int, int]:
    """Steps behind the newest checkpoint, whose state is put back, and the length of its log."""
    found = commit.newest(run.checkpoints)
    if found is None:
        return 0, 0
    for problem in found.damaged:
        _log.warning("A newer checkpoint did not verify and was passed over: %s", problem)
    values: dict[str, Any] = json.loads(found.read(VALUES))
    if values["digest"] != trainer.data.digest:
        raise CheckpointError(
            where=str(run.path), problem="its preferences have changed.",
            fix="Put the data back as it was, or start a new run.",
        )  # fmt: skip
    tensors = load_tensors(found.read(TENSORS))
    with torch.no_grad():
        for name, parameter in trainer.optimiser.parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
    num_steps = int(values["num_steps"])
    trainer.optimiser.load_tensors(tensors, num_steps=num_steps)
    return num_steps, int(values["offset"])


def _card(trainer: RewardTrainer, report: PreferenceReport) -> str:
    network = trainer.network
    how = (
        "`AutoModelForSequenceClassification` loads it, with one label: the reward, read at the "
        "last token of the answer (its end token)."
        if network.pooling == "last"
        else f"`AutoModel` loads the encoder; the head in `reward_head.safetensors` reads its "
        f"states at {network.pooling}."
    )
    return (
        f"# Reward model over {network.name}\n\nLearnt with sayso from {len(trainer.data.train)} "
        f"preferences (Bradley-Terry). {how}\nAs a reward of sayso: "
        f'`sayso.rewards.ModelReward("this directory")`.\n\n```\n{report}\n```\n'
    )
