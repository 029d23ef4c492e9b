"""Races to a held-out reward against a peer, seed by seed: how much sooner, with an interval."""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from sayso.bench.pairs import HERE, Side
from sayso.bench.race import Race
from sayso.bench.record import SIDES, Record, Row
from sayso.errors import OptionValueError
from sayso.stats.intervals import mean_interval

Bound = Literal["exact", "at least", "at most", "unknown"]


def racers(peer_python: str, threads: int) -> tuple[Side, Side]:
    """Ours and TRL's."""
    ours = Side(command=(sys.executable, "-m", "sayso.bench.racer"), threads=threads)
    theirs = (peer_python, str(HERE / "peers" / "trl_reward.py"))
    return ours, Side(command=theirs, threads=threads)


def raced(
    ours: Side, peer: Side, race: Race, record: Record, *, num_seeds: int,
    tell: Callable[[str], None],
) -> Row:  # fmt: skip
    """Ours, theirs, ours, theirs: one run each per seed, then what they say together.

    Returns:
        ``runs`` of both sides, and what ``compared`` says of them.
    """
    runs: dict[str, list[Row]] = {side: [] for side in SIDES}
    for seed in range(num_seeds):
        for name, side in zip(SIDES, (ours, peer), strict=True):
            run = record.run(name, seed, partial(_fresh, ours, side, race, seed))
            runs[name].append({**run, "seed": seed})
            tell(f"seed {seed}, {name}: {_told(run)}")
    return {**compared(runs["ours"], runs["peer"]), "runs": runs}


def _fresh(ours: Side, side: Side, race: Race, seed: int) -> Row:
    """One run; what both sides read is written anew, and is the same for a seed."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.json"
        rules.write_text(json.dumps(asdict(race)))
        ours.lines([str(rules), str(seed), folder])
        return side.lines([str(Path(folder) / "race.json")])[-1]


def compared(ours: Sequence[Row], peer: Sequence[Row]) -> Row:
    """How much sooner ours was, seed by seed and together.

    A run that never reached the threshold is censored: it took *at least* its seconds. A ratio is
    then a bound, and says so. Where only the peer's runs are censored, median and interval are
    bounds from below. Where one of ours is, nothing bounds the ratio from below: there is neither.

    Raises:
        OptionValueError: If the threshold was met before any training: that is no race.

    Returns:
        ``pairs`` (``seed``, ``ours_s``, ``peer_s``, ``ratio``, ``bound``), ``ratio``
        (``median``, geometric ``mean`` and ends of its 95 % t interval ``low`` and ``high``; or
        None), ``steps_ratio`` (geometric mean of steps, theirs over ours, censored runs at the
        last step), ``censored`` (runs of each side) and ``bound`` of the whole.
    """
    at_once = [run["seed"] for run in (*ours, *peer) if run["reached"] and run["steps"] == 0]
    if at_once:
        raise OptionValueError(
            where="--set threshold",
            problem=f"was met before the first step, by seed {at_once[0]}.",
            fix="Use a higher one.",
        )
    pairs = [_pair(a, b) for a, b in zip(ours, peer, strict=True)]
    censored = {
        side: [run["seed"] for run in runs if not run["reached"]]
        for side, runs in zip(SIDES, (ours, peer), strict=True)
    }
    ratio, bound = None, "unknown"
    if not censored["ours"]:
        bound = "at least" if censored["peer"] else "exact"
        values = [pair["ratio"] for pair in pairs]
        found = mean_interval([math.log(value) for value in values])
        ends = {"mean": found.mean, "low": found.low, "high": found.high}
        ratio = {name: _power(end) for name, end in ends.items()}
        ratio["median"] = statistics.median(values)
    steps = [b["steps"] / a["steps"] for a, b in zip(ours, peer, strict=True)]
    return {
        "pairs": pairs, "ratio": ratio, "bound": bound, "censored": censored,
        "steps_ratio": statistics.geometric_mean(steps),
    }  # fmt: skip


def _pair(ours: Row, peer: Row) -> Row:
    bounds: dict[tuple[bool, bool], Bound] = {
        (True, True): "exact", (True, False): "at least", (False, True): "at most",
        (False, False): "unknown",
    }  # fmt: skip
    return {
        "seed": ours["seed"], "ours_s": ours["seconds"], "peer_s": peer["seconds"],
        "ratio": peer["seconds"] / ours["seconds"],
        "bound": bounds[ours["reached"], peer["reached"]],
    }  # fmt: skip


def _power(exponent: float) -> float | None:
    """JSON has no infinity: one seed has no interval."""
    return math.exp(exponent) if math.isfinite(exponent) else None


def _told(run: Row) -> str:
    step, _, mean = run["curve"][-1]
    ending = "" if run["reached"] else ", censored: the threshold was not reached"
    return f"{run['seconds']:.0f} s, held-out mean {mean:.3f} at step {step}{ending}"
