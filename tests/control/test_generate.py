"""Generation under control: what the engines say where nothing controls, exact where it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from control_cases import letters_lm
from tiny_models import ARCHITECTURES

from sayso.control.decoding import Knobs
from sayso.control.generate import Answer, Control, decoder_layers, generate
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Request
from sayso.sampling.decisions import Asked
from sayso.sampling.torch_engine import TorchEngine

PROMPTS = ((16, 1, 2, 3), (16, 5), (16, 7, 8, 9, 10, 11))


def asked(budgets: tuple[int, ...] = (6, 9, 3)) -> list[Asked]:
    return [
        Asked(context=ids, observation=ids, choices=(), seed=40 + n, max_new_tokens=budget)
        for n, (ids, budget) in enumerate(zip(PROMPTS, budgets, strict=True))
    ]


def by_engine(
    lm: LanguageModel, wanted: list[Asked]
) -> dict[int, tuple[tuple[int, ...], tuple[float, ...]]]:
    engine = TorchEngine(lm, Distribution(), max_rows=4)
    for n, one in enumerate(wanted):
        engine.submit(
            Request(session=str(n), new_ids=one.context, seed=one.seed,
                    max_new_tokens=one.max_new_tokens)
        )  # fmt: skip
    found = {}
    while batch := engine.poll():
        for done in batch:
            found[int(done.session)] = (done.ids, done.logprobs)
            engine.close(done.session)
    return found


def same(found: list[Answer], expected: list[Answer]) -> None:
    assert [one.ids for one in found] == [one.ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
        assert one.finish == other.finish


def test_without_control_it_says_what_the_engine_says() -> None:
    lm = letters_lm()
    expected = by_engine(lm, asked())
    for n, answer in enumerate(generate(lm, asked(), Control())):
        assert answer.ids == expected[n][0]
        assert answer.logprobs == pytest.approx(expected[n][1], abs=2e-5)


@pytest.mark.parametrize("family", list(ARCHITECTURES))
def test_every_family_says_what_the_engine_says(family: str) -> None:
    network, tokenizer = ARCHITECTURES[family]()
    lm = LanguageModel(network, tokenizer, name=family)
    expected = by_engine(lm, asked())
    assert [a.ids for a in generate(lm, asked(), Control())] == [expected[n][0] for n in range(3)]


def test_a_row_does_not_depend_on_its_neighbours_or_on_when_they_leave() -> None:
    lm = letters_lm()
    push = torch.randn(3, lm.width, generator=torch.Generator().manual_seed(0)) * 0.1
    knobs = tuple(
        Knobs(temperature=t, repetition=1.3, guidance=1.5, is_guided=True) for t in (0.7, 1, 1.4)
    )
    for control in (Control(push=push, layer=1), Control(knobs=knobs)):
        together = generate(lm, asked((12, 20, 3)), control)
        alone = []
        for n, one in enumerate(asked((12, 20, 3))):
            own = replace(
                control,
                push=None if control.push is None else control.push[n : n + 1],
                knobs=control.knobs[n : n + 1],
            )
            alone += generate(lm, [one], own)
        same(together, alone)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_push_acts_on_the_last_token_of_the_context_and_not_on_those_before(layer: int) -> None:
    lm = letters_lm()
    network = lm.causal_lm
    push = torch.randn(1, lm.width, generator=torch.Generator().manual_seed(1))
    (answer,) = generate(lm, asked()[:1], Control(push=push, layer=layer))

    def add(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        here = torch.zeros_like(output)
        here[:, 3:] = push[0]  # the context has four tokens
        return output + here

    handle = decoder_layers(network)[layer].register_forward_hook(add)
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([PROMPTS[0] + answer.ids])).logits[0, 3:-1]
    handle.remove()
    expected = logits.log_softmax(-1)[torch.arange(len(answer.ids)), list(answer.ids)]
    assert answer.logprobs == pytest.approx(expected.tolist(), abs=2e-5)


def test_a_push_behind_the_last_layer_moves_what_the_head_reads() -> None:
    lm = letters_lm()
    push = torch.zeros(1, lm.width)
    push[0] = 1e4 * lm.causal_lm.lm_head.weight.detach()[5]
    (answer,) = generate(lm, asked()[:1], Control(push=push, layer=1))
    best = lm.causal_lm.lm_head(lm.causal_lm.model.norm(push[0])).log_softmax(-1)
    assert answer.logprobs[0] == pytest.approx(float(best[answer.ids[0]].detach()), abs=1e-3)


def test_a_prefix_of_embeddings_is_those_tokens_in_the_context() -> None:
    lm = letters_lm()
    table = lm.causal_lm.get_input_embeddings().weight.detach()
    soft = table[torch.tensor([[4, 6], [1, 1], [9, 2]])]
    found = generate(lm, asked(), Control(prefix=soft))
    written = [
        replace(one, context=(one.context[0], *tokens, *one.context[1:]))
        for one, tokens in zip(asked(), ((4, 6), (1, 1), (9, 2)), strict=True)
    ]
    same(found, generate(lm, written, Control()))


def test_neutral_knobs_change_nothing_guided_or_not() -> None:
    lm = letters_lm()
    plain = generate(lm, asked(), Control())
    for is_guided in (False, True):
        same(generate(lm, asked(), Control(knobs=(Knobs(is_guided=is_guided),) * 3)), plain)


def test_hooks_are_gone_afterwards_and_other_seeds_say_other_things() -> None:
    lm = letters_lm()
    plain = generate(lm, asked(), Control())
    generate(lm, asked(), Control(push=torch.ones(3, lm.width), layer=0))
    same(generate(lm, asked(), Control()), plain)
    others = [replace(one, seed=one.seed + 1) for one in asked()]
    assert [a.ids for a in generate(lm, others, Control())] != [a.ids for a in plain]
