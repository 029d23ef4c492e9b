"""Can the kernels sample from this model, here? Asked once, before an engine is chosen."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import nn

from sayso.models.distribution import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.native.backend import NativeBackend
from sayso.sampling.native.families import why_no_family
from sayso.sampling.native.library import CompileError, library
from sayso.sampling.network import evaluating, num_embeddings, unwrapped
from sayso.sampling.probe import trial_rows

EXACT_TOLERANCE, INT8_TOLERANCE = 1e-3, 0.25
"""Mean difference of log-probabilities, weighted by the probabilities, in nats."""

_answers: WeakKeyDictionary[nn.Module, dict[bool, str | None]] = WeakKeyDictionary()


def why_not_native(lm: LanguageModel, *, is_int8: bool) -> str | None:
    """The reason why ``NativeBackend`` cannot sample from this model; ``None`` if it can.

    What the model declares, whether the kernels can be compiled and, as for any engine, a trial
    against the plain pass.
    """
    answers = _answers.setdefault(lm.network, {})
    if is_int8 not in answers:
        answers[is_int8] = _asked(lm, is_int8=is_int8)
    return answers[is_int8]


def _asked(lm: LanguageModel, *, is_int8: bool) -> str | None:
    network = unwrapped(lm.network)
    reason = why_no_family(network, lm.max_context)
    if reason is not None:
        return reason
    try:
        kernels = library()
    except CompileError as error:
        return str(error)
    if is_int8 and not kernels.has_int8:
        return "this processor multiplies no bytes (AVX-512 VNNI or AVX-VNNI)"
    rows = trial_rows(lm, num_embeddings(lm.network))
    slots = list(range(len(rows)))
    with evaluating(lm.network):
        backend = NativeBackend(lm, Distribution(), is_int8=is_int8)
        backend.reserve(len(rows), max(len(row) for row in rows))
        backend.forward(slots, [0] * len(rows), [row[:-1] for row in rows])
        ours = backend.forward(slots, [len(row) - 1 for row in rows], [row[-1:] for row in rows])
        plain = torch.stack([network(torch.tensor([row])).logits[0, -1] for row in rows])
    expected = plain.log_softmax(-1)
    difference = (ours.log_softmax(-1) - expected).abs()
    gap = float((expected.exp() * difference).sum(-1).max())
    if not gap > (INT8_TOLERANCE if is_int8 else EXACT_TOLERANCE):
        return None  # also when it is NaN: then the weights are broken, which sampling will say
    return f"with them its log-probabilities are off by {gap:.2g} nats"
