"""``sayso bench``: ratios against a peer on this machine, after a check that both do the same."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.errors import OptionValueError

if TYPE_CHECKING:
    from sayso.bench.pairs import Peer

INSTALL = {
    "hf": "pip install transformers",
    "trl": "python -m venv PEER, then PEER/bin/pip install -c constraints.txt "
    "torch trl==1.16.0 transformers==5.23.0 datasets accelerate peft",
    "vllm": "python -m venv PEER, then PEER/bin/pip install vllm (its CPU build)",
}
DOES = {"hf": ("rollout",), "vllm": ("rollout",), "trl": ("rollout", "update", "step")}


def run(
    what: str, *, against: str, work: str, pairs: int, peer_python: Path | None, model: str | None,
    precision: str, lora: int, threads: int, micro_batch: int | None, shipped: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure and print."""
    from sayso.bench import pairs as measure
    from sayso.bench.works import WORKS, Job

    peer: Peer = _one_of("--against", against, tuple(DOES))
    _one_of("--work", work, tuple(WORKS))
    _one_of("--precision", precision, ("exact", "int8"))
    _one_of(f"what --against {peer} does", what, DOES[peer])
    if peer_python is None and peer != "hf":
        raise OptionValueError(
            where="--peer-python",
            problem=f"is needed: {peer} runs in an environment of its own.",
            fix=f"Make one ({INSTALL[peer]}) and pass --peer-python PEER/bin/python.",
        )
    python = str(peer_python or sys.executable)

    def tell(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    job = Job(
        model=model or _default_model(), work=work, what=what, threads=threads, lora=lora,
        precision=precision, micro_batch=micro_batch or 16, shipped=int(shipped),
    )  # fmt: skip
    ours, theirs = measure.sides(peer, python, threads)
    found: dict[str, Any] = {"what": what, "against": peer, "work": work, "precision": precision,
                             "lora": lora, "as_shipped": shipped, "threads": threads}  # fmt: skip
    if peer == "trl":
        tell("One saved batch through both trainers ...")
        found["gate"] = measure.gated(ours, theirs, job)
        if micro_batch is None and not shipped:
            best = measure.best_micro_batch(theirs, job, tell)
            job = dataclasses.replace(job, micro_batch=best)
        found["micro_batch"] = job.micro_batch
    found |= measure.paired(ours, theirs, job, num_pairs=pairs, tell=tell)
    found |= measure.machine(python, peer)
    if as_json:
        print(json.dumps(found))
        return
    ratio = found["ratio"]
    print(
        f"{what} of {work}: {ratio['median']:.2f} times {peer} (from {ratio['low']:.2f} to "
        f"{ratio['high']:.2f} in {pairs} pairs; {found['processor']}, {threads} threads)"
    )
    if "memory" in found:
        print(f"peak memory: {found['memory']['median']:.2f} of {peer}'s")


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise OptionValueError(
            where=where, problem=f"got {value!r}.", fix=f"Use one of: {', '.join(allowed)}."
        )
    return value


def _default_model() -> str:
    from sayso.models import smollm2

    return str(smollm2.resolve())
