"""``sayso comparisons``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sayso.cli.demos import arguments
from sayso.errors import ConfigError


def run(
    env_id: str,
    *,
    out: Path,
    writers: Sequence[str],
    num: int,
    temperature: float,
    split: str,
    seed: int,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Write as it goes; say how often the truly better text was preferred."""
    from sayso.data.preference_files import write_preferences
    from sayso.envs.comparisons import comparisons
    from sayso.envs.registry import source

    if out.exists():
        raise ConfigError(
            where=f"--out {out}",
            problem="is there already.",
            fix="Name another file, or remove it.",
        )
    env = source(env_id, **arguments(settings)).open()
    right: list[float] = []

    def drawn() -> Iterator[dict[str, Any]]:
        for row in comparisons(env, num, seed, list(writers), temperature=temperature, split=split):
            gap = row["score_chosen"] - row["score_rejected"]
            right.append(float(gap > 0) + 0.5 * float(gap == 0))
            yield row

    count = write_preferences(out, drawn())
    share = sum(right) / len(right)
    if as_json:
        print(json.dumps({"out": str(out), "pairs": count, "right_frac": share}))
        return
    print(f"{count} preferences; the better text was preferred in {share:.1%} of them: {out}")
    print(f"Learn from them: sayso train persona_rm --set data.path={out}")
