"""Fingerprints of a run: two runs with the same are the same, bit for bit, clocks left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize

from sayso.errors import CheckpointError, RunError
from sayso.runs import commit, jsonl
from sayso.runs.run import Run

TENSORS, VALUES = "learner.safetensors", "state.json"
OPTIMISER_PREFIX = "optimiser."
CLOCK_FIELDS = re.compile(
    r"(_s|_time|_at)$"  # durations and rates: train_s, tokens_per_s; moments: created_at
    r"|(^|/)(time|created|started|pid|host|rss_bytes)$"
    r"|^time/"
    r"|^offsets$"  # lengths of logs, which hold clock fields of varying length
)
"""Keys left out of metrics, evaluations and cursors: they differ between equal runs."""
NONE = "none"
"""Stands for weights, optimiser and cursors of a run without a checkpoint."""


def digest_run(path: Path | str) -> dict[str, str]:
    """Hex sha256 of each part of a run.

    Args:
        path: The run directory; read only.

    Returns:
        ``weights`` and ``optimiser`` (name, type, shape and bytes of each tensor of the newest
        checkpoint that verifies), ``cursors`` (its counters, baselines, controllers), ``metrics``,
        ``episodes``, ``eval``, and ``all`` over these. Order of keys never matters, order of
        records does. Without a checkpoint the first three are ``"none"``.

    Raises:
        RunError: If there is no run.
        CheckpointError: If checkpoints exist but none verifies.
        LogError: If a log is damaged in the middle.
    """
    run = Run.open(path)
    parts = _checkpoint_parts(run)
    parts["metrics"] = _sha256(map(_canonical, map(without_clocks, jsonl.read(run.metrics))))
    parts["episodes"] = _sha256(map(_canonical, jsonl.read(run.episodes)))
    parts["eval"] = _sha256(_evaluations(run.eval))
    parts["all"] = _sha256(f"{name}:{value}".encode() for name, value in sorted(parts.items()))
    return parts


def without_clocks(value: Any) -> Any:
    """``value`` without the entries whose keys match ``CLOCK_FIELDS``, at every depth."""
    if isinstance(value, Mapping):
        return {
            key: without_clocks(item) for key, item in value.items() if not CLOCK_FIELDS.search(key)
        }
    return [without_clocks(item) for item in value] if isinstance(value, list) else value


def _checkpoint_parts(run: Run) -> dict[str, str]:
    found = commit.newest(run.checkpoints)
    if found is None:
        return dict.fromkeys(("weights", "optimiser", "cursors"), NONE)
    try:
        tensors = sorted(deserialize(found.read(TENSORS)), key=lambda item: item[0])  # type: ignore[no-untyped-call]
        values = without_clocks(json.loads(found.read(VALUES)))
    except (SafetensorError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            where=str(found.path),
            problem=f"its manifest verifies but its content does not parse ({error}).",
            fix="Resume with the sayso version that wrote it.",
        ) from error
    is_optimiser = [name.startswith(OPTIMISER_PREFIX) for name, _ in tensors]
    pairs = list(zip(tensors, is_optimiser, strict=True))
    return {
        "weights": _sha256(_tensor_bytes(item for item, is_theirs in pairs if not is_theirs)),
        "optimiser": _sha256(_tensor_bytes(item for item, is_theirs in pairs if is_theirs)),
        "cursors": _sha256([_canonical(values)]),
    }


def _tensor_bytes(tensors: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[bytes]:
    for name, tensor in tensors:
        yield f"{name} {tensor['dtype']} {list(tensor['shape'])}".encode()
        yield bytes(tensor["data"])


def _evaluations(directory: Path) -> Iterator[bytes]:
    for path in sorted(directory.glob("*.json")):
        yield path.name.encode()
        try:
            yield _canonical(without_clocks(json.loads(path.read_bytes())))
        except ValueError as error:
            raise RunError(
                where=str(path), problem=f"damaged ({error}).", fix="Evaluate again or delete it."
            ) from error


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def _sha256(pieces: Iterable[bytes]) -> str:
    """Each piece is preceded by its length, so that no two lists of pieces read alike."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8))
        digest.update(piece)
    return digest.hexdigest()
