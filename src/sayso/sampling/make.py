"""From options to an engine."""

from __future__ import annotations

import logging

from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine, SamplingOptions
from sayso.sampling.hf_engine import HFEngine
from sayso.sampling.probe import why_not
from sayso.sampling.torch_engine import TorchEngine

_logger = logging.getLogger("sayso")


def make_engine(lm: LanguageModel, options: SamplingOptions) -> Engine:
    """The engine that ``options`` ask for.

    A model that ``TorchEngine`` cannot drive (sliding windows, state-space layers, attention
    biases that need a 2-D mask, …) gets ``HFEngine``: the same samples, slower. One warning
    says so, with the reason.
    """
    distribution = options.distribution()
    if options.engine == "torch":
        reason = why_not(lm)
        if reason is None:
            return TorchEngine(lm, distribution, max_rows=options.max_rows, stop=options.stop)
        _logger.warning(
            "%s is sampled with transformers' generate, which is slower, because %s. "
            "Set sampling.engine = 'hf' to silence this.",
            lm.name,
            reason,
        )
    return HFEngine(lm, distribution, max_rows=options.max_rows, stop=options.stop)
