"""Where the seconds of a step go, by class of operator. What counts as what is in ``CLASSES``."""

from __future__ import annotations

import ctypes
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from sayso.kernels import library as lib
from sayso.sampling.native.cache import cache_for
from sayso.sampling.native.weights import Weights

BETWEEN_PRODUCTS = (
    "sayso_norm",
    "sayso_norm_back",
    "sayso_rotate",
    "sayso_gate",
    "sayso_gate_back",
)
KERNELS = ("sayso_step", "sayso_pack", "sayso_draw", "sayso_softmax", *BETWEEN_PRODUCTS)
WHOLE = "sayso: whole"
FEW_LAYERS, REPEATS = 5, 7


def _aten(names: str) -> str:
    """A pattern of PyTorch's own operators, in place or not."""
    return f"aten::({'|'.join(names.split())})_?"


VIEWS = """
as_strided view _unsafe_view reshape _reshape_alias transpose t permute expand expand_as unsqueeze
promote_types squeeze
select slice split split_with_sizes chunk unflatten flatten narrow unbind diagonal moveaxis
movedim numpy_T broadcast_to lift lift_fresh result_type is_.* item _local_scalar_dense resolve_.*
"""
MEMORY = """
copy _to_copy to clone contiguous cat stack empty empty_like empty_strided empty_permuted new_empty
new_empty_strided new_zeros new_ones new_full resize zero zeros zeros_like ones ones_like fill full
full_like arange scalar_tensor index_select index_select_backward index_add index index_put
_index_put_impl gather scatter scatter_add embedding embedding_backward embedding_dense_backward
slice_backward select_backward split_backward split_with_sizes_backward repeat repeat_interleave
pad constant_pad_nd nonzero masked_select masked_fill where tril triu set unique.*
"""
ELEMENTWISE = """
add sub rsub mul div pow square sqrt rsqrt reciprocal exp log log1p neg abs sgn sign sin cos tanh
tanh_backward silu silu_backward gelu gelu_backward sigmoid sigmoid_backward relu
threshold_backward mean sum prod max min amax amin clamp clamp_min clamp_max minimum maximum softmax
_softmax log_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data logsumexp norm
logaddexp linalg_vector_norm layer_norm native_layer_norm native_layer_norm_backward rms_norm
_fused_rms_norm.* isfinite isnan isinf isneginf isposinf equal eq ne lt le gt ge any all logical_.*
bitwise_.* __and__ __or__ cumsum sort argsort floor_divide remainder round floor ceil dot var std
"""
CLASSES: tuple[tuple[str, str], ...] = (
    ("decode kernel", r"sayso_step"),
    ("re-packing", r"sayso_pack"),
    ("draw", r"sayso_draw"),
    ("softmax of the head", r"sayso_softmax"),
    ("between products", "|".join(BETWEEN_PRODUCTS)),
    ("python", re.escape(WHOLE)),
    ("optimiser", r"Optimizer\..*|aten::_?(fused_adam|foreach_).*|aten::(addcmul|addcdiv|lerp)_?"),
    ("attention", r"aten::.*(scaled_dot_product|flash|_safe_softmax).*"),
    ("gemm", _aten("mm addmm bmm baddbmm addbmm matmul linear mv addmv") + r"|mkl.*::.*"),
    ("autograd", r"autograd::.*|torch::autograd::.*|_\w+|\w+Backward\d*|(aten::)?(detach|alias)_?"),
    ("views", _aten(VIEWS)),
    ("memory", _aten(MEMORY)),
    ("elementwise and sums", _aten(ELEMENTWISE)),
)
"""Class and pattern of the names of its operators; the first that fits the whole name counts."""
INSIDE = ("gemm", "attention")
UNCLASSIFIED = "unclassified"


def class_of(name: str) -> str:
    """The class of an operator."""
    fits = (kind for kind, pattern in CLASSES if re.fullmatch(pattern, name))
    return next(fits, UNCLASSIFIED)


@dataclass(slots=True)
class Spent:
    """What a profiled call did.

    Attributes:
        by_class: Seconds of each class, without those of operators called from within.
        unclassified: Seconds by name of operators that no class knows.
        total_s: Seconds of the whole.
        passes: How often the decode kernel fed so many tokens and gave so many logits.
    """

    by_class: dict[str, float] = field(default_factory=dict)
    unclassified: dict[str, float] = field(default_factory=dict)
    total_s: float = 0.0
    passes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def inside_s(self) -> float:
        """Seconds in products and attention; the decode kernel's are not known here."""
        return sum(self.by_class.get(kind, 0.0) for kind in INSIDE)


def spent(call: Callable[[], object]) -> Spent:
    """Profile a call, Python between the operators included."""
    found = Spent()
    on_cpu = profile(activities=[ProfilerActivity.CPU])
    with _named(found.passes), on_cpu as profiled, record_function(WHOLE):
        call()
    for event in profiled.key_averages():
        seconds = event.self_cpu_time_total / 1e6
        kind = class_of(event.key)
        found.by_class[kind] = found.by_class.get(kind, 0.0) + seconds
        if kind == UNCLASSIFIED:
            found.unclassified[event.key] = seconds
        if event.key == WHOLE:
            found.total_s = event.cpu_time_total / 1e6
    return found


@contextmanager
def _named(passes: Counter[tuple[int, int]]) -> Iterator[None]:
    """Inside, the compiled kernels appear in profiles by their names, as operators do."""
    try:
        calls = lib.library().calls
    except lib.CompileError:
        yield
        return
    plain = {name: getattr(calls, name) for name in KERNELS}

    def named(name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if name == "sayso_step":
                with suppress(AttributeError):
                    tokens = arguments[1]._obj  # noqa: SLF001  # what byref() points at
                    passes[tokens.count, tokens.num_logits] += 1
            with record_function(name):
                plain[name](*arguments)

        return call

    for name in KERNELS:
        setattr(calls, name, named(name))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(calls, name, function)


def decode_rest_s(network: Any, *, rows: int, is_int8: bool) -> tuple[float, float]:
    """Seconds of a decode pass that are neither products nor attention, and of all of it.

    No profiler sees into the kernel. Its layers are run with every matrix cut to no columns and
    with one position to look at: norms, quantisation, rotation, activation and threads that wait
    are left. A few layers less one, after a whole pass each time, stand for all: what they pass on
    shrinks from layer to layer where nothing is multiplied in, and numbers near 0 are slow.
    """
    kernels = lib.library()
    weights = Weights(network, is_int8=is_int8)
    weights.refresh()
    weights.reach(1)
    whole = weights.model
    rest, layers = without_products(whole)
    num_layers = int(whole.num_layers)
    tokens, out, alive = first_tokens(kernels, whole, rows)
    threads = torch.get_num_threads()

    def run(model: lib.Model, num_layers: int) -> float:
        model.num_layers = num_layers
        start = time.perf_counter()
        kernels.calls.sayso_step(
            ctypes.byref(model), ctypes.byref(tokens), out.data_ptr(), threads
        )  # fmt: skip
        return time.perf_counter() - start

    few = min(FEW_LAYERS, num_layers)
    one, several, all_of_it = list[float](), list[float](), list[float]()
    for _ in range(REPEATS):
        for found, count in ((one, 1), (several, few)):
            all_of_it.append(run(whole, num_layers))
            found.append(run(rest, count))
    del alive, layers
    each = max(0.0, min(several) - min(one)) / (few - 1) if few > 1 else min(one)
    return each * num_layers, min(all_of_it)


def without_products(model: lib.Model) -> tuple[lib.Model, Any]:
    """A copy whose matrices have no columns, and what must live as long as it does."""
    layers = (lib.Layer * model.num_layers).from_buffer_copy(
        (lib.Layer * model.num_layers).from_address(model.layers)
    )
    for layer in layers:
        for linear in (layer.qkv, layer.out, layer.up, layer.down):
            linear.columns = linear.rank = 0
    rest = lib.Model.from_buffer_copy(model)
    rest.layers = ctypes.addressof(layers)
    rest.head.columns = rest.head.rank = 0
    return rest, layers


def first_tokens(kernels: lib.Library, model: lib.Model, rows: int) -> tuple[Any, ...]:
    """One token a row, each in a region of its own, and room for their logits."""
    cache = cache_for(model, kernels)
    regions = [cache.room(slot, 1).own for slot in range(rows)]
    arrays = {
        name: torch.zeros(rows, dtype=torch.int64)
        for name in ("token", "position", "prefix", "prefix_capacity", "num_prefix")
    }
    arrays["own"] = torch.tensor([r.address for r in regions if r], dtype=torch.int64)
    arrays["own_capacity"] = torch.tensor([r.capacity for r in regions if r], dtype=torch.int64)
    arrays["logits_of"] = torch.arange(rows)
    tokens = lib.Tokens(count=rows, num_logits=rows)
    for name, array in arrays.items():
        setattr(tokens, name, array.data_ptr())
    return tokens, torch.empty(rows, model.vocabulary), (cache, arrays)
