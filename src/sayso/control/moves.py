"""Modes in which an action moves how the model speaks: steer, prefix, decode.

Dimensions: n = rows, m = numbers of an action, p = soft tokens, d = width, v = vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from sayso.control.decoding import knobs_of
from sayso.control.features import Array, principal
from sayso.control.generate import Control, decoder_layers
from sayso.control.options import ControlOptions
from sayso.control.probes import Probe
from sayso.errors import OptionValueError
from sayso.models.lm import LanguageModel
from sayso.sampling.network import unwrapped

_log = logging.getLogger("sayso")


class Mover(Protocol):
    """From actions in [-1, 1] to what moves a batch of rows."""

    size: int
    """Numbers of an action."""
    reserve: int
    """Tokens of the context that it needs for itself."""

    def control(self, actions: Float32[np.ndarray, "n m"]) -> Control:
        """What moves the rows."""
        ...


class Steer:
    r"""Adds a weighted sum of fixed directions to the hidden states of one layer.

    .. math:: h \leftarrow h + s \sum_i a_i v_i

    at the last token of the context and at every token of the answer; s is ``strength`` and each
    :math:`v_i` as long as hidden states are on average. At a = 0 the model speaks as it is.

    Source:
        Rimsky et al. 2024, arXiv:2312.06681, sec. 3, who add at all positions behind the prompt;
        Turner et al. 2023, arXiv:2308.10248.

    Args:
        lm: The model.
        options: Layer, strength, number of directions.
        directions: As ``find_directions`` gives them ``[m, d]``, or the user's own.
    """

    reserve = 0

    def __init__(self, lm: LanguageModel, options: ControlOptions, directions: Array) -> None:
        if directions.ndim != 2 or directions.shape[1] != lm.width:
            raise OptionValueError(
                where="control, directions",
                problem=f"have the shape {directions.shape}.",
                fix=f"Give rows of {lm.width} numbers.",
            )
        self.size, self.layer = len(directions), layer_of(lm, options)
        self._options = options
        self._directions = torch.from_numpy(directions).to(lm.device) * options.strength

    def control(self, actions: Float32[np.ndarray, "n m"]) -> Control:
        """Pushes of all rows."""
        weights = torch.from_numpy(np.ascontiguousarray(actions)).to(self._directions)
        return Control(
            push=weights @ self._directions, layer=self.layer,
            temperature=self._options.temperature,
        )  # fmt: skip


class Prefix:
    r"""Puts soft tokens behind the first token of the context, from a small subspace.

    .. math:: e_j = \bar e + \rho\, \sigma\, \frac{z_j}{\max(1, \lVert z_j \rVert)} P

    with P the first principal components of the embedding matrix, :math:`\bar e` its mean row and
    σ the root-mean-square distance of its rows from that; one part :math:`z_j` of the action for
    each soft token.

    Source:
        Dialogue Action Tokens: Li et al. 2024, arXiv:2406.11978, sec. 3.2, who project onto the
        sphere; inside the ball the map is continuous at 0, where an untrained policy begins.

    Args:
        lm: The model.
        options: Number of soft tokens, radius.
        mean: ``[d]``, as ``token_space`` gives it.
        axes: ``[k, d]``, the same, times σ.
    """

    def __init__(
        self, lm: LanguageModel, options: ControlOptions, mean: Array, axes: Array
    ) -> None:
        self._options, self.reserve = options, options.num_prefix
        self.size = options.num_prefix * len(axes)
        self._mean, self._axes = (torch.from_numpy(x).to(lm.device) for x in (mean, axes))

    def control(self, actions: Float32[np.ndarray, "n m"]) -> Control:
        """Soft tokens of all rows."""
        z = torch.from_numpy(np.ascontiguousarray(actions)).to(self._axes)
        z = z.reshape(len(actions), self._options.num_prefix, -1)
        inside = z / z.norm(dim=-1, keepdim=True).clamp(min=1.0)
        soft = self._mean + self._options.radius * inside @ self._axes
        return Control(prefix=soft, temperature=self._options.temperature)


class Decode:
    """Turns the sampler's knobs; see ``decoding``.

    Args:
        options: Which knobs.
    """

    reserve = 0

    def __init__(self, options: ControlOptions) -> None:
        self._names, self.size = options.knobs, len(options.knobs)
        self._temperature = options.temperature

    def control(self, actions: Float32[np.ndarray, "n m"]) -> Control:
        """Settings of all rows."""
        return Control(knobs=tuple(knobs_of(row.tolist(), self._names) for row in actions))


def layer_of(lm: LanguageModel, options: ControlOptions) -> int:
    """The layer that is steered.

    Raises:
        OptionValueError: If the model has no such layer.
    """
    count = len(decoder_layers(unwrapped(lm.network)))
    layer = count // 2 if options.layer is None else options.layer
    if not 0 <= layer < count:
        raise OptionValueError(
            where="control.layer", problem=f"got {layer}.", fix=f"Use 0 to {count - 1}."
        )
    return layer


def find_directions(lm: LanguageModel, options: ControlOptions, probes: Sequence[Probe]) -> Array:
    """Directions ``[m, d]`` for ``Steer``: orthogonal, each as long as a hidden state on average.

    With ``directions = "reward"`` the first is a difference of means: of the states of answers
    that earned more than the mean answer to their own prompt, and of those that earned less, each
    state less the mean of its prompt, or the direction would tell prompts apart. The others are
    principal components of what is left. With ``"states"`` all are components of the prompts'
    states.

    Args:
        lm: The model.
        options: How, and how many.
        probes: What the model says by itself.
    """
    layer = layer_of(lm, options)
    if options.directions == "states":
        # Answers to one prompt share its state: each counts once.
        first = {one.task: one for one in reversed(probes)}
        states = layer_states(lm, layer, list(first.values()), of_answers=False)
        units = principal(states, options.num_dims, what="num_dims").axes
        return _scaled(units, states)
    states = layer_states(lm, layer, probes, of_answers=True)
    tasks = np.array([one.task for one in probes])
    rewards = _centred(np.array([one.reward for one in probes]), tasks)
    centred = _centred(states.astype(np.float64), tasks)
    better, worse = rewards > 0, rewards < 0
    if not better.any():
        _log.warning(
            "All %d probe answers earned what the others to their prompt did, so no direction "
            "follows the reward: the directions are principal components alone.", len(probes),
        )  # fmt: skip
        units = principal(centred.astype(np.float32), options.num_dims, what="num_dims").axes
        return _scaled(units, states)
    best = centred[better].mean(0) - centred[worse].mean(0)
    best = best / np.linalg.norm(best)
    rest = centred - np.outer(centred @ best, best)
    units = best[None].astype(np.float32)
    if options.num_dims > 1:
        others = principal(rest.astype(np.float32), options.num_dims - 1, what="num_dims").axes
        units = np.concatenate([units, others])
    return _scaled(units, states)


@torch.no_grad()
def layer_states(
    lm: LanguageModel, layer: int, probes: Sequence[Probe], *, of_answers: bool
) -> Array:
    """Outputs of a layer ``[n, d]``: the mean over each answer's tokens, or the prompt's last."""
    found = np.empty((len(probes), lm.width), np.float32)
    for row, one in enumerate(probes):
        prompt = one.asked.context
        ids = torch.tensor([prompt + one.answer.ids], device=lm.device)
        order = torch.arange(ids.shape[1], device=lm.device)
        with _watched(lm, layer) as seen:
            lm.hidden(ids, order[None], (order[:, None] >= order)[None])
        hidden = seen[0][0].float()
        state = hidden[len(prompt) :].mean(0) if of_answers else hidden[len(prompt) - 1]
        found[row] = state.cpu().numpy()
    return found


@contextmanager
def _watched(lm: LanguageModel, layer: int) -> Iterator[list[Tensor]]:
    """Inside, what the layer puts out is kept."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        seen.append(output[0] if isinstance(output, tuple) else output)

    handle = decoder_layers(unwrapped(lm.network))[layer].register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def token_space(lm: LanguageModel, num_dims: int) -> Mapping[str, Array]:
    """Mean row and first principal components of the embedding matrix, for ``Prefix``."""
    table = unwrapped(lm.network).get_input_embeddings().weight.detach().double()
    mean = table.mean(0)
    covariance = (table - mean).T @ (table - mean) / len(table)
    if num_dims > len(covariance):
        raise OptionValueError(
            where="control.num_dims",
            problem=f"got {num_dims}, the embeddings have {len(covariance)} dimensions.",
            fix="Use fewer.",
        )
    _, vectors = torch.linalg.eigh(covariance)
    axes = vectors[:, -num_dims:].flip(1).T
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    spread = covariance.trace().sqrt()
    return {
        "token_mean": mean.float().cpu().numpy(),
        "token_axes": (axes * largest.sign() * spread).float().cpu().numpy(),
    }


def _centred(values: NDArray[np.float64], tasks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each value less the mean of its task."""
    left = values.copy()
    for task in np.unique(tasks):
        left[tasks == task] -= values[tasks == task].mean(0)
    return left


def _scaled(units: Array, states: Array) -> Array:
    length = float(np.linalg.norm(states, axis=-1).mean())
    return (units * length).astype(np.float32)
