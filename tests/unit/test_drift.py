"""KL of a policy to the model it began as: 0 for itself, the enumerated value for another."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sayso.app.assemble import build_learner, build_lm
from sayso.app.config import load_config
from sayso.envs.registry import source
from sayso.evaluation.drift import kl_to
from sayso.rollout.limits import RolloutLimits


def parts(**sampling: Any) -> tuple[Any, Any]:
    config = load_config(
        {
            "env": {"id": "sayso/TinyLang-v0"},
            "model": {"name": "tiny", "tiny": {"tokens": "ab", "width": 16, "layers": 1}},
            "sampling": {"max_new_tokens": 1, **sampling},
            "algorithm": {"type": "rloo", "tasks_per_step": 1, "group_size": 8},
        },
        source="test",
    )
    return config, build_learner(config, build_lm(config))


def drift(config: Any, learner: Any, *, num: int) -> float:
    return kl_to(
        build_lm(config), learner.policy(), source("sayso/TinyLang-v0"), split="train",
        num_episodes=num, seed=0, limits=RolloutLimits(max_turns=1),
        distribution=config.sampling.distribution(),
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_policy_that_has_not_moved_is_where_it_began(temperature: float) -> None:
    config, learner = parts(temperature=temperature)
    assert drift(config, learner, num=64) == pytest.approx(0.0, abs=1e-6)


def test_a_policy_that_has_moved_is_as_far_as_enumeration_says() -> None:
    """One token a sentence: KL is a sum over three."""
    config, learner = parts()
    start = build_lm(config)
    with torch.no_grad():
        learner.lm.causal_lm.get_output_embeddings().weight.mul_(30.0)
        prompt = torch.tensor([list(learner.policy().chat.prompt(""))])
        logprobs = [
            lm.causal_lm(input_ids=prompt).logits[0, -1].double().log_softmax(-1)
            for lm in (learner.lm, start)
        ]
    exact = float((logprobs[0].exp() * (logprobs[0] - logprobs[1])).sum())
    assert exact > 0.01
    spread = float((logprobs[0].exp() * (logprobs[0] - logprobs[1] - exact) ** 2).sum().sqrt())
    num = 2000
    assert drift(config, learner, num=num) == pytest.approx(exact, abs=4 * spread / math.sqrt(num))
