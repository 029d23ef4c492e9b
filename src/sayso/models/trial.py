"""Is a model computed rightly here? Asked once when it is loaded, by trying.

Scoring feeds several texts in one row, with explicit positions and a mask of its own, and applies
the head itself. A model that ignores positions, looks past the mask, or scales its logits in a way
not known here would train on wrong numbers without a word.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from sayso.errors import ModelError
from sayso.models.lm import LanguageModel

_PARENT = (-1, 0, 1, 2, 3, 1, 5)
"""A row with a shared prompt of two tokens, an answer of three, and one of two."""
_LEAVES = (4, 6)
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
"""Largest difference of log-probabilities, as a share of the largest one (fp64: many models norm
in fp32)."""
_COARSE_TOLERANCE = 0.05
_FIX = "Use a decoder with full attention, for example of the Llama, Qwen or GPT-2 type."


def refuse_unsuitable(lm: LanguageModel) -> None:
    """Compare a packed row with the model's own plain forward.

    Raises:
        ModelError: If they differ, or the model cannot be fed that way, with the reason.
    """
    network = lm.causal_lm
    implementation = network.config._attn_implementation  # noqa: SLF001  # no public name for it
    if implementation not in ("sdpa", "eager"):
        raise ModelError(
            where=lm.name,
            problem=f"its attention implementation is {implementation!r}, which takes no mask.",
            fix='Load it with attn_implementation="sdpa".',
        )
    if network.get_output_embeddings() is None or network.base_model is network:
        raise ModelError(
            where=lm.name, problem=f"{type(network).__name__} has no separate head.", fix=_FIX
        )
    if "position_ids" not in inspect.signature(network.base_model.forward).parameters:
        raise ModelError(where=lm.name, problem="its forward takes no position_ids.", fix=_FIX)
    _refuse_short_vocabulary(lm)
    if lm.max_context <= len(_path(_LEAVES[0])):
        return  # only a toy is that short, and it is one of ours
    try:
        with torch.no_grad():
            difference = _difference(lm)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(
            where=lm.name,
            problem=f"its forward fails with several texts in a row ({error}).",
            fix=_FIX,
        ) from error
    tolerance = _TOLERANCE.get(lm.dtype, _COARSE_TOLERANCE)
    if not difference <= tolerance:
        raise ModelError(
            where=lm.name,
            problem=(
                f"several texts in one row give other log-probabilities than each alone "
                f"(difference {difference:.2g} of the largest, allowed {tolerance:g})."
            ),
            fix=_FIX,
        )


def _refuse_short_vocabulary(lm: LanguageModel) -> None:
    num_rows = int(lm.causal_lm.get_input_embeddings().weight.shape[0])
    largest = max(lm.tokenizer.get_vocab().values(), default=-1)
    if largest >= num_rows:
        raise ModelError(
            where=lm.name,
            problem=f"the tokenizer has an id {largest}, the model embeds {num_rows} tokens.",
            fix="Pass the tokenizer that belongs to the model, or resize the embeddings.",
        )


def _difference(lm: LanguageModel) -> float:
    """Largest difference of log-probabilities between the packed row and each text alone."""
    num_tokens = int(lm.causal_lm.get_input_embeddings().weight.shape[0])
    device = lm.device
    ids = torch.tensor([(7 * i + 3) % num_tokens for i in range(len(_PARENT))], device=device)
    paths = [_path(leaf) for leaf in range(len(_PARENT))]
    visible = torch.zeros(len(ids), len(ids), dtype=torch.bool, device=device)
    for token, path in enumerate(paths):
        visible[token, path] = True
    position = torch.tensor([len(path) - 1 for path in paths], device=device)
    packed = _logprobs(lm.logits(lm.hidden(ids[None], position[None], visible[None])[0]))
    gaps: list[Tensor] = []
    for leaf in _LEAVES:
        alone = ids[paths[leaf]][None]
        output = lm.causal_lm(
            input_ids=alone, attention_mask=torch.ones_like(alone), use_cache=False
        )
        expected = _logprobs(output.logits[0])
        gap = (packed[paths[leaf]] - expected).abs().max() / expected.abs().max().clamp(min=1.0)
        gaps.append(gap)
    return float(torch.stack(gaps).max())  # NaN, if there is one


def _path(leaf: int) -> list[int]:
    """The text that ends at a token, as places in the row."""
    return [] if leaf < 0 else [*_path(_PARENT[leaf]), leaf]


def _logprobs(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)
