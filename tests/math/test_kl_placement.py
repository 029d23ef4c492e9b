"""KL in the loss is counted as each learner's own loss counts: per episode, token or mean."""

from __future__ import annotations

import pytest
import torch
from learner_cases import (
    END,
    flat,
    gradient_of,
    learner,
    perturb,
    plain_logprobs,
    tiny_lm,
    written,
)

from sayso.algorithms.options.kl import KLOptions

SAID = [[0], [0, 1], [1, 1, 0]]
PER_EPISODE = {"rloo", "reinforce_none", "reinforce_batch", "a2c", "dr_grpo"}
PER_TOKEN = {"ppo", "dapo", "cispo", "reinforce_pp"}
MEAN_OF_MEANS = {"grpo", "gspo"}


@pytest.mark.parametrize("name", sorted(PER_EPISODE | PER_TOKEN | MEAN_OF_MEANS))
def test_kl_in_the_loss_is_counted_as_the_policy_loss_is(name: str) -> None:
    """Equal rewards, so that KL (k2: half the squared log-ratio) is all there is to follow."""
    lm = tiny_lm()
    more = {"value_coef": 0.0} if name in {"a2c", "ppo"} else {}
    made = learner(name, lm, kl=KLOptions(coef=1.0, place="loss", estimator="k2"), **more)
    with torch.no_grad():
        reference = [plain_logprobs(lm, [END, *ids]) for ids in SAID]
    perturb(lm, scale=0.05)
    episodes = [written(lm, [([END], ids, 0.0)], sample=i) for i, ids in enumerate(SAID)]
    num_tokens = sum(map(len, SAID))
    objective = torch.zeros((), dtype=torch.float64)
    for ids, ref in zip(SAID, reference, strict=True):
        total = (plain_logprobs(lm, [END, *ids]) - ref).square().sum() / 2
        if name in PER_EPISODE:
            objective = objective - total / len(SAID)
        elif name in PER_TOKEN:
            objective = objective - total / num_tokens
        else:
            objective = objective - total / len(ids) / len(SAID)
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(objective, list(named.values()))
    exact = flat(dict(zip(named, found, strict=True)))
    gradient = -flat(gradient_of(made, episodes), policy_only=True)
    assert exact.norm() > 1e-3
    assert torch.allclose(gradient, exact, rtol=1e-8, atol=1e-12)
