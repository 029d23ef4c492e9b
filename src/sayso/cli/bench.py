"""``sayso bench``: ratios against a peer on this machine, after a check that both do the same."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.errors import OptionValueError

if TYPE_CHECKING:
    from sayso.bench.pairs import Peer
    from sayso.bench.works import Job

INSTALL = {
    "hf": "pip install transformers",
    "trl": "python -m venv PEER, then PEER/bin/pip install -c constraints.txt "
    "torch trl==1.16.0 transformers==5.23.0 datasets accelerate peft",
    "vllm": "python -m venv PEER, then PEER/bin/pip install vllm (its CPU build)",
}
SETTABLE = ("model", "precision", "lora", "threads", "repeats", "micro_batch", "shipped")
DOES = {"hf": ("rollout",), "vllm": ("rollout",), "trl": ("rollout", "update", "step")}


def run(
    what: str, *, against: str, work: str, pairs: int, peer_python: Path | None,
    settings: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Measure and print."""
    from sayso.bench import pairs as measure
    from sayso.bench.works import WORKS

    peer: Peer = _one_of("--against", against, tuple(DOES))
    _one_of("--work", work, tuple(WORKS))
    _one_of(f"what --against {peer} does", what, DOES[peer])
    if peer_python is None and peer != "hf":
        raise OptionValueError(
            where="--peer-python",
            problem=f"is needed: {peer} runs in an environment of its own.",
            fix=f"Make one ({INSTALL[peer]}) and pass --peer-python PEER/bin/python.",
        )
    python = str(peer_python or sys.executable)
    job = _job(what, work, settings)
    ours, theirs = measure.sides(peer, python, job.threads)
    found: dict[str, Any] = {"against": peer, **dataclasses.asdict(job)}
    if peer == "trl":
        _tell("One saved batch through both trainers ...")
        found["gate"] = measure.gated(ours, theirs, job)
        if "micro_batch" not in _given(settings) and not job.shipped:
            best = measure.best_micro_batch(theirs, job, _tell)
            job = dataclasses.replace(job, micro_batch=best)
        found["micro_batch"] = job.micro_batch
    found |= measure.paired(ours, theirs, job, num_pairs=pairs, tell=_tell)
    found |= measure.machine(python, peer)
    print(json.dumps(found) if as_json else _in_words(found))


def _in_words(found: Mapping[str, Any]) -> str:
    ratio, peer = found["ratio"], found["against"]
    said = (
        f"{found['what']} of {found['work']}: {ratio['median']:.2f} times {peer} (from "
        f"{ratio['low']:.2f} to {ratio['high']:.2f} in {found['pairs']} pairs; "
        f"{found['processor']}, {found['threads']} threads)"
    )
    if "memory" in found:
        said += f"\npeak memory: {found['memory']['median']:.2f} of {peer}'s"
    return said


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _given(settings: Sequence[str]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in settings if "=" in part)


def _job(what: str, work: str, settings: Sequence[str]) -> Job:
    """The job with what ``--set`` asks for.

    Raises:
        OptionValueError: If a setting is none, or its value does not fit.
    """
    from sayso.bench.works import Job

    plain = {"precision": "int8", "model": "", **_given(settings)}
    known = {f.name: f.default for f in dataclasses.fields(Job)}
    values: dict[str, Any] = {}
    for name, text in plain.items():
        if name not in SETTABLE or len(_given(settings)) != len(settings):
            raise OptionValueError(
                where="--set", problem=f"got {list(settings)}.",
                fix=f"Use name=value with one of: {', '.join(SETTABLE)}.",
            )  # fmt: skip
        is_number = isinstance(known[name], int)
        if is_number and not text.isdigit():
            raise OptionValueError(
                where=f"--set {name}", problem=f"got {text!r}.", fix="Use a whole number."
            )
        values[name] = int(text) if is_number else text
    _one_of("--set precision", values["precision"], ("exact", "int8"))
    values["model"] = values["model"] or _default_model()
    return Job(**{**values, "what": what, "work": work})


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise OptionValueError(
            where=where, problem=f"got {value!r}.", fix=f"Use one of: {', '.join(allowed)}."
        )
    return value


def _default_model() -> str:
    from sayso.models import smollm2

    return str(smollm2.resolve())
