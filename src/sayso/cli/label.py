"""``sayso label``: a person judges pairs of texts in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.cli.demos import arguments
from sayso.errors import UnknownNameError
from sayso.runs.terminal import printable

if TYPE_CHECKING:
    from sayso.app.labelling import Writer
    from sayso.data.labels import Answer, Labels, Question
    from sayso.envs.registry import EnvSource

KEYS: dict[str, Answer] = {
    "1": "first", "2": "second", "t": "tie", "tie": "tie", "s": "skip", "skip": "skip",
}  # fmt: skip
QUIT = ("q", "quit")
HELP = "1 or 2: which is better; t: tie; s: skip; q: quit."


def run(
    env_id: str,
    *,
    out: Path,
    policies: Sequence[str],
    num: int,
    split: str,
    seed: int,
    repeat: float,
    settings: Sequence[str],
) -> None:
    """Ask until there are ``num`` judgements, skips not counted, or the person has had enough."""
    from sayso.app.labelling import Questions
    from sayso.data.labels import Labels
    from sayso.envs.registry import source

    kwargs = arguments(settings)
    env = source(env_id, **kwargs)
    writers = writers_of(env, policies, seed=seed)
    questions = Questions(env, writers, split=split, seed=seed, repeat=repeat)
    about = {
        "env": env_id, "kwargs": kwargs, "policies": list(policies), "split": split, "seed": seed,
        "repeat": repeat,
    }  # fmt: skip
    with Labels(out, about) as labels:
        print(f"{env_id}, {split}. {HELP} Every answer is kept at once in {out}.")
        while _num_judged(labels) < num:
            question = questions.next(labels.judged)
            _show(question, _num_judged(labels) + 1, num)
            answer = _ask()
            if answer is None:
                break
            labels.add(question, answer)
        _tell(labels, out, num)


def writers_of(env: EnvSource, names: Sequence[str], *, seed: int) -> list[Writer]:
    """Writers by what the user calls them: ``scripted:NAME``, or a run directory.

    Raises:
        UnknownNameError: If one is neither.
    """
    from sayso.app.labelling import SCRIPTED, policy_writer, scripted_writer
    from sayso.app.opening import rollout_limits
    from sayso.cli.restore import restore

    found = []
    for name in names:
        if name.startswith(SCRIPTED):
            found.append(scripted_writer(env, name.removeprefix(SCRIPTED), seed=seed))
            continue
        if not (Path(name) / "config.toml").is_file():
            players = ", ".join(env.open().scripted) or "none"
            raise UnknownNameError(
                where=f"--policy {name}", problem="is no run directory.",
                fix=f"Name a run, or {SCRIPTED}NAME; players: {players}.",
            )  # fmt: skip
        config, learner, _ = restore(Path(name), "last")
        limits = rollout_limits(config.env)
        found.append(policy_writer(learner.policy(), env, limits, name=name, seed=seed))
    return found


def _num_judged(labels: Labels) -> int:
    return sum(one.answer != "skip" for one in labels.judged)


def _show(question: Question, number: int, num: int) -> None:
    print(f"\n--- {number} of {num}\n{_text(question.prompt)}\n")
    for key, text in (("1", question.first), ("2", question.second)):
        print(f"{key}: {printable(text)}\n")


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return printable(prompt)
    return "\n".join(f"{m['role']}: {printable(m['content'])}" for m in prompt)


def _ask() -> Answer | None:
    """What the person says; ``None`` at q or the end of the input."""
    while True:
        print("better> ", end="", flush=True)
        line = sys.stdin.readline()
        said = line.strip().lower()
        if not sys.stdin.isatty():  # a pipe does not show what was typed
            print(printable(said))
        if not line or said in QUIT:
            return None
        if said in KEYS:
            return KEYS[said]
        print(HELP)


def _tell(labels: Labels, out: Path, num: int) -> None:
    count = labels.num_preferences
    ties = sum(one.answer == "tie" for one in labels.judged)
    print(f"{_num_judged(labels)} judgements: {count} preferences and {ties} ties in {out}.")
    alike = labels.agreement()
    if alike is not None:
        print(f"Pairs that were asked twice were judged alike in {alike} of {alike.n}.")
    if _num_judged(labels) < num:
        print("The same command goes on.")
    if count:
        print(f"Learn from them: sayso train persona_rm --set data.path={out}")
