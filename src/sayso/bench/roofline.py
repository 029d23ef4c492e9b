"""What this machine can do: fp32 and int8 products, a copy of memory. Measured, not looked up."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sayso.kernels import library as lib
from sayso.kernels.library import CompileError, library

SGEMM_SIDE = 2048
COPY_BYTES = 256 << 20
INT8_DEPTH, INT8_COLUMNS, INT8_ROWS = 576, 1024, 256
"""Weights of 0.6 and 1.2 MB: each thread's half stays in its second-level cache."""


def best_s(call: Callable[[], object], *, repeats: int) -> float:
    """Least seconds of several calls, after one that warms up."""
    call()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def sgemm_flops(rows: int = SGEMM_SIDE, columns: int = SGEMM_SIDE, depth: int = SGEMM_SIDE,
                *, repeats: int = 3) -> float:  # fmt: skip
    """FLOP/s of ``[rows, depth] @ [columns, depth].T`` in fp32 by PyTorch."""
    x, weight = torch.randn(rows, depth), torch.randn(columns, depth)
    out = torch.empty(rows, columns)
    seconds = best_s(lambda: torch.mm(x, weight.T, out=out), repeats=repeats)
    return 2.0 * rows * columns * depth / seconds


def copy_bytes_per_s(*, repeats: int = 5) -> float:
    """Bytes read and written per second by a copy far larger than any cache."""
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    return 2.0 * COPY_BYTES / best_s(lambda: target.copy_(source), repeats=repeats)


def int8_ops_per_s(*, repeats: int = 30) -> float | None:
    """Operations per second of the packed int8 kernel on weights that stay in the cache.

    The kernel is reached through a model without layers: norm, quantisation of the rows, and the
    head. The difference between a head of 2048 and one of 1024 columns is the product alone.
    ``None`` where there are no kernels, or the processor multiplies no bytes.
    """
    try:
        kernels = library()
    except CompileError:
        return None
    if not kernels.has_int8:
        return None
    one, two = (
        best_s(_head_only(kernels, n * INT8_COLUMNS), repeats=repeats) for n in (1, 2)
    )  # fmt: skip
    return 2.0 * INT8_ROWS * INT8_DEPTH * INT8_COLUMNS / max(two - one, 1e-9)


def _head_only(kernels: lib.Library, columns: int) -> Callable[[], None]:
    """A pass of a model that is nothing but a head."""
    depth, rows, threads = INT8_DEPTH, INT8_ROWS, torch.get_num_threads()
    padded = -(-columns // kernels.tile_columns) * kernels.tile_columns
    groups = -(-depth // kernels.group)
    weight, table = torch.randn(columns, depth), torch.randn(1, depth)
    held = {
        "weight": torch.empty(padded * groups * kernels.group, dtype=torch.int8),
        "scale": torch.empty(padded),
        "offset": torch.empty(padded * groups, dtype=torch.int32),
    }
    source = (lib.Source * 1)(lib.Source(weight.data_ptr(), columns, depth, 1))
    places = {name: tensor.data_ptr() for name, tensor in held.items()}
    kernels.calls.sayso_pack(source, 1, depth, 1, *places.values(), threads)
    ones, nothing, out = torch.ones(depth), np.zeros(rows, np.int64), torch.empty(rows, columns)
    model = lib.Model(
        width=depth, heads=1, key_heads=1, head_width=kernels.lanes, mlp_width=depth, num_layers=0,
        vocabulary=columns, is_int8=1, attention_scale=1.0, embedding=table.data_ptr(),
        final=lib.Norm(weight=ones.data_ptr(), epsilon=1e-5),
        head=lib.Linear(**places, columns=columns, depth=depth),
    )  # fmt: skip
    every = np.arange(rows, dtype=np.int64)
    tokens = lib.Tokens(count=rows, num_logits=rows, logits_of=every.ctypes.data)
    for name in ("token", "position", "own", "own_capacity", "prefix", "prefix_capacity"):
        setattr(tokens, name, nothing.ctypes.data)
    tokens.num_prefix = nothing.ctypes.data
    alive: tuple[Any, ...] = (held, weight, table, ones, nothing, every, source)

    def call() -> None:
        assert alive  # noqa: S101  # the structs hold addresses only
        kernels.calls.sayso_step(
            ctypes.byref(model), ctypes.byref(tokens), out.data_ptr(), threads
        )  # fmt: skip

    return call
