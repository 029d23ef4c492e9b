"""How the C library hands out memory while a model trains on a CPU."""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Names of ``mallopt``'s parameters in glibc."""
_PAD_BYTES = 256 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Let the process keep what it frees, instead of giving large blocks back to the kernel.

    A training step allocates and frees the same large tensors over and over. By default each is a
    fresh mapping whose pages the kernel clears on first touch, which took an eighth of an update.
    Works with glibc; elsewhere nothing changes.

    Returns:
        Whether the C library took it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _PAD_BYTES))
    taken = [mallopt(name, value) for name, value in settings]
    return all(taken)
