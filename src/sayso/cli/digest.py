"""``sayso digest``."""

from __future__ import annotations

import json
from pathlib import Path

from sayso.runs.digest import digest_run
from sayso.runs.run import Run


def run(path: Path, *, as_json: bool) -> None:
    """Print the sums."""
    sums = digest_run(Run.open(path).path)
    if as_json:
        print(json.dumps(sums, sort_keys=True))
        return
    for name, value in sums.items():
        print(f"{name:10} {value}")
