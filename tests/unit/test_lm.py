"""LanguageModel: adapters, references, what trains, where contexts end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny_models
import torch
from torch import Tensor
from transformers import LlamaConfig

from sayso.errors import ModelError
from sayso.models.heads import ValueHead
from sayso.models.limits import max_context
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions

LORA = ModelOptions(lora=LoraOptions(rank=4))
IDS = torch.tensor([[5, 9, 2, 77, 31, 256, 8]])
KINDS = list(tiny_models.ARCHITECTURES)


def logits(lm: LanguageModel) -> Tensor:
    length = IDS.shape[1]
    visible = torch.ones(length, length, dtype=torch.bool).tril()[None]
    return lm.logits(lm.hidden(IDS, torch.arange(length)[None], visible)[0])


def trained(lm: LanguageModel, *, steps: int = 3) -> LanguageModel:
    """Some steps of plain gradient descent on something."""
    optimiser = torch.optim.SGD(list(lm.trainable().values()), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        logits(lm).log_softmax(-1)[:, 3].sum().neg().backward()
        optimiser.step()
    return lm


@pytest.mark.parametrize("kind", KINDS)
def test_row_25_adapter_off_is_the_base_model_bit_for_bit(kind: str) -> None:
    with torch.no_grad():
        base = logits(load(tiny_models.ARCHITECTURES[kind]()))
        lm = load(tiny_models.ARCHITECTURES[kind](), LORA)
        assert torch.equal(logits(lm), base)  # fresh adapters are the identity
    trained(lm)
    with lm.reference():
        assert torch.equal(logits(lm), base)
    assert not torch.equal(logits(lm), base)


@pytest.mark.parametrize("kind", KINDS)
def test_row_25_gradients_reach_the_adapter_and_the_head_only(kind: str) -> None:
    lm = load(tiny_models.ARCHITECTURES[kind](), LORA)
    lm.add_value_head()
    torch.nn.init.ones_(lm.trainable()["value_head.project.weight"])
    length = IDS.shape[1]
    visible = torch.ones(length, length, dtype=torch.bool).tril()[None]
    hidden = lm.hidden(IDS, torch.arange(length)[None], visible)[0]
    (lm.logits(hidden)[:, 3].sum() + lm.values(hidden).sum()).backward()
    named = dict(lm.network.named_parameters())
    with_gradient = {name for name, p in named.items() if p.grad is not None}
    adapter = {name for name in lm.trainable() if not name.startswith("value_head.")}
    assert with_gradient == adapter == {name for name in named if "lora_" in name}
    heads = {name for name in lm.trainable() if name.startswith("value_head.")}
    assert heads == {"value_head.project.weight", "value_head.project.bias"}
    assert all(lm.trainable()[name].grad is not None for name in heads)


def test_row_25_steps_do_not_change_the_base_weights() -> None:
    lm = load(tiny_models.tiny_llama(), LORA)
    base = {n: p.clone() for n, p in lm.network.named_parameters() if "lora_" not in n}
    trained(lm)
    for name, parameter in lm.network.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, base[name]), name


@pytest.mark.parametrize("options", [ModelOptions(), LORA], ids=["full", "lora"])
def test_row_25_the_reference_does_not_move_when_the_policy_does(options: ModelOptions) -> None:
    lm = load(tiny_models.tiny_llama(), options)
    lm.freeze_reference()
    with torch.no_grad():
        start = logits(lm)
    trained(lm)
    lm.freeze_reference()  # a second call must not take the policy of now
    with lm.reference():
        assert not torch.is_grad_enabled()
        reference = logits(lm)
    assert torch.is_grad_enabled()
    assert torch.equal(reference, start)
    assert not reference.requires_grad
    after = logits(lm)
    assert after.requires_grad
    assert (after - start).abs().max() > 0.01


def test_freezing_a_fresh_adapter_copies_nothing_and_a_used_one_everything() -> None:
    fresh = load(tiny_models.tiny_llama(), LORA)
    fresh.freeze_reference()
    assert fresh._frozen_copy is None
    used = trained(load(tiny_models.tiny_llama(), LORA))
    with torch.no_grad():
        start = logits(used)
    used.freeze_reference()
    trained(used)
    with used.reference():
        assert torch.equal(logits(used), start)


def test_a_frozen_copy_is_not_trained() -> None:
    lm = load(tiny_models.tiny_llama())
    before = set(lm.trainable())
    lm.freeze_reference()
    assert set(lm.trainable()) == before
    assert not any(p.requires_grad for p in lm._frozen_copy.parameters())


def test_the_policy_is_back_after_an_error_inside_reference() -> None:
    for options in (ModelOptions(), LORA):
        lm = load(tiny_models.tiny_llama(), options)
        lm.freeze_reference()
        trained(lm)
        now = logits(lm).detach()
        names = set(lm.trainable())
        with pytest.raises(RuntimeError, match="oops"), lm.reference():
            raise RuntimeError("oops")
        assert torch.equal(logits(lm).detach(), now)
        assert set(lm.trainable()) == names


def test_a_network_in_training_mode_is_put_into_evaluation_mode() -> None:
    model, tokenizer = tiny_models.tiny_gpt2(dropout=0.5)
    lm = LanguageModel(model.train(), tokenizer, name="test")
    assert not any(module.training for module in lm.network.modules())


def test_without_adapter_or_copy_there_is_no_reference() -> None:
    lm = load(tiny_models.tiny_llama())
    with pytest.raises(ModelError, match="freeze_reference"), lm.reference():
        pass


@pytest.mark.parametrize("options", [ModelOptions(), LORA], ids=["full", "lora"])
def test_row_26_a_step_changes_some_trainable_weight(options: ModelOptions) -> None:
    lm = load(tiny_models.tiny_gpt2(), options)
    before = {name: p.clone() for name, p in lm.trainable().items()}
    trained(lm, steps=1)
    assert any(not torch.equal(p, before[name]) for name, p in lm.trainable().items())


def test_row_26_nothing_to_train_is_an_error_at_loading() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    model.requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match="0 trainable parameters"):
        load((model, tokenizer))
    lm = load(tiny_models.tiny_llama())
    lm.add_value_head()
    lm.network.requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match="0 trainable parameters"):
        lm.trainable()  # a head alone is no policy


def test_tied_weights_train_once() -> None:
    lm = load(tiny_models.tiny_gpt2())
    weights = list(lm.trainable().values())
    assert len({id(p) for p in weights}) == len(weights)
    assert lm.causal_lm.lm_head.weight is lm.causal_lm.transformer.wte.weight


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: load("tiny", seed=seed),
        lambda seed: load(tiny_models.tiny_llama(), LORA, seed=seed),
        lambda seed: load("tiny", ModelOptions(name="tiny", dtype="float64"), seed=seed),
    ],
    ids=["tiny", "lora", "float64"],
)
def test_random_weights_come_from_the_seed_and_leave_the_global_state_alone(
    build: Callable[[int], LanguageModel],
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = build(7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    same, other = build(7), build(8)
    pairs = [
        (one.trainable()[n], same.trainable()[n], other.trainable()[n]) for n in one.trainable()
    ]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_adding_heads_leaves_the_global_state_alone_and_keeps_the_first() -> None:
    lm = load("tiny")
    state = torch.get_rng_state()
    head = lm.add_value_head(seed=3, inner=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert lm.add_value_head() is head


@pytest.mark.parametrize("inner", [0, 8])
def test_a_new_value_head_predicts_zero_and_learns(inner: int) -> None:
    head = ValueHead(4, inner=inner, seed=1)
    state = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(state), torch.zeros(5))
    head(state).sub(1).square().sum().backward()
    assert head.project.weight.grad is not None
    assert head.project.weight.grad.abs().sum() > 0


def test_a_value_head_is_never_in_half_precision() -> None:
    for given_, own in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        head = ValueHead(4, inner=3, dtype=given_)
        assert {p.dtype for p in head.parameters()} == {own}
        assert head(torch.zeros(2, 4, dtype=given_)).dtype == own


def test_values_without_a_head_are_an_error() -> None:
    lm = load("tiny")
    with pytest.raises(ModelError, match="no value head"):
        lm.values(torch.zeros(1, 64))


def test_row_15_every_end_token_of_model_tokenizer_and_generation_config_stops() -> None:
    model, tokenizer = tiny_models.tiny_chat()
    model.config.eos_token_id = 11
    model.generation_config.eos_token_id = [12, 13]
    lm = LanguageModel(model, tokenizer, name="test")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert lm.stop_ids == (11, 12, 13, end)
    assert lm.chat.text([50, 51, 13]) == lm.chat.text([50, 51])


def test_row_15_an_end_token_that_also_pads_and_begins_still_stops() -> None:
    lm = load("tiny", ModelOptions(name="tiny", tiny=TinyOptions(tokens="ab")))
    tokenizer = lm.tokenizer
    assert lm.stop_ids == (2,)
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == tokenizer.bos_token_id == 2


def test_the_end_of_turn_stops_when_the_tokenizer_names_another_token() -> None:
    model, tokenizer = tiny_models.tiny_chat()
    tokenizer.eos_token = "<end>"  # noqa: S105  # no secret
    model.config.eos_token_id = model.generation_config.eos_token_id = 256
    stops = LanguageModel(model, tokenizer, name="test").stop_ids
    assert stops == (256, tokenizer.convert_tokens_to_ids("<|im_end|>"))


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 100),
        ({"sliding_window": 30}, 30),
        ({"sliding_window": 30, "use_sliding_window": False}, 100),
        ({"attention_chunk_size": 20}, 20),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0,
                                 "original_max_position_embeddings": 40}},
            40,
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0,
                                 "original_max_position_embeddings": 50}},
            100,
        ),
    ],
)  # fmt: skip
def test_a_context_ends_where_sampling_and_scoring_would_differ(
    changes: dict[str, Any], limit: int
) -> None:
    assert max_context(LlamaConfig(max_position_embeddings=100, **changes)) == limit


def test_local_attention_by_place_in_the_row_is_refused() -> None:
    config = LlamaConfig(max_position_embeddings=100)
    config.attention_layers = ["global", "local"]
    with pytest.raises(ModelError, match="local attention"):
        max_context(config)


def test_a_position_outside_the_context_is_refused() -> None:
    lm = load("tiny", ModelOptions(name="tiny", tiny=TinyOptions(context=6)))
    with pytest.raises(ModelError, match="position 6, its context holds 6"):
        logits(lm)
