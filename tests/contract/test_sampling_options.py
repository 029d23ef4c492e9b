"""Row 36 for sampling and models: every field of their records, changed, is felt.

A field that is not in the tables below fails the test, as in ``test_learner_options``.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from learner_cases import END, learner

from sayso.kernels.library import library
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.seeding import seeded
from sayso.sampling.base import Request
from sayso.sampling.options import SamplingOptions

Case = tuple[dict[str, Any], list[Any]]
"""Options that make the field matter, and values that must differ from it and from each other."""

SAMPLING: dict[str, Case] = {
    "engine": ({}, ["native", "torch", "hf"]),
    "precision": ({}, ["exact", "int8"]),
    "temperature": ({}, [1.0, 0.5]),
    "top_k": ({}, [0, 1, 2]),
    "top_p": ({}, [1.0, 0.4]),
    "min_p": ({}, [0.0, 0.9]),
    "max_new_tokens": ({}, [4, 9]),
    "stop": ({"max_new_tokens": 9}, [(), ("ba",)]),
    "max_rows": ({}, [64, 1]),
}
TINY: dict[str, Case] = {
    "tokens": ({}, ["ab", "abc", ()]),
    "width": ({}, [16, 32]),
    "layers": ({}, [1, 2]),
    "heads": ({}, [4, 2]),
    "kv_heads": ({}, [0, 2, 1]),
    "context": ({}, [64, 128]),
}
LORA: dict[str, Case] = {
    "rank": ({}, [2, 4]),
    "alpha": ({}, [32.0, 16.0]),
    "target_modules": ({}, ["all-linear", ("q_proj",)]),
}
SMALL = TinyOptions(tokens="ab", width=16, layers=1, heads=4, context=64)
MODEL: dict[str, Case] = {
    "dtype": ({}, ["float32", "float64", "bfloat16"]),
    "lora": ({}, [None, LoraOptions(rank=2)]),
    "tiny": ({}, [SMALL, TinyOptions(tokens="ab", width=32, layers=1, heads=4, context=64)]),
}
"""Without ``name``: other models are in ``tests/unit/test_load.py``."""


def sampled(options: SamplingOptions) -> Any:
    """What an agent's policy says to twelve prompts, and what says it."""
    torch.set_num_threads(1)
    lm = load("tiny", ModelOptions(name="tiny", tiny=SMALL), seed=3)
    with torch.no_grad():
        for parameter in lm.network.parameters():
            parameter.mul_(5.0 if parameter.dim() > 1 else 1.0)
    policy = learner("rloo", lm, sampling=options).sampler()
    engine, said, polls = policy.engine, {}, 0
    for number in range(12):
        engine.submit(
            Request(
                session=f"s{number}", new_ids=(END, number % 2), seed=number,
                max_new_tokens=policy.max_new_tokens,
            )
        )  # fmt: skip
    while len(said) < 12:
        polls += 1
        said |= {c.session: (tuple(c.ids), tuple(c.logprobs)) for c in engine.poll()}
    return engine.path, polls, sorted(said.items())


def loaded(options: ModelOptions) -> Any:
    """A model's shape, what of it trains, and what it says of one text."""
    lm = load("tiny", options, seed=0)
    with seeded(0), torch.no_grad():  # an adapter adds nothing while it is fresh
        for name, parameter in lm.trainable().items():
            if "lora_B" in name:
                parameter.normal_()
        logits = lm.network(input_ids=torch.tensor([[0, 1, 0]])).logits
    shapes = {name: tuple(p.shape) for name, p in lm.trainable().items()}
    return lm.dtype, lm.max_context, shapes, logits.double().flatten().tolist()


def all_differ(found: list[Any]) -> bool:
    return all(one != other for i, one in enumerate(found) for other in found[:i])


def cases(table: dict[str, Case]) -> list[Any]:
    return [pytest.param(name, *case, id=name) for name, case in table.items()]


@pytest.mark.parametrize(("name", "more", "values"), cases(SAMPLING))
def test_row_36_every_option_of_sampling_is_felt(
    name: str, more: dict[str, Any], values: list[Any]
) -> None:
    if name == "precision" and not library().has_int8:
        pytest.skip("this processor multiplies no bytes")
    table = {"max_new_tokens": 4, **more}
    assert all_differ([sampled(SamplingOptions(**{**table, name: value})) for value in values])


@pytest.mark.parametrize(("name", "more", "values"), cases(TINY))
def test_row_36_every_option_of_a_tiny_model_is_felt(
    name: str, more: dict[str, Any], values: list[Any]
) -> None:
    shape = {f.name: getattr(SMALL, f.name) for f in fields(SMALL)} | more
    found = [
        loaded(ModelOptions(name="tiny", tiny=TinyOptions(**{**shape, name: value})))
        for value in values
    ]
    assert all_differ(found)


@pytest.mark.parametrize(("name", "more", "values"), cases(LORA))
def test_row_36_every_option_of_adapters_is_felt(
    name: str, more: dict[str, Any], values: list[Any]
) -> None:
    found = [
        loaded(ModelOptions(name="tiny", tiny=SMALL, lora=LoraOptions(**{**more, name: value})))
        for value in values
    ]
    assert all_differ(found)


@pytest.mark.parametrize(("name", "more", "values"), cases(MODEL))
def test_row_36_every_option_of_models_is_felt(
    name: str, more: dict[str, Any], values: list[Any]
) -> None:
    table = {"name": "tiny", "tiny": SMALL, **more}
    assert all_differ([loaded(ModelOptions(**{**table, name: value})) for value in values])


@pytest.mark.parametrize(
    ("record", "table", "elsewhere"),
    [
        (SamplingOptions, SAMPLING, set()),
        (TinyOptions, TINY, set()),
        (LoraOptions, LORA, set()),
        (ModelOptions, MODEL, {"name", "device", "media"}),
    ],
)
def test_row_36_a_new_option_needs_an_entry_here(
    record: type[Any], table: dict[str, Case], elsewhere: set[str]
) -> None:
    assert {f.name for f in fields(record)} - elsewhere == table.keys()
