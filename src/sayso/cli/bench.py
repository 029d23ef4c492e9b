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
GUARDED = ("model", "precision", "lora", "threads", "repeats")
DOES = {
    "hf": ("rollout",),
    "vllm": ("rollout",),
    "trl": ("rollout", "update", "step", "reward"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line of ``sayso bench``; see there."""

    what: str
    against: str
    work: str
    pairs: int
    seeds: int
    peer_python: Path | None
    out: Path | None
    settings: Sequence[str]
    as_json: bool


def run(asked: Asked) -> None:
    """Measure and print."""
    from sayso.bench.works import WORKS

    _one_of("--work", asked.work, tuple(WORKS))
    if asked.what == "guards":
        found = _guards(asked)
        print(json.dumps(found) if asked.as_json else _guards_in_words(found))
        return
    peer, python = _peer(asked)
    if asked.what == "reward":
        found = _reward(asked, peer, python)
        print(json.dumps(found) if asked.as_json else _reward_in_words(found))
        return
    found = _pairs(asked, peer, python)
    print(json.dumps(found) if asked.as_json else _in_words(found))


def _peer(asked: Asked) -> tuple[Peer, str]:
    """Who it is, and the Python of its environment."""
    what, against, peer_python = asked.what, asked.against, asked.peer_python
    peer: Peer = _one_of("--against", against, tuple(DOES))
    _one_of(f"what --against {peer} does", what, DOES[peer])
    if peer_python is None and peer != "hf":
        raise OptionValueError(
            where="--peer-python",
            problem=f"is needed: {peer} runs in an environment of its own.",
            fix=f"Make one ({INSTALL[peer]}) and pass --peer-python PEER/bin/python.",
        )
    return peer, str(peer_python or sys.executable)


def _guards(asked: Asked) -> dict[str, Any]:
    """Ours alone, in a fresh process."""
    from sayso.bench import pairs as measure

    job = _job("step", asked.work, asked.settings, GUARDED)
    side = measure.Side(command=(sys.executable, "-m", "sayso.bench.guards"), threads=job.threads)
    setting = {name: getattr(job, name) for name in ("work", *GUARDED)}
    return {"what": "guards", **setting, "guards": side.run(job), **measure.here()}


def _guards_in_words(found: Mapping[str, Any]) -> str:
    """Measured, goal, met: one line a guard."""
    said = []
    for row in found["guards"]:
        unit = row["unit"]
        number = "-" if row["measured"] is None else f"{row['measured']:.2f} {unit}"
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[row["met"]]
        goal = f"{row['side']} {row['goal']:g} {unit}"
        said.append(f"{row['name']:<60} {number:>9}   {goal:<8}   {verdict}")
    about = f"{found['work']}, {found['precision']} sampling, {found['threads']} threads"
    return "\n".join([*said, f"{about}, {found['processor']}"])


def _pairs(asked: Asked, peer: Peer, python: str) -> dict[str, Any]:
    """Gate and micro-batch are found once; a file that is gone on with has them already."""
    from sayso.bench import pairs as measure
    from sayso.bench.record import Record, first_line

    job = _job(asked.what, asked.work, asked.settings)
    ours, theirs = measure.sides(peer, python, job.threads)
    known = first_line(asked.out)
    gate = known.get("gate")
    if peer == "trl":
        if gate is None:
            _tell("One saved batch through both trainers ...")
            gate = measure.gated(ours, theirs, job)
        if "micro_batch" not in _given(asked.settings) and not job.shipped:
            best = known.get("micro_batch") or measure.best_micro_batch(theirs, job, _tell)
            job = dataclasses.replace(job, micro_batch=best)
    about = dataclasses.asdict(job) | {"model": Path(job.model).name}
    header = {"against": peer, **about, **measure.machine(python, peer)}
    record = Record(asked.out, {**header, "gate": gate})
    found = measure.paired(ours, theirs, job, record, num_pairs=asked.pairs, tell=_tell)
    return {**record.header, **found}


def _reward(asked: Asked, peer: Peer, python: str) -> dict[str, Any]:
    """A race per seed; gate and micro-batch are those of W1, whose shape is nearest."""
    from sayso.bench import pairs as measure
    from sayso.bench import reward
    from sayso.bench.race import Race
    from sayso.bench.record import Record, first_line
    from sayso.bench.works import Job

    defaults = {f.name: f.default for f in dataclasses.fields(Race)}
    try:
        race = Race(**settings_of(asked.settings, defaults | {"model": ""}))
    except ValueError as error:
        raise OptionValueError(where="--set", problem=f"{error}.", fix="Change it.") from error
    known = first_line(asked.out)
    gate = known.get("gate")
    job = Job(model=race.model, lora=race.lora, threads=race.threads, micro_batch=race.micro_batch)
    ours, theirs = measure.sides(peer, python, race.threads)
    if gate is None:
        _tell("One saved batch through both trainers ...")
        gate = measure.gated(ours, theirs, job)
    if "micro_batch" not in _given(asked.settings):
        best = known["race"]["micro_batch"] if known else None
        best = best or measure.best_micro_batch(theirs, job, _tell)
        race = dataclasses.replace(race, micro_batch=best)
    header = {"race": dataclasses.asdict(race), "machine": measure.machine(python, peer)}
    record = Record(asked.out, {**header, "gate": gate})
    ours, theirs = reward.racers(python, race.threads)
    raced = reward.raced(ours, theirs, race, record, num_seeds=asked.seeds, tell=_tell)
    return {"what": "reward", "against": peer, **record.header, "seeds": asked.seeds, **raced}


def _reward_in_words(found: Mapping[str, Any]) -> str:
    race, peer = found["race"], found["against"]
    asked = f"held-out mean {race['threshold']} within {race['max_steps']} steps"
    subset = f", ours trains on {race['train_on']} of each group" if race["train_on"] else ""
    said = [f"{asked}, rank {race['lora']}, lr {race['lr']}{subset}:"]
    for pair in found["pairs"]:
        bound = "" if pair["bound"] == "exact" else f" ({pair['bound']})"
        said.append(
            f"  seed {pair['seed']}: {pair['ours_s']:.0f} s against {pair['peer_s']:.0f} s, "
            f"ratio {pair['ratio']:.2f}{bound}"
        )
    for side, seeds in found["censored"].items():
        if seeds:
            said.append(f"  {side}: never reached by seeds {', '.join(map(str, seeds))}")
    ratio = found["ratio"]
    if ratio is None:
        return "\n".join([*said, "No ratio: a run of ours never reached it."])
    least = "at least " if found["bound"] == "at least" else ""
    interval = "one seed has no interval"
    if ratio["low"] is not None:
        interval = f"95 % interval of the mean {ratio['low']:.2f} to {ratio['high']:.2f}"
    told = f"{least}{ratio['median']:.2f} times sooner than {peer} (median; {interval})"
    return "\n".join([*said, told])


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


def _job(what: str, work: str, settings: Sequence[str], settable: Sequence[str] = SETTABLE) -> Job:
    """The job with what ``--set`` asks for."""
    from sayso.bench.works import Job

    known = {f.name: f.default for f in dataclasses.fields(Job)}
    known |= {"model": "", "precision": "int8"}
    values = settings_of(settings, {name: known[name] for name in settable})
    return Job(**values, what=what, work=work)


def settings_of(settings: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--set`` asks for, over the defaults; a value is of its default's kind.

    Raises:
        OptionValueError: If a setting is none, or its value does not fit.
    """
    given, values = _given(settings), dict(known)
    if len(given) != len(settings) or not given.keys() <= known.keys():
        raise OptionValueError(
            where="--set", problem=f"got {list(settings)}.",
            fix=f"Use name=value with one of: {', '.join(known)}.",
        )  # fmt: skip
    for name, text in given.items():
        kind = type(known[name])
        try:
            values[name] = kind(text) if kind in (int, float) else text
        except ValueError as error:
            fix = "Use a whole number." if kind is int else "Use a number."
            raise OptionValueError(
                where=f"--set {name}", problem=f"got {text!r}.", fix=fix
            ) from error
    if "precision" in values:
        _one_of("--set precision", values["precision"], ("exact", "int8"))
    values["model"] = values["model"] or _default_model()
    return values


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise OptionValueError(
            where=where, problem=f"got {value!r}.", fix=f"Use one of: {', '.join(allowed)}."
        )
    return value


def _default_model() -> str:
    from sayso.models import smollm2

    return str(smollm2.resolve())
