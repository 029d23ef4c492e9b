"""Every learner on a tiny model, and episodes written by hand: what the proofs have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sayso.algorithms.base import Skipped, Update
from sayso.algorithms.options.a2c import A2COptions
from sayso.algorithms.options.awr import AWROptions
from sayso.algorithms.options.bc import BCOptions
from sayso.algorithms.options.dpo import DPOOptions
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.ppo import PPOOptions
from sayso.algorithms.options.q_sharp import QSharpOptions
from sayso.algorithms.options.reinforce import ReinforceOptions
from sayso.algorithms.options.reinforce_pp import ReinforcePPOptions
from sayso.algorithms.options.rloo import RLOOOptions
from sayso.algorithms.options.soft_q import SoftQOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.data.options import ReplayOptions
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.seeding import seeded
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode, FinishReason, Task, Turn

END = 2
"""Id of the end symbol in the vocabulary a, b, end; a, b are 0, 1."""

VARIANTS: dict[str, Callable[..., Any]] = {
    "grpo": lambda **more: GRPOOptions(variant="grpo", **more),
    "dr_grpo": lambda **more: GRPOOptions(variant="dr_grpo", **more),
    "dapo": lambda **more: GRPOOptions(variant="dapo", **more),
    "gspo": lambda **more: GRPOOptions(variant="gspo", **more),
    "cispo": lambda **more: GRPOOptions(variant="cispo", **more),
    "rloo": RLOOOptions,
    "reinforce_none": lambda **more: ReinforceOptions(baseline="none", **more),
    "reinforce_batch": lambda **more: ReinforceOptions(baseline="batch_mean", **more),
    "reinforce_average": lambda **more: ReinforceOptions(baseline="moving_average", **more),
    "reinforce_pp": ReinforcePPOptions,
    "a2c": A2COptions,
    "ppo": PPOOptions,
}
IMITATORS: dict[str, Callable[..., Any]] = {
    "bc": BCOptions,
    "bc_episode": lambda **more: BCOptions(per="episode", **more),
    "filtered_bc": lambda **more: FilteredBCOptions(replay=ReplayOptions(capacity=0), **more),
    "filtered_bc_online": FilteredBCOptions,
    "awr": AWROptions,
}
"""They learn from what others did; no ratio, no KL, no entropy bonus."""
PAIRED: dict[str, Callable[..., Any]] = {"dpo": DPOOptions}
"""They learn from pairs alone."""
GROUP_METHODS = ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo")
CRITICS = ("a2c", "ppo")
NO_MEMORY = ReplayOptions(capacity=0)
SOFT: dict[str, Callable[..., Any]] = {
    "soft_pcl": lambda **more: SoftQOptions(mode="pcl", **{"replay": NO_MEMORY, **more}),
    "soft_trajectory": lambda **more: SoftQOptions(
        mode="trajectory", **{"replay": NO_MEMORY, **more}
    ),
    "soft_td": lambda **more: SoftQOptions(mode="td", **{"replay": NO_MEMORY, **more}),
    "q_sharp": lambda **more: QSharpOptions(
        **{"returns": "histogram", "low": -1.0, "high": 3.0, "bins": 9, "replay": NO_MEMORY, **more}
    ),
}
"""The KL-regularised family; without memory unless told, so that an update is one batch."""
SOFT_MODES = ("soft_pcl", "soft_trajectory", "soft_td")


def tiny_lm(
    *, seed: int = 0, dtype: Any = "float64", lora: LoraOptions | None = None, width: int = 8,
    heads: int = 2, context: int = 64, loud: float = 20.0,
) -> LanguageModel:  # fmt: skip
    """A one-layer Llama over a, b, end, whose distributions are far from uniform."""
    tiny = TinyOptions(tokens="ab", width=width, layers=1, heads=heads, context=context)
    options = ModelOptions(name="tiny", dtype=dtype, tiny=tiny, lora=lora)
    lm = load("tiny", options, seed=seed)
    with torch.no_grad():
        for parameter in lm.network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(loud)
    return lm


def learner(
    name: str,
    lm: LanguageModel | None = None,
    *,
    optim: OptimOptions | None = None,
    kl: KLOptions | None = None,
    sampling: SamplingOptions | None = None,
    **options: Any,
) -> Any:
    """A learner by the name of its variant."""
    record = (VARIANTS | SOFT | IMITATORS | PAIRED)[name](**options)
    return built(record, lm, optim=optim, kl=kl, sampling=sampling)


def built(
    record: Any,
    lm: LanguageModel | None = None,
    *,
    optim: OptimOptions | None = None,
    kl: KLOptions | None = None,
    sampling: SamplingOptions | None = None,
    seed: int = 0,
) -> Any:
    """The learner of these options."""
    lm = lm or tiny_lm()
    sampling = sampling or SamplingOptions(max_new_tokens=3)
    return ALGORITHMS[record.type](
        lm, make_engine(lm, sampling), record, sampling=sampling,
        optim=optim or OptimOptions(lr=1e-2), kl=kl or KLOptions(), seed=seed,
    )  # fmt: skip


def plain_logprobs(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Log-probability of each token but the first, by the network's own forward."""
    logits = lm.network(input_ids=torch.tensor([ids])).logits[0, :-1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1)


Written = tuple[Sequence[int], Sequence[int], float | None]
"""A turn by hand: observation ids, action ids, reward."""


def written(
    lm: LanguageModel,
    turns: Sequence[Written],
    *,
    task: str = "t",
    sample: int = 0,
    end: EndReason = EndReason.TERMINATED,
    final_ids: Sequence[int] = (),
) -> Episode:
    """An episode by hand; its recorded log-probabilities are the model's own as it is now."""
    stream = [token for seen, said, _ in turns for token in (*seen, *said)]
    with torch.no_grad():
        logprobs = plain_logprobs(lm, stream).tolist()
    made, place = [], -1
    for seen, said, reward in turns:
        place += len(seen)
        made.append(
            Turn(
                observation_ids=tuple(seen),
                action_ids=tuple(said),
                action_logprobs=tuple(logprobs[place : place + len(said)]),
                finish=FinishReason.STOP if said[-1] == END else FinishReason.LENGTH,
                reward=reward,
            )
        )
        place += len(said)
    return Episode(
        task=Task(id=task, env="hand", split="train"), sample_index=sample, policy_version=0,
        turns=tuple(made), end=end, final_ids=tuple(final_ids),
    )  # fmt: skip


def mixed_batch(lm: LanguageModel) -> list[Episode]:
    """Two tasks, three attempts at each, of one to three turns; unequal lengths and endings."""
    first, second = [END, 0], [END, 1, 0]
    cut = EndReason.TRUNCATED
    return [
        written(lm, [(first, [0, 1, END], 0.5), ([1], [1, END], 1.0)], task="one"),
        written(lm, [(first, [END], 0.0)], task="one", sample=1),
        written(
            lm, [(first, [1, 1, 0], None), ([0, 0], [0], -0.5), ([1], [1, 0], 0.25)],
            task="one", sample=2, end=cut, final_ids=[1, 1],
        ),
        written(lm, [(second, [0, END], 0.0)], task="two"),
        written(lm, [(second, [0, 0, 1], 2.0)], task="two", sample=1, end=cut),
        written(lm, [(second, [1, END], 0.75), ([0], [END], 0.25)], task="two", sample=2),
    ]  # fmt: skip


def randomise_critic(lm: LanguageModel, *, seed: int = 5) -> None:
    """A critic that says something else in every context."""
    assert lm.value_head is not None
    with seeded(seed), torch.no_grad():
        for parameter in lm.value_head.parameters():
            parameter.normal_()


def perturb(lm: LanguageModel, *, seed: int = 6, scale: float = 0.1, q_heads: bool = True) -> None:
    """Move the policy away from where it is, and unless told otherwise what values steer it."""
    kept = ("value_head.",) if q_heads else ("value_head.", "q_heads.")
    with seeded(seed), torch.no_grad():
        for name, parameter in lm.trainable().items():
            if not name.startswith(kept):
                parameter.add_(torch.randn(parameter.shape, dtype=parameter.dtype), alpha=scale)


def gradient_of(made: Any, episodes: Sequence[Episode], *, seed: int = 0) -> dict[str, Tensor]:
    """Gradient of the first step of an update, which is not taken; the learner stays as it was."""
    optimiser = made.core.optimiser
    found: list[dict[str, Tensor]] = []

    def refuse() -> tuple[dict[str, Any], Skipped]:
        found.append({
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            for name, parameter in optimiser.parameters.items()
        })  # fmt: skip
        optimiser.zero_grad()
        return {}, Skipped(reason="only the gradient was wanted")

    coef, optimiser.step = made.core.kl.coef, refuse
    average = made.average.state() if hasattr(made, "average") else None
    try:
        update: Update = made.update(episodes, seed=seed)
    finally:
        del optimiser.step
        made.core.kl.coef = coef
        if average is not None:
            made.average.load_state(average)
    assert found, update.warnings
    return found[0]


def weights(made: Any) -> dict[str, Tensor]:
    """A copy of all that trains."""
    return {n: p.detach().clone() for n, p in made.core.optimiser.parameters.items()}


def flat(tensors: dict[str, Tensor], *, policy_only: bool = False) -> Tensor:
    """One vector; the critic's part can be left out."""
    return torch.cat([
        tensor.flatten()
        for name, tensor in sorted(tensors.items())
        if not (policy_only and name.startswith("value_head."))
    ])  # fmt: skip


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bitwise equal, names included."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def shifted(episodes: list[Episode], by: float) -> list[Episode]:
    """As if the sampler had recorded other log-probabilities."""
    return [
        replace(e, turns=tuple(
            replace(turn, action_logprobs=tuple(p + by for p in turn.action_logprobs))
            for turn in e.turns
        ))
        for e in episodes
    ]  # fmt: skip
