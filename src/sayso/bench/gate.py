"""Whether two trainers do the same: loss and gradient of one saved batch. Before any timing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sayso.algorithms.anchor import Anchor
from sayso.algorithms.grading import spread
from sayso.algorithms.grpo import GRPO
from sayso.algorithms.grpo_losses import sequence_mean
from sayso.algorithms.step import backpropagated, scored_parts
from sayso.bench.works import GROUP_SIZE, NUM_PROMPTS, Job
from sayso.data.batch import PackedRow
from sayso.errors import GuardError
from sayso.losses.loss import Loss
from sayso.models.scoring import Scores
from sayso.types import Episode

MAX_LOSS_GAP, MIN_COSINE = 1e-4, 0.9999


def save(learner: GRPO, episodes: list[Episode], job: Job) -> None:
    """Write the batch, and our loss and gradient of it.

    The advantages are made up: those of a group add up to more than 0, so that the loss of a first
    step is not 0 whatever the trainer computes.
    """
    advantages = np.linspace(-1.0, 1.75, GROUP_SIZE)
    given = [float(advantages[(5 * i) % GROUP_SIZE]) for i in range(NUM_PROMPTS * GROUP_SIZE)]
    rows = [
        {
            "prompt": list(e.turns[0].observation_ids),
            "completion": list(e.turns[0].action_ids),
            "advantage": advantage,
        }
        for e, advantage in zip(episodes, given, strict=True)
    ]
    Path(job.gate).write_text(json.dumps(rows))
    batch = learner.core.pack(episodes)
    aligned = batch.align(spread(episodes, given))
    total = 0.0

    def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
        nonlocal total
        loss = sequence_mean(
            scores.logprob,
            row,
            aligned[number],
            batch,
            Anchor(row.logprob_sampled, None),
            clip_low=0.2,
            clip_high=0.2,
        )
        total += float(loss.value.detach())
        return [loss]

    backpropagated(learner.core, scored_parts(learner.core, batch, row_loss))
    gradients = {
        name: parameter.grad.contiguous()
        for name, parameter in learner.core.optimiser.parameters.items()
        if parameter.grad is not None
    }
    if job.lora:  # whoever compares starts from the same adapters
        learner.lm.network.save_pretrained(Path(job.out).parent / "adapter")
    save_file({**gradients, "loss": torch.tensor([total])}, job.out)


def compare(ours: Path, peer: Path) -> dict[str, float]:
    """Relative gap of the losses and cosine of the gradients.

    Raises:
        GuardError: If the two do not compute the same; no timing would mean anything.
    """
    first, second = _named(ours), _named(peer)
    loss, other = float(first.pop("loss")), float(second.pop("loss"))
    shared = sorted(first.keys() & second.keys())
    left = {name for name in first.keys() ^ second.keys() if _norm({**first, **second}[name]) > 0}
    dot = sum(float((first[n].double() * second[n].double()).sum()) for n in shared)
    norms = [sum(_norm(side[n]) ** 2 for n in shared) ** 0.5 for side in (first, second)]
    found = {
        "loss_gap": abs(loss - other) / max(abs(loss), 1e-12),
        "cosine": dot / max(norms[0] * norms[1], 1e-30),
        "norm_ratio": norms[0] / max(norms[1], 1e-30),
        "parameters": float(len(shared)),
    }
    if left or found["loss_gap"] > MAX_LOSS_GAP or found["cosine"] < MIN_COSINE:
        raise GuardError(
            where="benchmark gate",
            problem=f"the two trainers differ on the same batch: {found}, only one has a gradient "
            f"of {sorted(left)[:3]}.",
            fix="Until they agree no time is printed: look at templates, masks and the loss.",
        )
    return found


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())


def _named(path: Path) -> dict[str, Tensor]:
    """Tensors by a name that both libraries agree on."""
    return {
        name.replace("base_model.model.", "").replace(".default", ""): tensor
        for name, tensor in load_file(path).items()
    }
