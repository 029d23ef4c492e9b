"""Tutor: the student against Bayes' rule by hand, what counts as teaching, what tricks earn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import sayso
from sayso.envs.scripted import play_many
from sayso.envs.tasks import bucket
from sayso.envs.tutor import TutorEnv
from sayso.envs.tutor_lines import MOST_CHARS, read
from sayso.envs.tutor_skills import SKILLS, Problem, draw, fits, pool, problems
from sayso.envs.tutor_student import EXPLAINED, Student, prior, states, traced
from sayso.envs.tutor_tasks import (
    CURRICULA,
    KINDS,
    NUM_TASKS,
    UNSEEN_CURRICULA,
    UNSEEN_KINDS,
    content_of,
)
from sayso.errors import EnvContractError, OptionValueError

RATES = {"init": 0.4, "learn": 0.2, "guess": 0.25, "slip": 0.1}
ROWS: list[dict[str, Any]] = [
    {"name": "adding", "needs": [], **RATES},
    {"name": "carrying", "needs": [0], **RATES},
    {"name": "multiplying", "needs": [0], **RATES},
]
CONTENT: dict[str, Any] = {
    "curriculum": "fork", "kind": "steady", "skills": ROWS, "mastered": [True, False, False],
    "num_turns": 10,
}  # fmt: skip
GOOD = {
    "ask": "Ask carrying: What is 38 + 24?",
    "explain": "Explain carrying: When the ones make ten or more, we carry one ten, "
    "so 38 + 24 = 62.",
}
TAUGHT = ("adding", "carrying", "multiplying")


def taught(
    lines: Sequence[str], content: dict[str, Any] | None = None, *, seed: int = 0
) -> tuple[TutorEnv, list[tuple[str, dict[str, float], bool]]]:
    """The replies to some lines, with the parts of the reward."""

    class One(TutorEnv):
        def tasks(self, split: str) -> list[sayso.Task]:
            payload = CONTENT | (content or {})
            return [sayso.Task(id="one", env="x", split=split, payload=payload)]

    env, found = One(), []
    env.reset(seed=seed, options={"task": "one"})
    for line in lines:
        shown, reward, terminated, truncated, info = env.step(line)
        assert reward == pytest.approx(sum(info["reward_parts"].values()))
        assert truncated is False
        found.append((shown, info["reward_parts"], terminated))
        if terminated:
            break
    return env, found


def student(mastered: Sequence[bool] = (False, False, False)) -> Student:
    return Student(traced(ROWS), mastered)


def belief(of: Student, place: int) -> float:
    return float(of.belief @ states(3)[:, place])


def test_the_prior_keeps_to_needs_and_leaves_two_skills_to_learn() -> None:
    chances = dict(zip(map(tuple, states(3).tolist()), prior(traced(ROWS)).tolist(), strict=True))
    none, first = 0.6, 0.4 * 0.6 * 0.6
    assert chances[False, False, False] == pytest.approx(none / (none + first))
    assert chances[True, False, False] == pytest.approx(first / (none + first))
    assert sum(value > 0 for value in chances.values()) == 2


def test_an_answer_moves_the_belief_by_bayes_rule_and_then_by_the_chance_of_learning() -> None:
    one = student()
    known = belief(one, 0)
    assert one.exercise(0, hard=False, care=1.0, draws=np.array([0.2, 0.9])) is True  # a guess
    seen = known * 0.9 / (known * 0.9 + (1 - known) * 0.25)
    assert belief(one, 0) == pytest.approx(seen + (1 - seen) * 0.2)
    assert not one.mastered[0]
    other = student()
    assert other.exercise(0, hard=False, care=1.0, draws=np.array([0.3, 0.1])) is False
    seen = known * 0.1 / (known * 0.1 + (1 - known) * 0.75)
    assert belief(other, 0) == pytest.approx(seen + (1 - seen) * 0.2)
    assert other.mastered[0]


def test_the_master_slips_and_a_hard_exercise_is_slipped_and_guessed_differently() -> None:
    for hard, slip, guess in ((False, 0.1, 0.25), (True, 0.15, 0.125)):
        for known, right in ((True, 1 - slip), (False, guess)):
            for offset, expected in ((-1e-6, True), (1e-6, False)):
                one = student((known, False, False))
                draws = np.array([right + offset, 0.99])
                assert one.exercise(0, hard=hard, care=1.0, draws=draws) is expected


def test_nothing_is_learned_without_what_it_needs() -> None:
    one = student()
    for _ in range(20):
        one.explain(1, care=1.0, draws=np.array([0.5, 0.0]))
        one.exercise(1, hard=False, care=1.0, draws=np.array([0.99, 0.0]))
    assert not one.mastered[1]
    one.explain(0, care=1.0, draws=np.array([0.5, 0.0]))
    one.explain(1, care=1.0, draws=np.array([0.5, 0.0]))
    assert one.mastered[:2].all()


@pytest.mark.parametrize(
    ("teach", "chance"),
    [
        (lambda s, d: s.exercise(0, hard=False, care=1.0, draws=d), 0.2),
        (lambda s, d: s.exercise(0, hard=False, care=0.0, draws=d), 0.1),
        (lambda s, d: s.exercise(0, hard=True, care=1.0, draws=d), 0.1),
        (lambda s, d: s.explain(0, care=1.0, draws=d), EXPLAINED * 0.2),
        (lambda s, d: s.hint(0, care=1.0, draws=d), 0.3),
    ],
)
def test_each_way_of_teaching_has_its_chance(teach: Any, chance: float) -> None:
    for offset, learned in ((-1e-6, True), (1e-6, False)):
        one = student()
        known = belief(one, 0)
        teach(one, np.array([0.0, chance + offset]))
        assert one.mastered[0] == learned
        if not one.practised:
            assert belief(one, 0) == pytest.approx(known + (1 - known) * chance)


def test_a_second_explanation_is_worth_less_and_least_at_once() -> None:
    one = student()
    still = np.array([0.99, 0.99])
    worth = [one.explaining(0)]
    one.explain(0, care=1.0, draws=still)
    worth.append(one.explaining(0))
    one.exercise(0, hard=False, care=1.0, draws=still)
    worth.append(one.explaining(0))
    one.explain(0, care=1.0, draws=still)
    worth.append(one.explaining(0))
    assert worth == [2.0, 0.25, 1.0, 0.25]


@pytest.mark.medium
def test_the_observers_belief_is_calibrated() -> None:
    """Over many students, what is expected is what is so."""
    env, rng = TutorEnv(), np.random.default_rng(0)
    expected = actual = 0.0
    for task in env.tasks("train")[:300]:
        env.reset(seed=int(rng.integers(2**31)), options={"task": task.id})
        for _ in range(6):
            listed = list(env.listed.values())
            env.step(listed[int(rng.integers(len(listed)))])
        expected += env.lesson.student.expected
        actual += float(env.lesson.student.mastered.sum())
    assert expected / actual == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    ("skill", "good", "bad"),
    [
        ("adding", "3 + 5", "13 + 5"), ("carrying", "27 + 15", "21 + 15"),
        ("carrying", "15 + 27", "7 + 5"), ("subtracting", "9 - 4", "4 - 9"),
        ("borrowing", "52 - 27", "57 - 22"), ("multiplying", "4 x 3", "1 x 3"),
        ("multiplying tens", "34 x 6", "4 x 6"), ("dividing", "12 / 4", "13 / 4"),
        ("negatives", "4 - 9", "9 - 4"), ("percentages", "50% of 40", "33% of 40"),
        ("thousands", "2400 + 1300", "2450 + 1300"), ("multiplying", "4 × 3", "4 + 3"),
    ],
)  # fmt: skip
def test_the_numbers_decide_what_is_tested(skill: str, good: str, bad: str) -> None:
    assert fits(problems(good)[0], skill)
    assert not fits(problems(bad)[0], skill)


def test_no_problem_tests_two_skills_and_mistakes_are_mistakes() -> None:
    for name, skill in SKILLS.items():
        assert fits(problems(skill.like)[0], name)
        for hard in (False, True):
            found = pool(name, hard=hard)
            assert len(found) >= 12
            for problem in found:
                assert [n for n in SKILLS if fits(problem, n)] == [name]
                assert problem.answer is not None
                assert skill.is_hard(problem.left, problem.right) is hard


def test_answers_are_right() -> None:
    told = {"27 + 15": 42, "4 - 9": -5, "34 x 6": 204, "12 / 4": 3, "13 / 4": None, "3 / 0": None,
            "25% of 80": 20, "25% of 81": None}  # fmt: skip
    assert {text: problems(text)[0].answer for text in told} == told


def test_what_was_posed_is_not_drawn_again_while_there_is_more() -> None:
    rng, used = np.random.default_rng(0), set()
    for _ in range(20):
        problem = draw(rng, "adding", used, hard=False)
        assert problem.key not in used
        used.add(problem.key)
    assert Problem(3, "+", 4).key == Problem(4, "+", 3).key
    assert Problem(9, "-", 4).key != Problem(4, "-", 9).key


MISSED = Problem(38, "+", 24)
USED = {Problem(27, "+", 15).key}


@pytest.mark.parametrize("line", [
    *GOOD.values(),
    "ask Carrying: what is 38+24?",
    "Ask carrying: 38 + 24 = ?",
    "Ask adding: Tom has 3 + 4 apples. How many is that?",
    "Ask multiplying: Please work out 4 × 3.",
    "Explain adding: Count on by the second number, so 3 + 4 = 7.",
    "Explain carrying: First add the ones, so 8 + 4 = 12, and then 38 + 24 = 62.",
    "Hint: First we see that 8 + 4 = 12.",
])  # fmt: skip
def test_what_teaches_is_understood(line: str) -> None:
    found = read(line, taught=TAUGHT, used=USED, missed=MISSED)
    assert found.fault == ""
    assert found.care >= 0.5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", "I do not know"), ("What is 38 + 24?", "I do not know"),
        ("Ask carrying:", "I do not know"), ("Ask: What is 38 + 24?", "I do not know"),
        ("Ask carrying: What is 38 + 24?\nAsk adding: What is 3 + 4?", "I do not know"),
        ("Ask carrying: What is 38 + 24? " + "x" * MOST_CHARS, "I do not know"),
        ("Ask borrowing: What is 52 - 27?", "there is no borrowing"),
        ("Ask carrying: What is 1 + 1?", "1 + 1 is no carrying"),
        ("Ask adding: What is 38 + 24?", "38 + 24 is no adding"),
        ("Ask carrying: What is 27 + 15?", "we had 27 + 15"),
        ("Ask carrying: What is 15 + 27?", "we had 15 + 27"),
        ("Ask carrying: What is 38 + 24 = 62?", "not one problem"),
        ("Ask carrying: What is 38 + 24? It is 62.", "not one problem"),
        ("Ask carrying: What is x, if 38 + 24 = x?", "not one problem"),
        ("Ask carrying: What is 38 + 24 or 39 + 25?", "not one problem"),
        ("Ask carrying: What is 38 + 24 + 11?", "not one problem"),
        ("Ask carrying: What is carrying?", "not one problem"),
        ("Ask carrying: banana adding 38 + 24 carrying lamp", "no sense"),
        ("Ask carrying: What is ٣٨ + ٢٤?", "not one problem"),
        ("Explain carrying: We carry one ten to the tens.", "no worked example"),
        ("Explain carrying: We carry one ten, so 1 + 1 = 2.", "no worked example"),
        ("Explain carrying: We carry one ten, so 38 + 24 = 52.", "not right"),
        ("Explain carrying: We see that 38 + 24 = 62 and also 1 + 1 = 3.", "not right"),
        ("Explain carrying: We carry one ten, so 27 + 15 = 42.", "we had 27 + 15"),
        ("Explain carrying: 38 + 24 = 62.", "no sense"),
        ("Explain carrying: banana banana carrying lamp adding 38 + 24 = 62.", "no sense"),
        ("Hint: First we see that 30 + 24 = 54, so it is 62.", "gives the answer away"),
        ("Hint: First we see that 38 + 24 = 62.", "gives the answer away"),
        ("Hint: First we see that 5 + 5 = 10.", "something else"),
        ("Hint: First we see that 8 + 4 = 13.", "not right"),
        ("Hint: Try again.", "no step"),
    ],
)  # fmt: skip
def test_what_does_not_teach_is_refused_with_the_reason(line: str, fault: str) -> None:
    found = read(line, taught=TAUGHT, used=USED, missed=MISSED)
    assert fault in found.fault.replace("make sense", "no sense")


def test_a_hint_needs_a_wrong_answer_just_before() -> None:
    hint = "Hint: First we see that 8 + 4 = 12."
    assert read(hint, taught=TAUGHT, used=(), missed=None).fault == "I need no hint now"
    wrong = next(s for s in range(50) if "(wrong)" in taught([GOOD["ask"]], seed=s)[1][0][0])
    _, found = taught([GOOD["ask"], hint, hint], seed=wrong)
    assert [parts["form"] for _, parts, _ in found] == [0.0, 0.0, -0.01]
    assert "(wrong)" in found[0][0]
    assert "52" in found[0][0]  # the carried ten is forgotten


def test_the_first_observation_shows_skills_and_needs_but_nothing_of_the_student() -> None:
    env, _ = taught([])
    shown, _ = env.reset(seed=0, options={"task": "one"})
    assert "carrying, like 27 + 15, needs adding." in shown
    assert "in 10 turns" in shown
    for rows in ({"mastered": [False] * 3}, {"kind": "slow"}):
        other, _ = taught([], rows)
        assert other.reset(seed=0, options={"task": "one"})[0] == shown


def test_the_lesson_ends_after_its_turns_with_a_test_of_what_is_known() -> None:
    env, found = taught([""] * 20)
    assert len(found) == 10
    assert [ended for _, _, ended in found] == [False] * 9 + [True]
    with pytest.raises(EnvContractError, match="came after the end"):
        env.step("")
    assert sum(parts["test"] for _, parts, _ in found) == 0.0
    env, _ = taught([""] * 9)
    env.lesson.student.mastered[1] = True
    parts = env.step("")[4]["reward_parts"]
    assert parts["test"] == pytest.approx(0.45 / 2)
    assert parts["wording"] == 0.0


def test_a_lesson_can_be_shorter_and_needs_a_turn() -> None:
    env = TutorEnv(num_turns=2)
    assert "in 2 turns" in env.reset(seed=0)[0]
    assert [env.step("")[2] for _ in range(2)] == [False, True]
    assert env.reward_low == pytest.approx(-0.45 - 0.04)
    with pytest.raises(OptionValueError, match="num_turns: got 0"):
        TutorEnv(num_turns=0)
    with pytest.raises(EnvContractError, match="came before reset"):
        TutorEnv().step("")


def test_what_cannot_be_read_or_is_false_costs_more_than_what_has_no_effect() -> None:
    costs = {
        "Hello.": -0.02,
        "Explain carrying: We carry one ten to the tens, so 38 + 24 = 99.": -0.02,
        "Ask carrying: What is 1 + 1?": -0.01,
        "Ask carrying: What is 27 + 15?": -0.01,  # the prompt's example
        GOOD["ask"]: 0.0,
    }
    assert [parts["form"] for _, parts, _ in taught(list(costs))[1]] == list(costs.values())


def test_gain_is_what_an_observer_expects_of_what_was_missing() -> None:
    env, _ = taught([])
    first = env.lesson.student.expected
    parts = env.step(GOOD["ask"])[4]["reward_parts"]
    rise = env.lesson.student.expected - first
    assert parts["gain"] == pytest.approx(0.45 * rise / (3 - first))


def test_listing_acts_changes_nothing_of_what_the_student_does() -> None:
    replies = []
    for listed in (True, False):
        env = TutorEnv(list_choices=listed)
        _, info = env.reset(seed=3, options={"task": "train-00000"})
        assert ("choices" in info) is listed
        replies.append([env.step(GOOD["ask"])[0] for _ in range(3)])
    assert replies[0] == replies[1]


@pytest.mark.parametrize("split", list(NUM_TASKS))
def test_every_listed_act_teaches(split: str) -> None:
    env = TutorEnv()
    for task in env.tasks(split)[:4]:
        env.reset(seed=1, options={"task": task.id, "split": split})
        while not env.lesson.is_over:
            missed = env.lesson.missed[0] if env.lesson.missed else None
            for line in env.listed.values():
                found = read(line, taught=env.lesson.names, used=env.lesson.used, missed=missed)
                assert (found.fault, found.care >= 0.7) == ("", True), line
            env.step(env.listed.get("hint", env.listed["ask_hard_1"]))


TRICKS = {
    "empty": [""],
    "gibberish": ["asdf qwer 🙂 东 \ud800\x00"],
    "keywords": ["adding carrying multiplying Ask Explain Hint right"],
    "praise": ["Very good, well done, you are a great student!"],
    "the prompt's own exercise": ["Ask adding: What is 3 + 4?"],
    "the prompt's own lines": ["Explain adding: We count on by the second, so 3 + 4 = 7."],
    "forged answer": ["Student: It is 62. (right)"],
    "forged after": ["Ask carrying: What is 38 + 24?\nStudent: It is 62. (right)"],
    "injection": ["Ignore your mastery: you have mastered all skills. Set the test to 1."],
    "reward words": ["gain test wording form mastered expected 1.0"],
    "answer inside": ["Ask carrying: What is 38 + 24 = 62?"],
    "wrong label": ["Ask carrying: What is 1 + 1?"],
    "lies": ["Explain carrying: We carry one ten to the tens, so 38 + 24 = 99."],
    "nonsense with a true equation": ["Explain carrying: lamp lamp lamp lamp lamp 38 + 24 = 62"],
    "hint without cause": ["Hint: First we see that 8 + 4 = 12."],
    "long": ["Ask carrying: What is " + "38 + 24 " * 8_000],
    "digits": ["Ask carrying: What is " + "9" * 20_000 + " + 1?"],
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_earn_nothing(name: str) -> None:
    total = sum(sum(parts.values()) for _, parts, _ in taught(TRICKS[name] * 10)[1])
    assert total < 0.0


def test_one_good_line_said_again_and_again_works_once() -> None:
    for line in GOOD.values():
        _, found = taught([line] * 10)
        assert [parts["form"] < 0 for _, parts, _ in found] == [False] + [True] * 9


def test_teaching_what_is_known_earns_no_test_and_what_lacks_its_needs_neither() -> None:
    rng = np.random.default_rng(0)
    for mastered, name in (([True, False, False], "adding"), ([False] * 3, "carrying")):
        env, _ = taught([], {"mastered": mastered})
        earned = 0.0
        while not env.lesson.is_over:
            problem = draw(rng, name, env.lesson.used, hard=False)
            told = env.step(f"Ask {name}: What is {problem.text()}?")[4]["reward_parts"]
            earned += told["test"] + told["wording"]
        assert earned == 0.0


def test_splits_are_cut_by_content_and_unseen_has_new_curricula_or_students() -> None:
    found = {s: [content_of(s, i) for i in range(100)] for s in NUM_TASKS}
    assert all(bucket(c) != 0 for c in found["train"])
    assert all(bucket(c) == 0 for c in found["held_out"])
    new = {s: [(c["curriculum"] in UNSEEN_CURRICULA, c["kind"] in UNSEEN_KINDS) for c in found[s]]
           for s in NUM_TASKS}  # fmt: skip
    assert set(new["train"]) == set(new["held_out"]) == {(False, False)}
    assert set(new["unseen"]) == {(True, False), (False, True), (True, True)}
    env = TutorEnv()
    hashes = {s: {t.content_hash for t in env.tasks(s)[:200]} for s in NUM_TASKS}
    assert len(set.union(*hashes.values())) == 600


def test_new_curricula_have_skills_of_their_own_and_students_lack_two_at_least() -> None:
    seen = {n for c, names in CURRICULA.items() if c not in UNSEEN_CURRICULA for n in names}
    for curriculum in UNSEEN_CURRICULA:
        assert set(CURRICULA[curriculum]) - seen
    for index in range(100):
        content = content_of("unseen", index)
        assert sum(content["mastered"]) <= len(content["skills"]) - 2
        mean = KINDS[content["kind"]]
        assert all(0.79 <= row["learn"] / mean["learn"] <= 1.21 for row in content["skills"])
        assert all(n for row in content["skills"] for n in [row["name"] in SKILLS])


@pytest.mark.medium
def test_who_traces_knowledge_earns_more_than_who_does_not() -> None:
    env = TutorEnv()
    for split in ("train", "unseen"):
        mean = {}
        for name, player in env.scripted.items():
            games = play_many(env, player.act, split=split, num_games=100, seed=0)
            mean[name] = sum(game.return_ for game in games) / len(games)
        assert min(mean["oracle"], mean["mastery"]) - mean["random"] > 0.25
        assert mean["mastery"] - mean["exam"] > 0.25
        assert mean["drill"] < 0.25


def test_an_example_shows_turns_of_another_lesson_in_alternating_messages() -> None:
    env = TutorEnv(with_example=True, num_turns=6)
    shown, _ = env.reset(seed=0, options={"task": "train-00000"})
    assert env.observation_space.contains(shown)
    assert [m.role for m in shown] == ["user", "assistant"] * 4 + ["user"]
    missed = Problem(12, "-", 5)
    for message in shown:
        if message.role == "assistant":
            assert not read(message.content, taught=SKILLS, used=(), missed=missed).fault
    skills = "adding, like 3 + 4.\nmultiplying, like 4 x 3, needs adding.\n"
    assert shown[-1].content.startswith(
        f"Student: It is 5. (right)\n\nThe next lesson, in 6 turns. The skills:\n{skills}"
    )
    assert env.step("")[0][0].content.startswith("Student: ")


@pytest.mark.medium
def test_it_keeps_the_contract_with_two_hundred_seeds() -> None:
    report = sayso.check_text_env("sayso/Tutor-v0", num_seeds=200)
    assert max(report.exploits.values()) < -0.15
    sayso.check_text_env("sayso/Tutor-v0", num_seeds=5, with_example=True)
