"""Acts of ``sayso/Tutor-v0``, each with its words, and players that choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sayso.envs.base import TextEnv
from sayso.envs.scripted import Act, Scripted
from sayso.envs.tutor_lesson import Lesson
from sayso.envs.tutor_skills import SKILLS, Problem, draw
from sayso.envs.tutor_student import (
    EASY,
    EXPLAINED,
    EXPLAINED_AGAIN,
    EXPLAINED_AT_ONCE,
    HARD_TOLD,
    HARD_UNTOLD,
    HINTED,
    states,
)

ASKED = ("What is {}?", "Can you work out {}?", "Please work out {}.")
INIT, LEARN, GUESS, SLIP = 0.4, 0.3, 0.2, 0.1
"""Rates that the player ``mastery`` supposes of every skill of every student."""
SURE = 0.9
"""Belief at which it takes a skill as mastered."""
LIKELY = 0.5
"""Belief from which it does without an explanation."""
MIXTURE = 0.5
"""Share of random acts of the player ``mixture``."""


class Classroom(Protocol):
    """What the players look at."""

    @property
    def lesson(self) -> Lesson:
        """The lesson in progress."""
        ...

    @property
    def listed(self) -> Mapping[str, str]:
        """The acts of this turn, by name."""
        ...


def acts(lesson: Lesson, rng: np.random.Generator) -> dict[str, str]:
    """What the tutor may do next, by name.

    ``ask_easy_0``, ``ask_hard_0`` and ``explain_0`` for the first skill, and so on, and ``hint``
    after a wrong answer. Made of the skills and of what was posed before; nothing that the
    student hides is looked at.
    """
    found = {}
    for place, name in enumerate(lesson.names):
        for level, is_hard in (("easy", False), ("hard", True)):
            problem = draw(rng, name, lesson.used, hard=is_hard)
            asked = ASKED[int(rng.integers(len(ASKED)))].format(problem.text())
            found[f"ask_{level}_{place}"] = f"Ask {name}: {asked}"
        worked = draw(rng, name, lesson.used, hard=False)
        says = f"{SKILLS[name].says}, so {worked.text()} = {worked.answer}."
        found[f"explain_{place}"] = f"Explain {name}: {says}"
    if lesson.missed is not None and (step := _step(lesson.missed[0])):
        found["hint"] = f"Hint: First we see that {step.text()} = {step.answer}."
    return found


def _step(missed: Problem) -> Problem | None:
    """A step towards a problem that does not show its answer, if a simple one is known."""
    a, b = missed.left, missed.right
    steps = {
        "+": (Problem(a % 10, "+", b % 10), Problem(a, "+", 1), Problem(b, "+", 1)),
        "-": (Problem(a, "-", 1), Problem(b, "+", 1), Problem(a, "-", 2)),
        "x": (Problem(a // 10 * 10, "x", b), Problem(a, "x", 2), Problem(b, "x", 2)),
        "/": (Problem(b, "x", 2), Problem(b, "x", 3)),
        "%": (Problem(b, "/", 10), Problem(b, "/", 5)),
    }
    for step in steps[missed.sign]:
        shown = {step.left, step.right, step.answer}
        is_new = step.left > 0 and step.key != missed.key
        if is_new and step.answer is not None and missed.answer not in shown:
            return step
    return None


class Estimate:
    """Knowledge tracing by what the tutor saw, with supposed rates: skill by skill, no secrets."""

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self.needs = [skill.needs for skill in lesson.student.skills]  # told in the first turn
        self.known: NDArray[np.float64] = np.full(len(lesson.names), INIT)
        for place, needs in enumerate(self.needs):
            self.known[place] *= np.prod(self.known[list(needs)]) if needs else 1.0
        self.explained: set[int] = set()
        self.practised: set[int] = set()
        for kind, place, right in lesson.log:
            self._see(kind, place, right)

    def _see(self, kind: str, place: int, right: bool | None) -> None:  # noqa: FBT001
        """One turn: Bayes' rule for an answer, then the chance that something was learned."""
        if not kind:
            return
        if right is not None:
            known = self.known[place]
            hit, miss = (1 - SLIP, GUESS) if right else (SLIP, 1 - GUESS)
            self.known[place] = known * hit / (known * hit + (1 - known) * miss)
            self.practised.add(place)
        worth = {"ask": EASY, "hint": HINTED, "explain": self.explaining(place)}[kind]
        ready = np.prod(self.known[list(self.needs[place])])
        self.known[place] += (1 - self.known[place]) * min(1.0, worth * LEARN) * ready
        if kind == "explain":
            self.explained.add(place)
            self.practised.discard(place)

    def explaining(self, place: int) -> float:
        """As ``Student.explaining``."""
        if place not in self.explained:
            return EXPLAINED
        return EXPLAINED_AGAIN if place in self.practised else EXPLAINED_AT_ONCE


def _mastery(env: TextEnv, draws: np.random.Generator) -> str:
    """The first skill not yet taken as mastered: explain it, then practise until it is."""
    del draws
    room = cast("Classroom", env)
    estimate = Estimate(room.lesson)
    open_ = [p for p, known in enumerate(estimate.known) if known < SURE]
    if "hint" in room.listed and room.lesson.missed and room.lesson.missed[1] in open_[:1]:
        return room.listed["hint"]
    if not open_:  # all is believed mastered: test what is least sure
        return room.listed[f"ask_hard_{int(np.argmin(estimate.known))}"]
    place = open_[0]
    if place not in estimate.explained and estimate.known[place] < LIKELY:
        return room.listed[f"explain_{place}"]
    level = "hard" if place in estimate.explained else "easy"
    return room.listed[f"ask_{level}_{place}"]


def _oracle(env: TextEnv, draws: np.random.Generator) -> str:
    """The act that most probably teaches now, of the skills that can be learned now."""
    del draws
    room = cast("Classroom", env)
    lesson = room.lesson
    student, worth = lesson.student, {}
    for place, skill in enumerate(student.skills):
        ready = student.mastered[list(skill.needs)].all() and not student.mastered[place]
        told = HARD_TOLD if place in student.explained else HARD_UNTOLD
        chance = skill.learn * float(ready)
        worth[f"ask_easy_{place}"] = EASY * chance
        worth[f"ask_hard_{place}"] = told * chance
        worth[f"explain_{place}"] = student.explaining(place) * chance
        if "hint" in room.listed and lesson.missed and lesson.missed[1] == place:
            worth["hint"] = HINTED * chance
    best = max(worth, key=lambda name: worth[name])
    if worth[best] > 0:
        return room.listed[best]
    # All is learned: show it to the observer.
    return room.listed[f"ask_hard_{int(np.argmin(student.belief @ states(len(lesson.names))))}"]


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    listed = list(cast("Classroom", env).listed.values())
    return listed[int(draws.integers(len(listed)))]


def _drill(env: TextEnv, draws: np.random.Generator) -> str:
    """Easy exercises of the first skill, for ever."""
    del draws
    return cast("Classroom", env).listed["ask_easy_0"]


def _exam(env: TextEnv, draws: np.random.Generator) -> str:
    """Exercises of all skills in turn; nothing is explained."""
    del draws
    room = cast("Classroom", env)
    return room.listed[f"ask_easy_{room.lesson.num_turns % len(room.lesson.names)}"]


def _mixture(env: TextEnv, draws: np.random.Generator) -> str:
    act: Act = _random if draws.random() < MIXTURE else _mastery
    return act(env, draws)


PLAYERS: Mapping[str, Scripted] = MappingProxyType(
    {
        "oracle": Scripted(act=_oracle, about="what teaches most now", is_oracle=True),
        "mastery": Scripted(act=_mastery, about="knowledge tracing with supposed rates"),
        "mixture": Scripted(act=_mixture, about=f"{MIXTURE:.0%} random acts, else mastery"),
        "random": Scripted(act=_random, about="any of the listed acts"),
        "exam": Scripted(act=_exam, about="easy exercises of all skills in turn"),
        "drill": Scripted(act=_drill, about="easy exercises of the first skill"),
    }
)
