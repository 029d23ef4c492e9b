"""From options to an engine."""

from __future__ import annotations

import logging

import torch

from sayso.errors import ModelError
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import Guide, SlotBackend
from sayso.sampling.base import Engine
from sayso.sampling.hf_engine import HFEngine
from sayso.sampling.native.backend import NativeBackend
from sayso.sampling.native.probe import why_not_native
from sayso.sampling.options import SamplingOptions
from sayso.sampling.probe import why_not
from sayso.sampling.torch_engine import TorchEngine

_logger = logging.getLogger("sayso")


def guided_engine(lm: LanguageModel, options: SamplingOptions, guide: Guide) -> Engine:
    """An engine whose logits a guide changes; filters and temperature apply after it.

    Raises:
        ModelError: If the model's cache is one that we cannot drive.
    """
    reason = why_not(lm)
    if reason is not None:
        raise ModelError(
            where=lm.name,
            problem=f"cannot be steered by values, because {reason}.",
            fix="Use a model with plain causal attention, such as smollm2.",
        )
    distribution, rows = options.distribution(), options.max_rows
    backend = SlotBackend(lm, distribution, max_rows=rows, guide=guide)
    return TorchEngine(lm, distribution, max_rows=rows, stop=options.stop, backend=backend)


def make_engine(lm: LanguageModel, options: SamplingOptions) -> Engine:
    """The engine that ``options`` ask for, or the next one that can serve the model.

    The kernels know some families of models on a CPU; any other model is decoded by its own
    forward; one whose cache we cannot drive (sliding windows, state-space layers, attention biases
    that need a 2-D mask, …) gets ``HFEngine``: the same samples, slower. One line says so, with
    the reason.
    """
    distribution = options.distribution()
    rows, stop = options.max_rows, options.stop
    reason = why_not(lm) if options.engine != "hf" else ""
    if reason is not None:
        if reason:
            _logger.warning(
                "%s is sampled with transformers' generate, which is slower, because %s. "
                "Set sampling.engine = 'hf' to silence this.", lm.name, reason,
            )  # fmt: skip
        return HFEngine(lm, distribution, max_rows=rows, stop=stop)
    if options.engine == "torch":
        return TorchEngine(lm, distribution, max_rows=rows, stop=stop)
    is_int8 = options.precision == "int8"
    reason = why_not_native(lm, is_int8=is_int8)
    if reason is None:
        backend = NativeBackend(lm, distribution, is_int8=is_int8)
        return TorchEngine(lm, distribution, max_rows=rows, stop=stop, backend=backend)
    # On other devices and in other precisions the kernels are not what anyone would expect.
    is_expected = lm.device.type == "cpu" and lm.dtype is torch.float32
    level = logging.WARNING if is_expected or is_int8 else logging.INFO
    _logger.log(
        level, "%s is sampled without our kernels, which is slower, because %s. "
        "Set sampling.engine = 'torch' to silence this.", lm.name, reason,
    )  # fmt: skip
    return TorchEngine(lm, distribution, max_rows=rows, stop=stop)
