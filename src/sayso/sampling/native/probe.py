"""Can the kernels sample from this model, here? Asked once, before an engine is chosen."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import nn

from sayso.kernels.library import CompileError, library
from sayso.models.families import why_no_family
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.native.backend import NativeBackend
from sayso.sampling.network import evaluating, num_embeddings, unwrapped
from sayso.sampling.probe import trial_rows

TOLERANCE = 1e-3
"""Mean difference of log-probabilities, weighted by the probabilities, in nats."""

_answers: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()


def why_not_native(lm: LanguageModel, *, is_int8: bool) -> str | None:
    """The reason why ``NativeBackend`` cannot sample from this model; ``None`` if it can.

    What the model declares, whether the kernels can be compiled and, as for any engine, a trial
    against the plain pass. The trial is in float32 for both precisions: how far int8 is from it
    depends on the texts, and the parity meter measures that on every step.
    """
    if lm.media is not None:
        return "it sees or hears, and they look up words only"
    if lm.network not in _answers:
        _answers[lm.network] = _asked(lm)
    reason = _answers[lm.network]
    if reason is None and is_int8 and not library().has_int8:
        return "this processor multiplies no bytes (AVX-512 VNNI or AVX-VNNI)"
    return reason


def _asked(lm: LanguageModel) -> str | None:
    network = unwrapped(lm.network)
    reason = why_no_family(network, lm.max_context)
    if reason is not None:
        return reason
    try:
        kernels = library()
    except CompileError as error:
        return str(error)
    rows = trial_rows(lm, num_embeddings(lm.network))
    slots = list(range(len(rows)))
    with evaluating(lm.network):
        backend = NativeBackend(lm, Distribution(), is_int8=False)
        if backend.heads_per_key > kernels.most_per_row:
            return f"{backend.heads_per_key} heads share a key"
        backend.reserve(len(rows), max(len(row) for row in rows))
        backend.forward(slots, [0] * len(rows), [row[:-1] for row in rows])
        ours = backend.forward(slots, [len(row) - 1 for row in rows], [row[-1:] for row in rows])
        plain = torch.stack([network(torch.tensor([row])).logits[0, -1] for row in rows])
    expected = plain.log_softmax(-1)
    difference = (ours.log_softmax(-1) - expected).abs()
    gap = float((expected.exp() * difference).sum(-1).max())
    if not gap > TOLERANCE:
        return None  # also when it is NaN: then the weights are broken, which sampling will say
    return f"with them its log-probabilities are off by {gap:.2g} nats"
