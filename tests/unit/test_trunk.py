"""Our own pass over a decoder equals the model's: values, gradients, and the same bits always."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from engine_cases import FOREST, KINDS, NUM_TOKENS, language_model, network, row
from peft import LoraConfig, inject_adapter_in_model
from tiny_models import in_double
from transformers import LlamaConfig, LlamaForCausalLM

from sayso.models import lm as lm_module
from sayso.models.lm import LanguageModel
from sayso.models.trunk import why_no_trunk

pytestmark = pytest.mark.medium
ROTARY = [kind for kind in KINDS if kind != "gpt2"]


def odd() -> Any:
    """Sizes that fill no vector, and biases everywhere."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=NUM_TOKENS, hidden_size=21, intermediate_size=35, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, head_dim=6, max_position_embeddings=160,
        initializer_range=0.25, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    built = LlamaForCausalLM(config)
    for name, parameter in built.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    return built


def adapted(kind: str) -> Any:
    """With low-rank adapters that add something."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    built = inject_adapter_in_model(config, network(kind))
    for name, parameter in built.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return built


MAKERS = {kind: lambda kind=kind: network(kind) for kind in ROTARY} | {
    "odd": odd, "lora": lambda: adapted("qwen3"),
}  # fmt: skip


def found(lm: LanguageModel) -> list[Tensor]:
    """Hidden states of a forest, and the gradient of some function of them."""
    ids, position = row(FOREST)
    hidden = lm.hidden(ids, position, FOREST)
    factor = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2))
    (hidden * factor).sum().backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in lm.network.parameters() if p.requires_grad]
    return [hidden.detach(), *(g for g in grads if g is not None)]


def largest_gap(ours: list[Tensor], exact: list[Tensor]) -> float:
    pairs = zip(ours, exact, strict=True)
    return max(float((a.double() - b).norm() / b.norm().clamp(min=1e-9)) for a, b in pairs)


@pytest.mark.parametrize("name", MAKERS)
def test_values_and_gradients_are_the_models_own_as_near_as_float32_comes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = MAKERS[name]
    fast = language_model(make())
    assert why_no_trunk(fast.causal_lm, fast.max_context) is None
    exact = found(language_model(in_double(make())))
    ours = found(fast)
    with monkeypatch.context() as patch:
        patch.setattr(lm_module, "why_no_trunk", lambda *_: "off")
        plain = found(language_model(make()))
    assert len(exact) > 10
    assert not torch.equal(ours[1], plain[1])  # two ways of computing it, then
    assert largest_gap(ours, exact) <= max(2 * largest_gap(plain, exact), 1e-6)


@pytest.mark.parametrize("name", ["odd", "lora"])
def test_the_bits_do_not_depend_on_the_number_of_threads(name: str) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(found(language_model(MAKERS[name]())))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_little_more_than_half_is_kept_for_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> int:
        lm, held = language_model(network("llama")), dict[int, int]()
        ids, position = row(FOREST)

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        own = {p.untyped_storage().data_ptr() for p in lm.network.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            hidden = lm.hidden(ids, position, FOREST)
        assert hidden.requires_grad
        return sum(size for address, size in held.items() if address not in own)

    ours = kept()
    monkeypatch.setattr(lm_module, "why_no_trunk", lambda *_: "off")
    assert ours < 0.6 * kept()


def test_what_it_does_not_know_runs_the_models_own_forward() -> None:
    def why(built: Any) -> str | None:
        lm = language_model(built)
        return why_no_trunk(lm.causal_lm, lm.max_context)

    assert "another kind" in (why(network("gpt2")) or "")
    assert "float32" in (why(network("llama").double()) or "")
    dora = LoraConfig(r=2, target_modules="all-linear", use_dora=True)
    assert "no plain LoRA" in (why(inject_adapter_in_model(dora, network("llama"))) or "")
    built = network("llama")
    lm, seen = language_model(built), list[int]()
    handle = built.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    ids, position = row(FOREST)
    lm.hidden(ids, position, FOREST)
    assert seen
    handle.remove()
    assert why_no_trunk(built, lm.max_context) is None


def test_frozen_weights_get_no_gradient_and_change_nobody_elses() -> None:
    exact = language_model(network("llama"))
    frozen = language_model(network("llama"))
    names = ("mlp.down_proj", "q_proj", "input_layernorm", "embed_tokens")
    for name, parameter in frozen.network.named_parameters():
        parameter.requires_grad_(not any(part in name for part in names))
    found(exact)
    found(frozen)
    expected = dict(exact.network.named_parameters())
    for name, parameter in frozen.network.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            assert torch.equal(parameter.grad, expected[name].grad), name
        else:
            assert parameter.grad is None, name


def test_it_is_asked_before_each_pass() -> None:
    """What is attached, moved or switched on between two passes is seen."""
    built = network("llama")
    lm = language_model(built)

    def why() -> str:
        return why_no_trunk(lm.causal_lm, lm.max_context) or ""

    ids, position = row(FOREST)
    lm.hidden(ids, position, FOREST)
    assert why() == ""
    with torch.autocast("cpu", torch.bfloat16):
        assert "autocast" in why()
        lm.hidden(ids, position, FOREST)
    handle = built.model.layers[0].register_full_backward_hook(lambda *_: None)
    assert "hook" in why()
    handle.remove()
    inject_adapter_in_model(LoraConfig(target_modules="all-linear", use_dora=True), built)
    assert "no plain LoRA" in why()
    assert "not all float32 on the CPU" in (why_no_trunk(network("llama").to("meta"), 160) or "")
