"""Compiles the kernels once per machine and declares what they take."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sayso.cache import cache_folder

SOURCES = ("decoder.cpp", "attention.h", "linear.h", "trunk.h", "vectors.h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
COMPILE_TIMEOUT_S = 300.0

_PTR, _INT = ctypes.c_void_p, ctypes.c_int64


class Linear(ctypes.Structure):
    """``Linear`` of linear.h."""

    _fields_ = (
        *((name, _PTR) for name in ("weight", "scale", "offset", "bias", "down", "up")),
        *((name, _INT) for name in ("columns", "depth", "rank")),
    )


class Norm(ctypes.Structure):
    """``Norm`` of decoder.cpp."""

    _fields_ = (("weight", _PTR), ("bias", _PTR), ("epsilon", ctypes.c_double))


class Layer(ctypes.Structure):
    """``Layer`` of decoder.cpp."""

    _fields_ = (
        *((name, Norm) for name in ("before_attention", "before_mlp", "query", "key")),
        *((name, Linear) for name in ("qkv", "out", "up", "down")),
        ("is_rotary", _INT),
    )


class Model(ctypes.Structure):
    """``Model`` of decoder.cpp."""

    _fields_ = (
        *(
            (name, _INT)
            for name in (
                "width", "heads", "key_heads", "head_width", "mlp_width", "num_layers",
                "vocabulary", "is_gated", "is_int8",
            )
        ),
        ("attention_scale", ctypes.c_double),
        *((name, _PTR) for name in ("embedding", "positions", "cosines", "sines", "layers")),
        ("final", Norm),
        ("head", Linear),
    )  # fmt: skip


class Tokens(ctypes.Structure):
    """``Tokens`` of decoder.cpp."""

    _fields_ = (
        *((name, _INT) for name in ("count", "num_logits")),
        *(
            (name, _PTR)
            for name in (
                "token", "position", "own", "own_capacity", "prefix", "prefix_capacity",
                "num_prefix", "logits_of",
            )
        ),
    )  # fmt: skip


class Source(ctypes.Structure):
    """``Source`` of decoder.cpp."""

    _fields_ = (
        ("data", _PTR),
        *((name, _INT) for name in ("columns", "column_stride", "depth_stride")),
    )


_CALLS: dict[str, tuple[Any, ...]] = {
    "sayso_describe": (_PTR,),
    "sayso_step": (_PTR, _PTR, _PTR, _INT),
    "sayso_pack": (_PTR, _INT, _INT, _INT, _PTR, _PTR, _PTR, _INT),
    "sayso_draw": (_PTR, _INT, _INT, ctypes.c_double, _PTR, _PTR, _PTR, _INT),
    "sayso_softmax": (_PTR, _INT, _INT, ctypes.c_double, _PTR, _PTR, _INT),
    "sayso_norm": (_PTR, _PTR, _INT, _INT, ctypes.c_double, _PTR, _PTR, _INT),
    "sayso_norm_back": (_PTR, _PTR, _PTR, _PTR, _INT, _INT, _PTR, _PTR, _INT),
    "sayso_rotate": (_PTR, _PTR, _PTR, _INT, _INT, _INT, _INT, _PTR, _INT),
    "sayso_gate": (_PTR, _PTR, _INT, _PTR, _INT),
    "sayso_gate_back": (_PTR, _PTR, _PTR, _INT, _PTR, _PTR, _INT),
}
"""What each function of the library takes; none returns anything."""


@dataclass(frozen=True, slots=True)
class Library:
    """The compiled kernels.

    Attributes:
        calls: The shared library.
        lanes: Numbers in a vector; caches are laid out in blocks of this.
        tile_columns: Output columns of a panel.
        has_int8: Whether the machine multiplies bytes fast.
        most_per_row: Most query heads per key head.
        group: Numbers of a row that share a scale in int8.
    """

    calls: Any
    lanes: int
    tile_columns: int
    has_int8: bool
    most_per_row: int
    group: int


class CompileError(Exception):
    """Why there are no kernels here, in one line."""


@functools.cache
def library() -> Library:
    """The kernels; compiled on the first use on a machine, which takes a few seconds.

    Raises:
        CompileError: If there is no C++ compiler, or it fails.
    """
    path = _compiled()
    try:
        calls = ctypes.CDLL(str(path))
    except OSError as error:
        raise CompileError(f"the compiled kernels cannot be loaded: {error}") from error
    for name, takes in _CALLS.items():
        getattr(calls, name).argtypes, getattr(calls, name).restype = takes, None
    facts = (_INT * 5)()
    calls.sayso_describe(facts)
    return Library(calls, facts[0], facts[1], bool(facts[2]), facts[3], facts[4])


def _compiled() -> Path:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise CompileError(
            "there is no C++ compiler (g++); with one, sampling is several times faster"
        )
    folder = Path(__file__).parent
    key = hashlib.sha256(_machine().encode())
    for name in SOURCES:
        key.update((folder / name).read_bytes())
    target = cache_folder() / "kernels" / f"decoder-{key.hexdigest()[:16]}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "decoder.so"
        command = [compiler, *FLAGS, str(folder / SOURCES[0]), "-o", str(made)]
        try:
            done = subprocess.run(  # noqa: S603  # a compiler that the user chose
                command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"{compiler} failed: {error}") from error
        if done.returncode:
            first = next(iter(done.stderr.strip().splitlines()), "no message")
            raise CompileError(f"{compiler} failed: {first}")
        made.replace(target)
    return target


def _machine() -> str:
    """What the compiled code depends on besides the source: processor and flags."""
    cpu = Path("/proc/cpuinfo")
    flags = ""
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join((platform.machine(), platform.system(), *FLAGS, flags))
