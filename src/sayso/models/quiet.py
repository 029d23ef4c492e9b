"""Reading weights takes half a second: not worth a progress bar of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside, transformers draws no progress bars; downloads keep theirs, which the hub draws."""
    from transformers.utils import logging

    hf_logging: Any = logging
    had_bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            hf_logging.enable_progress_bar()
