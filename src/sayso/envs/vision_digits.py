"""Handwritten digits, read from where scikit-learn is installed; never copied."""

from __future__ import annotations

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sayso.errors import ExtraMissingError

NUM_DIGITS = 1797


@lru_cache(maxsize=1)
def handwritten() -> tuple[np.ndarray[Any, np.dtype[Any]], tuple[int, ...]]:
    """The pictures, float64 [1797, 8, 8] in 0 to 16, and the label of each.

    scikit-learn itself is not imported: that would take a second and need SciPy.

    Raises:
        ExtraMissingError: If it is not installed.

    Source:
        Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, the test set; UCI
        Machine Learning Repository, CC BY 4.0; shipped with scikit-learn.
    """
    spec = importlib.util.find_spec("sklearn")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [Path(place) / "datasets" / "data" / "digits.csv.gz" for place in places]
    if not files or not files[0].is_file():
        raise ExtraMissingError(
            where="sayso/Vision-v0, families with digits",
            problem="scikit-learn, which has the digits, is not installed.",
            fix="Run: pip install 'sayso[digits]'",
        )
    with gzip.open(files[0], "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, delimiter=",")
    pictures = rows[:, :64].reshape(-1, 8, 8)
    pictures.setflags(write=False)
    return pictures, tuple(int(label) for label in rows[:, 64])
