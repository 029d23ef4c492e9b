"""Attention along trees equals attention through the dense mask: outputs and gradients."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from engine_cases import FOREST, KINDS, NUM_TOKENS, language_model, network, row

from sayso.models.attention import attending, can_attend
from sayso.models.forest import Forest


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_gradients_equal_those_of_the_dense_mask(kind: str) -> None:
    ids, position = row(FOREST)
    found: list[list[torch.Tensor]] = []
    for is_dense in (False, True):
        lm = language_model(network(kind).double())
        assert can_attend(lm.causal_lm.config)
        hidden = lm.hidden(ids, position, FOREST.mask()[None] if is_dense else FOREST)
        assert lm.causal_lm.config._attn_implementation == "sdpa"
        factor = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)).double()
        (hidden * factor).sum().backward()
        grads = [p.grad for p in lm.network.parameters() if p.grad is not None]
        found.append([hidden.detach(), *grads])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_a_branch_sees_its_prompt_and_itself_and_no_other_branch() -> None:
    lm = language_model(network("llama"))
    ids, position = row(FOREST)
    before = lm.hidden(ids, position, FOREST)[0]
    changed = ids.clone()
    changed[0, 6] = (changed[0, 6] + 1) % NUM_TOKENS  # second token of the first branch
    after = lm.hidden(changed, position, FOREST)[0]
    differs = (before != after).any(-1).nonzero().flatten().tolist()
    assert differs == [6, 7]


def test_the_mask_is_what_the_trees_say() -> None:
    mask = Forest(((2, (1, 2)), (1, ()))).mask()
    expected = [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0],
                [1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]  # fmt: skip
    assert mask.int().tolist() == expected


def test_a_model_of_another_kind_or_with_eager_attention_gets_the_mask() -> None:
    net = network("llama")
    net.set_attn_implementation("eager")
    ids, position = row(FOREST)
    lm = language_model(net)
    assert not can_attend(net.config)
    by_mask = lm.hidden(ids, position, FOREST)
    net.set_attn_implementation("sdpa")
    torch.testing.assert_close(by_mask, lm.hidden(ids, position, FOREST), rtol=1e-4, atol=1e-4)


def test_the_models_own_attention_is_put_back_after_an_error() -> None:
    config: Any = network("llama").config
    with pytest.raises(ZeroDivisionError), attending(config, FOREST):
        raise ZeroDivisionError
    assert config._attn_implementation == "sdpa"
