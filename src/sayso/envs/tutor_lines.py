"""What a line of the tutor is: an exercise, an explanation or a hint, and what is wrong with it.

The numbers are checked, not the prose: an exercise is one problem that tests the skill it names,
an explanation shows a worked example of its skill, a hint a true step that gives nothing away.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sayso.envs.tutor_skills import EQUATION, EXPRESSION, Problem, fits, problem_of, problems
from sayso.rewards.speech import commands_whole, speech
from sayso.rewards.text import words

COMMAND = re.compile(r"(ask|explain) ([a-z ]{1,30}?) ?: ?(\S.*)|(hint) ?: ?(\S.*)", re.IGNORECASE)
ORDERS = re.compile(r"^(?:please )?(?:solve|calculate|compute|find)\b", re.IGNORECASE)
MOST_CHARS = 300
"""Length beyond which a line is not read."""
SAYABLE = 0.3
"""Wording below which a line is no sentence."""
BARE = 0.5
"""Wording of an exercise that is nothing but its problem."""
CLAUSES = ("it is true", "that was right", "this will do")
"""What worked examples stand for; the first of a line, the second, the third."""
MIN_WORDS = {"explain": 5, "hint": 2}
"""Words beside the worked examples."""
Key = tuple[int, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as it is understood.

    Attributes:
        kind: ``"ask"``, ``"explain"``, ``"hint"``; empty: it cannot be read.
        skill: The skill that it names; empty for hints.
        problem: What it poses or works out.
        care: How well it is worded, in [0, 1].
        fault: Why it has no effect; empty: it has.
        is_false: It shows an equation that is wrong.
    """

    kind: str = ""
    skill: str = ""
    problem: Problem | None = None
    care: float = 0.0
    fault: str = ""
    is_false: bool = False


def read(
    text: str, *, taught: Collection[str], used: Collection[Key], missed: Problem | None
) -> Line:
    """Read a line.

    Args:
        text: What the tutor wrote.
        taught: Skills of the curriculum.
        used: Keys of the problems that were posed or worked out before.
        missed: The exercise just answered wrongly, if one was.
    """
    line = text.strip()
    found = COMMAND.fullmatch(line) if len(line) <= MOST_CHARS else None
    if found is None:
        return Line(fault="I do not know what to do")
    if found[4]:
        return _hint(found[5], missed)
    kind, skill, rest = found[1].lower(), " ".join(found[2].lower().split()), found[3]
    if skill not in taught:
        return Line(kind=kind, fault=f"there is no {skill} in this lesson")
    return _ask(skill, rest, used) if kind == "ask" else _explain(skill, rest, used)


def _ask(skill: str, text: str, used: Collection[Key]) -> Line:
    """An exercise: one problem of the skill, new, without its answer."""
    text = re.sub(r" ?= ?\?", "?", text)
    posed = problems(text)
    rest = EXPRESSION.sub("", text)
    if len(posed) != 1 or "=" in text or re.search(r"\d", rest):
        return Line(kind="ask", skill=skill, fault="that is not one problem without its answer")
    (problem,) = posed
    care = _care(EXPRESSION.sub("12", text)) if words(rest) else BARE
    fault = ""
    if not fits(problem, skill):
        fault = f"{problem.text()} is no {skill}"
    elif problem.key in used:
        fault = f"we had {problem.text()} already"
    elif care < SAYABLE:
        fault = "I cannot make sense of the words"
    return Line(kind="ask", skill=skill, problem=problem, care=care, fault=fault)


def _explain(skill: str, text: str, used: Collection[Key]) -> Line:
    """An explanation: words, and a worked example of the skill that is new and right."""
    worked = list(_worked(text))
    own = [p for p, _ in worked if fits(p, skill)]
    care = _care(_as_clauses(text))
    fault = ""
    if any(not is_right for _, is_right in worked):
        return Line(kind="explain", skill=skill, fault="that is not right", is_false=True)
    if not own:
        fault = f"there is no worked example of {skill}"
    elif all(problem.key in used for problem in own):
        fault = f"we had {own[0].text()} already"
    elif len(words(EQUATION.sub("", text))) < MIN_WORDS["explain"] or care < SAYABLE:
        fault = "I cannot make sense of the words"
    problem = next((p for p in own if p.key not in used), None)
    return Line(kind="explain", skill=skill, problem=problem, care=care, fault=fault)


def _hint(text: str, missed: Problem | None) -> Line:
    """A hint: a true step towards the missed exercise, with one of its numbers, not its answer."""
    worked = list(_worked(text))
    care = _care(_as_clauses(text))
    if any(not is_right for _, is_right in worked):
        return Line(kind="hint", fault="that is not right", is_false=True)
    fault = ""
    if missed is None:
        fault = "I need no hint now"
    elif not worked:
        fault = "I see no step in that"
    elif str(missed.answer) in re.findall(r"-?\d+", text):
        fault = "that gives the answer away"
    elif not any(_numbers(p) & _numbers(missed) for p, _ in worked):
        fault = "that has to do with something else"
    elif len(words(EQUATION.sub("", text))) < MIN_WORDS["hint"] or care < SAYABLE:
        fault = "I cannot make sense of the words"
    return Line(kind="hint", problem=worked[0][0] if worked else None, care=care, fault=fault)


def _worked(text: str) -> Iterable[tuple[Problem, bool]]:
    """Worked examples of a text, and whether each is right."""
    for groups in EQUATION.findall(text):
        problem = problem_of(groups)
        yield problem, problem.answer == int(groups[5])


def _numbers(problem: Problem) -> set[int]:
    """A problem's numbers, with their tens and ones."""
    found = {problem.left, problem.right}
    return found | {n % 10 for n in found} | {n // 10 * 10 for n in found} - {0}


def _care(text: str) -> float:
    """Wording of a text whose problems stand as "12" and whose examples as short clauses."""
    text = ORDERS.sub("You find", text)
    return speech(commands_whole(text[:1].upper() + text[1:]))


def _as_clauses(text: str) -> str:
    """The text with a clause for each worked example, as its words are judged."""
    clauses = itertools.chain(CLAUSES, itertools.repeat("fine"))
    return EQUATION.sub(lambda _: next(clauses), text)
