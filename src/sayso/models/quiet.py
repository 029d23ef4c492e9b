"""Reading and writing weights takes half a second: not worth a progress bar of transformers."""

from __future__ import annotations

import logging
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


@contextmanager
def without_retries_told() -> Iterator[None]:
    """Inside, the hub does not print each of its attempts: the error at the end says it once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
