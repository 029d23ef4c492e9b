"""The fast update's gradient is the plain one's: shared prompts, own attention, own head or none.

Plain: each episode a row of its own, padded, through the network's own forward in float64, logits
and log-softmax of all positions.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_cases import CRITICS, VARIANTS, gradient_of, learner, mixed_batch, perturb, tiny_lm
from torch import Tensor

from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.models import scoring
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.options import LoraOptions

pytestmark = pytest.mark.medium
PADDING = 3
PLAIN, SHARED = 1, 4096
"""Tokens of a row: each episode by itself, or all of them side by side."""


def plain_hidden(lm: LanguageModel, ids: Tensor, position: Tensor, visible: Any) -> Tensor:
    """Of one text, right-padded, by the network's own forward."""
    assert isinstance(visible, Forest)
    assert torch.equal(position, torch.arange(len(ids))), "one text"
    padded = torch.cat([ids, ids.new_zeros(PADDING)])[None]
    mask = (torch.arange(len(ids) + PADDING) < len(ids)).long()[None]
    network = lm._active_lm()  # the reference, while it is asked for
    out = network(input_ids=padded, attention_mask=mask, output_hidden_states=True)
    hidden: Tensor = out.hidden_states[-1][0, : len(ids)]
    return hidden


def gradient(name: str, *, tokens: int, lora: LoraOptions | None, kl: KLOptions,
             options: dict[str, Any]) -> dict[str, Tensor]:  # fmt: skip
    lm = tiny_lm(lora=lora, loud=8.0)
    made = learner(name, lm, optim=OptimOptions(micro_batch_tokens=tokens), kl=kl, **options)
    perturb(lm, scale=0.05)
    return gradient_of(made, mixed_batch(lm))


TERMS = {
    "alone": (KLOptions(), {}),
    "entropy": (KLOptions(), {"entropy_coef": 0.1}),
    "KL in the loss": (KLOptions(coef=0.3, place="loss", estimator="k3"), {}),
    "KL in the reward": (KLOptions(coef=0.3), {}),
}


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_fast_gradient_is_the_plain_one(
    name: str, lora: LoraOptions | None, terms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kl, options = TERMS[terms]
    if name in CRITICS:
        options = {**options, "value_coef": 0.7}
    asked: Any = {"lora": lora, "kl": kl, "options": options}
    fast = gradient(name, tokens=SHARED, **asked)
    alone = gradient(name, tokens=PLAIN, **asked)
    monkeypatch.setattr(scoring, "_hidden", plain_hidden)
    monkeypatch.setattr(LanguageModel, "plain_head", lambda _: None)
    plain = gradient(name, tokens=PLAIN, **asked)
    assert plain.keys() == fast.keys()
    assert any(bool(tensor.any()) for tensor in plain.values())
    for key, exact in plain.items():
        scale = max(float(exact.norm()), 1e-12)
        for found in (fast[key], alone[key]):
            assert float((found - exact).norm()) <= 1e-6 * scale, key
