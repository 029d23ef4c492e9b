"""Answers of a frozen model, many at once, each under a control of its own.

Dimensions: n = rows, t = positions, p = soft tokens, d = width, v = vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from sayso.control.decoding import Knobs, decoded_logprobs
from sayso.errors import ModelError, SamplingError
from sayso.models.distribution import inverse_cdf, token_logprobs
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.decisions import Asked
from sayso.sampling.network import evaluating, unwrapped
from sayso.seeds import uniforms
from sayso.types import FinishReason

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What moves a batch of rows; nothing by default: the model as it is.

    Attributes:
        push: Added to the output of ``layer``, from the last token of the context on.
        layer: Index of a decoder layer.
        prefix: Soft tokens behind the first token of the context.
        knobs: How each row is decoded, instead of ``temperature``.
        temperature: Of all rows.
    """

    push: Float[Tensor, "n d"] | None = None
    layer: int = 0
    prefix: Float[Tensor, "n p d"] | None = None
    knobs: tuple[Knobs, ...] = ()
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was said.

    Attributes:
        ids: Token ids, stop token included if one was drawn.
        logprobs: Log-probability (nats) of each under the distribution it was drawn from.
        finish: Why it ended.
        executed: The action that was really played, where the mode plays another one than was
            asked for.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    finish: FinishReason
    executed: tuple[float, ...] | None = None


@dataclass(slots=True, kw_only=True)
class _Row:
    """One answer in the making."""

    uniforms: Any
    budget: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None


@dataclass(slots=True, kw_only=True)
class _Batch:
    """What a pass needs: keys and values, which positions are tokens, where each row stands."""

    cache: Any
    is_token: Int[Tensor, "n t"]
    position: Int[Tensor, "n 1"]
    last_position: int
    control: Control


def decoder_layers(network: Any) -> nn.ModuleList:
    """The stack of decoder layers of a causal LM, whatever its family calls it.

    Raises:
        ModelError: If there is no list of as many modules as the configuration has layers.
    """
    count = network.config.num_hidden_layers
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        where=type(network).__name__,
        problem=f"has no list of {count} decoder layers to add directions to.",
        fix="Use another mode than steer, such as prefix or decode.",
    )


@torch.no_grad()
def generate(lm: LanguageModel, asked: Sequence[Asked], control: Control) -> list[Answer]:
    """One answer to each context, drawn token by token with the row's own numbers.

    The model's own forward over transformers' cache: any family, and hooks act. Rows only share
    the passes; finished ones leave the batch. Token i of a row is found by the inverse distribution
    function at ``uniforms(seed)[i]``, so the same seed gives the same ids in the same batch.

    Args:
        lm: The model; nothing of it changes.
        asked: Contexts, seeds and budgets.
        control: What moves each row.

    Raises:
        SamplingError: If a drawn log-probability is not finite.
    """
    network = unwrapped(lm.network)
    rows = [
        _Row(uniforms=uniforms(one.seed, one.max_new_tokens), budget=one.max_new_tokens)
        for one in asked
    ]
    contexts = [one.context for one in asked]
    if any(knobs.is_guided for knobs in control.knobs):
        contexts += [lm.chat.prompt("")] * len(asked)
    with evaluating(lm.network):
        batch, logits = _prefill(network, contexts, control, lm.max_context - 1)
        live = list(range(len(rows)))
        while live:
            tokens = _draw(lm, [rows[i] for i in live], logits, batch.control)
            going = [place for place, i in enumerate(live) if rows[i].finish is None]
            if not going:
                break
            if 2 * len(going) <= len(live):
                tokens, live = [tokens[place] for place in going], [live[place] for place in going]
                _keep(batch, going)
            logits = _advance(network, batch, tokens)
    return [
        Answer(
            ids=tuple(row.ids), logprobs=tuple(row.logprobs),
            finish=row.finish or FinishReason.LENGTH,
        )
        for row in rows
    ]  # fmt: skip


def _prefill(
    network: Any, contexts: Sequence[Ids], control: Control, last_position: int
) -> tuple[_Batch, Float[Tensor, "n v"]]:
    """One pass over all contexts, padded on the left; the logits after each."""
    device, num_soft = network.device, 0 if control.prefix is None else control.prefix.shape[1]
    length = max(map(len, contexts)) + num_soft
    ids = torch.zeros(len(contexts), length, dtype=torch.long, device=device)
    is_token = torch.zeros_like(ids)
    for row, context in enumerate(contexts):
        # Soft tokens stand behind the first token, which models lean on; their ids are not read.
        whole = (context[0], *[0] * num_soft, *context[1:])
        ids[row, length - len(whole) :] = torch.tensor(whole, device=device)
        is_token[row, length - len(whole) :] = 1
    position = (is_token.cumsum(-1) - 1).clamp(min=0)
    inputs: dict[str, Any] = {"input_ids": ids}
    if control.prefix is not None:
        embedded = network.get_input_embeddings()(ids)
        for row, context in enumerate(contexts):
            first = length - len(context) - num_soft + 1
            embedded[row, first : first + num_soft] = control.prefix[row].to(embedded)
        inputs = {"inputs_embeds": embedded}
    batch = _Batch(
        cache=DynamicCache(config=network.config),
        is_token=is_token,
        position=position[:, -1:],
        last_position=last_position,
        control=control,
    )
    return batch, _pass(network, batch, inputs, position)


def _advance(network: Any, batch: _Batch, tokens: Sequence[int]) -> Float[Tensor, "n v"]:
    """Feed one token to each row, and the same to its unguided twin; the logits after them."""
    num_rows = len(batch.is_token)
    fed = torch.tensor(list(tokens) * (num_rows // len(tokens)), device=batch.is_token.device)
    # Rows that are done run on beside those that are not, beyond the context if need be.
    batch.position = (batch.position + 1).clamp(max=batch.last_position)
    batch.is_token = torch.cat([batch.is_token, torch.ones_like(batch.is_token[:, :1])], -1)
    return _pass(network, batch, {"input_ids": fed[:, None]}, batch.position)


def _pass(
    network: Any, batch: _Batch, inputs: dict[str, Any], position: Int[Tensor, "n q"]
) -> Float[Tensor, "n v"]:
    accepted = inspect.signature(network.forward).parameters
    kept = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    placed = {"position_ids": position} if "position_ids" in accepted else {}
    with pushed(network, batch.control.layer, batch.control.push):
        output = network(
            **inputs, **kept, **placed, attention_mask=batch.is_token,
            past_key_values=batch.cache, use_cache=True, return_dict=True,
        )  # fmt: skip
    logits: Tensor = output.logits[:, -1]
    return logits


@contextmanager
def pushed(network: Any, layer: int, push: Float[Tensor, "n d"] | None) -> Iterator[None]:
    """Inside, the layer's output at the last position of each row is moved by ``push``."""
    if push is None:
        yield
        return
    moved = push

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        del module, inputs
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()  # what comes out may be a view of what others read
        hidden[:, -1] += moved.to(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = decoder_layers(network)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _draw(
    lm: LanguageModel, rows: Sequence[_Row], logits: Float[Tensor, "n v"], control: Control
) -> list[int]:
    """The next token of every row, noted in those that go on."""
    if control.knobs:
        said = [row.ids for row in rows]
        logprobs = decoded_logprobs(logits, said, control.knobs)
    else:
        logprobs = token_logprobs(logits, Distribution(temperature=control.temperature))
    numbers = [row.uniforms[len(row.ids)] if len(row.ids) < row.budget else 0.0 for row in rows]
    drawn = inverse_cdf(logprobs, torch.tensor(numbers, dtype=torch.float64).to(logits.device))
    tokens: list[int] = drawn.tolist()
    chosen: list[float] = logprobs.gather(-1, drawn[:, None]).squeeze(-1).tolist()
    for row, token, logprob in zip(rows, tokens, chosen, strict=True):
        if row.finish is not None:
            continue
        if not float("-inf") < logprob <= 0.0:
            raise SamplingError(
                where=f"token {len(row.ids)} of an answer under control",
                problem=f"the sampled token {token} has log-probability {logprob}.",
                fix="The logits are not finite: check the model, or lower control.strength.",
            )
        row.ids.append(token)
        row.logprobs.append(logprob)
        if token in lm.stop_ids:
            row.finish = FinishReason.STOP
        elif len(row.ids) == row.budget:
            row.finish = FinishReason.LENGTH
    return tokens


def _keep(batch: _Batch, places: Sequence[int]) -> None:
    """Drop all rows but these, with their unguided twins behind them."""
    control, num_rows = batch.control, len(batch.is_token)
    num_own = len(control.knobs) or num_rows
    kept = torch.tensor(places, device=batch.is_token.device)
    both = torch.cat([kept + start for start in range(0, num_rows, num_own)])
    batch.cache.batch_select_indices(both)
    batch.is_token, batch.position = batch.is_token[both], batch.position[both]
    batch.control = replace(
        control,
        push=None if control.push is None else control.push[kept],
        prefix=None,  # it lies in the cache
        knobs=tuple(control.knobs[place] for place in places) if control.knobs else (),
    )
