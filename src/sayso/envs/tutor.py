"""``sayso/Tutor-v0``: teach arithmetic to a simulated student, in a lesson of a few turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.base import Observation, TextEnv
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Chat, Message
from sayso.envs.tutor_acts import PLAYERS, acts
from sayso.envs.tutor_lesson import WEIGHTS, WRONG, Lesson
from sayso.envs.tutor_skills import SKILLS, problems
from sayso.envs.tutor_tasks import ENV_ID, NUM_TURNS, tasks
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import generator
from sayso.types import Task

PROMPT = (
    "You teach arithmetic to a student in {num_turns} turns. The skills:\n"
    "{skills}\n"
    "What a skill needs must be learned before it. In each turn write one line, with a new "
    "problem, such as:\n"
    "Ask {name}: What is {problem}?\n"
    "Explain {name}: {says}, so {problem} = {answer}.\n"
    "Hint: First we see that 1 + 1 = 2. (only after a wrong answer)"
)
NEXT = "\n\nThe next lesson, in {num_turns} turns. The skills:\n{skills}"
"""What follows an example of a lesson."""
EXAMPLE = (
    ("Student: I am ready.", "Explain subtracting: We count back by the second, so 8 - 3 = 5."),
    ("Student: I see.", "Ask subtracting: What is 12 - 5?"),
    ("Student: Is it 8? (wrong)", "Hint: First we see that 12 - 1 = 11."),
    ("Student: All right.", "Ask subtracting: What is 7 - 2?"),
)  # fmt: skip
"""Turns of a lesson: what the student says, what the tutor then says."""
LAST = "Student: It is 5. (right)"


class TutorEnv(TextEnv):
    """Choose what to teach and word it: exercises, explanations and hints for a hidden learner.

    The student has mastered some skills and not others, answers accordingly (with guesses and
    slips), and may learn a skill from each turn that is spent on it, if what the skill needs is
    mastered. An exercise must test the skill that it names, an explanation work out an example
    of it rightly, a hint show a true step; what is wrong, said before or no sentence has no
    effect. The lesson ends after 10 turns, or 13 with four skills; that is a real end.

    The reward is the sum of its parts, from -0.71 to 1; over an episode:

    - ``gain``: 0.45 times the rise in mastery that an ideal observer of the answers expects, as a
      share of what it expected to be missing. Up to 0.45; it falls when a student turns out to
      know less than was expected.
    - ``test``: at the end, 0.45 times the share that is mastered now of what was missing, by the
      student's hidden state.
    - ``wording``: at the end, up to 0.10: mean wording of the turns times the share of the test.
    - ``form``: -0.02 for each turn that cannot be read or is false, -0.01 for one without effect.

    ``info["choices"]`` lists an easy and a hard exercise and an explanation of every skill, and a
    hint where one is due.

    Args:
        num_turns: Turns of a lesson; unset: 10 with three skills, 13 with four.
        list_choices: Give ``info["choices"]``.
        with_example: Observations are messages, and the first shows some turns of another lesson
            before its own. A small model writes commands from the start when it has seen some.
    """

    parts_are_summed = True
    reward_high = 1.0
    part_low, part_high = -WEIGHTS["gain"], WEIGHTS["test"]
    scripted: Mapping[str, Scripted] = PLAYERS

    def __init__(
        self,
        *,
        num_turns: int | None = None,
        list_choices: bool = True,
        with_example: bool = False,
    ) -> None:
        if num_turns is not None and num_turns < 1:
            raise OptionValueError(
                where=f"{ENV_ID}, num_turns", problem=f"got {num_turns}.", fix="Allow at least one."
            )
        self.num_turns, self.list_choices, self.with_example = num_turns, list_choices, with_example
        if with_example:
            self.observation_space = Chat()
        most = max(NUM_TURNS.values()) if num_turns is None else num_turns
        self.reward_low = -WEIGHTS["gain"] + WRONG * most
        self.listed: Mapping[str, str] = {}
        self._lesson: Lesson | None = None
        self._seed = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """Students with a curriculum; in ``unseen`` one of them is of a kind never trained on."""
        return tasks(split)

    @property
    def lesson(self) -> Lesson:
        """The lesson in progress; what an oracle may see."""
        if self._lesson is None:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came before reset.", fix="Call reset first."
            )
        return self._lesson

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Meet the task's student."""
        super().reset(seed=seed)
        self._lesson = Lesson(self.choose(seed, options).payload, self.num_turns)
        self._seed = int(self.np_random.integers(2**31))
        return self._first(), self._info()

    def _first(self) -> Observation:
        """The skills of the lesson, after the rules or after an example."""
        lesson = self.lesson
        lines = "\n".join(_skill_line(lesson, place) for place in range(len(lesson.names)))
        if not self.with_example:
            return _prompt(lesson.names[0], lines, lesson.most_turns)
        rules = _prompt("subtracting", "subtracting, like 9 - 4.", len(EXAMPLE))
        turns = [Message(*pair) for said, told in EXAMPLE
                 for pair in (("user", said), ("assistant", told))]  # fmt: skip
        turns[0] = Message("user", f"{rules}\n{EXAMPLE[0][0]}")
        after = NEXT.format(num_turns=lesson.most_turns, skills=lines)
        return (*turns, Message("user", f"{LAST}{after}"))

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Teach; the student answers."""
        lesson = self.lesson
        if lesson.is_over:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came after the end.", fix="Call reset first."
            )
        reply, parts = lesson.step(action, self.np_random)
        info = {**self._info(), "reward_parts": parts}
        shown = f"Student: {reply}"
        seen: Observation = (Message("user", shown),) if self.with_example else shown
        return seen, sum(parts.values()), lesson.is_over, False, info

    def _info(self) -> dict[str, Any]:
        """The acts of this turn; they have draws of their own, so that listing changes nothing."""
        lesson = self.lesson
        self.listed = acts(lesson, generator(self._seed, "acts", lesson.num_turns))
        return {"choices": list(self.listed.values())} if self.list_choices else {}


def _prompt(name: str, skills: str, num_turns: int) -> str:
    """What a tutor may do, with lines about one skill."""
    (problem,) = problems(SKILLS[name].like)
    return PROMPT.format(
        num_turns=num_turns,
        skills=skills,
        name=name,
        problem=problem.text(),
        answer=problem.answer,
        says=SKILLS[name].says,
    )


def _skill_line(lesson: Lesson, place: int) -> str:
    """A skill, an example, and what it needs."""
    name = lesson.names[place]
    needs = [lesson.names[need] for need in lesson.student.skills[place].needs]
    after = f", needs {' and '.join(needs)}" if needs else ""
    return f"{name}, like {SKILLS[name].like}{after}."
