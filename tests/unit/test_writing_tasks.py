"""The tasks of Writing-v0: fixed, disjoint by content, and unseen is unseen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sayso.envs.writing_tasks import NUM_TASKS, PAIRS_OF_LENGTH, _bucket, pools, render, tasks
from sayso.rewards.constraints import CONSTRAINTS

TRAINED_KINDS = {
    "length", "lines", "sentences", "use", "avoid", "ending", "first_word", "tone", "place", "time",
}  # fmt: skip


def constraints(split: str) -> Iterator[dict[str, Any]]:
    for task in tasks(split):
        yield from task.payload["constraints"]


def marks(payload: Any) -> set[str]:
    """What makes a task unseen: a kind, a count or a word that train never has."""
    found = set()
    for constraint in payload["constraints"]:
        if constraint["kind"] not in TRAINED_KINDS:
            found.add(constraint["kind"])
        if constraint["kind"] == "lines" and constraint["count"] > 2:
            found.add("three_lines")
        if constraint["kind"] == "sentences" and constraint["count"] > 1:
            found.add("two_sentences")
    return found


def test_thousands_of_tasks_without_two_alike() -> None:
    for split, count in NUM_TASKS.items():
        listed = tasks(split)
        assert len(listed) == count >= 1000
        assert len({task.content_hash for task in listed}) == count
        assert len({task.id for task in listed}) == count
        assert {task.split for task in listed} == {split}


def test_an_unknown_split_has_no_tasks() -> None:
    assert tasks("nowhere") == ()


def test_the_splits_share_no_content() -> None:
    hashes = {split: {task.content_hash for task in tasks(split)} for split in NUM_TASKS}
    assert not hashes["train"] & hashes["held_out"]
    assert not hashes["train"] & hashes["unseen"]
    assert not hashes["held_out"] & hashes["unseen"]


def test_train_and_held_out_are_told_apart_by_their_constraints_alone() -> None:
    assert all(_bucket(task.payload) != 0 for task in tasks("train"))
    assert all(_bucket(task.payload) == 0 for task in tasks("held_out"))


def test_train_and_held_out_have_the_same_kinds_about_as_often() -> None:
    shares = {}
    for split in ("train", "held_out"):
        listed = [constraint["kind"] for constraint in constraints(split)]
        shares[split] = {kind: listed.count(kind) / NUM_TASKS[split] for kind in TRAINED_KINDS}
        assert set(listed) == TRAINED_KINDS
    assert all(abs(shares["train"][k] - shares["held_out"][k]) < 0.06 for k in TRAINED_KINDS)


def test_every_unseen_task_asks_for_something_that_train_never_has() -> None:
    assert all(len(marks(task.payload)) == 1 for task in tasks("unseen"))
    assert not any(marks(task.payload) for task in tasks("train"))
    assert not any(marks(task.payload) for task in tasks("held_out"))
    seen = set().union(*(marks(task.payload) for task in tasks("unseen")))
    assert seen == {"last_word", "number", "name", "two_sentences", "three_lines"}


def test_words_to_use_in_unseen_are_never_asked_for_in_train() -> None:
    asked = {
        split: {w for c in constraints(split) if c["kind"] == "use" for w in c["words"]}
        for split in NUM_TASKS
    }
    assert asked["unseen"]
    assert not asked["unseen"] & (asked["train"] | asked["held_out"])


def test_every_kind_has_a_check_and_every_payload_is_json() -> None:
    for split in NUM_TASKS:
        for task in tasks(split):
            assert json.loads(json.dumps(task.payload)) == task.payload
            assert {c["kind"] for c in task.payload["constraints"]} <= set(CONSTRAINTS)


def test_no_task_contradicts_itself() -> None:
    for split in NUM_TASKS:
        for task in tasks(split):
            kinds = [c["kind"] for c in task.payload["constraints"]]
            assert len(kinds) == len(set(kinds))
            avoided = {
                w for c in task.payload["constraints"] if c["kind"] == "avoid" for w in c["words"]
            }
            wanted = {
                w.lower()
                for c in task.payload["constraints"]
                if c["kind"] != "avoid"
                for w in (*c.get("words", ()), c.get("word", ""))
            }
            assert not avoided & wanted, task.payload["prompt"]


def test_a_question_starts_with_a_question_word_when_the_first_word_is_asked_for() -> None:
    found = pools()
    for task in tasks("train"):
        by_kind = {c["kind"]: c for c in task.payload["constraints"]}
        if by_kind.get("ending", {}).get("mark") == "?" and "first_word" in by_kind:
            assert by_kind["first_word"]["word"] in found["first_question"]


def test_the_prompt_says_each_constraint() -> None:
    for split in NUM_TASKS:
        for task in tasks(split):
            prompt = task.payload["prompt"]
            assert prompt == render(task.payload["genre"], task.payload["constraints"])
            for constraint in task.payload["constraints"]:
                match constraint["kind"]:
                    case "length":
                        assert f"{constraint['low']} to {constraint['high']} words" in prompt
                    case "use" | "avoid":
                        assert all(f'"{word}"' in prompt for word in constraint["words"])
                    case "first_word" | "last_word":
                        assert f'"{constraint["word"]}"' in prompt
                    case "tone" | "place" | "time":
                        assert constraint["label"] in prompt
                    case "name":
                        assert constraint["words"][0] in prompt


def test_a_rendered_prompt_reads_like_this() -> None:
    listed = [
        {"kind": "length", "low": 8, "high": 14},
        {"kind": "sentences", "count": 1},
        {"kind": "use", "words": ["lantern", "river"]},
        {"kind": "tone", "label": "sad", "words": ["tears"]},
        {"kind": "ending", "mark": "!"},
    ]
    assert render("story", listed) == (
        'Write one sentence of a sad story, 8 to 14 words. Use the words "lantern" and "river". '
        "End with an exclamation mark."
    )


def test_a_rendered_poem_reads_like_this() -> None:
    listed = [
        {"kind": "length", "low": 9, "high": 13},
        {"kind": "lines", "count": 2},
        {"kind": "time", "label": "in winter", "words": ["snow"]},
        {"kind": "first_word", "word": "They"},
    ]
    assert render("poem", listed) == (
        'Write a poem set in winter in two lines that starts with "They", 9 to 13 words.'
    )


def test_prompts_are_short_and_answers_fit_forty_tokens() -> None:
    for split in NUM_TASKS:
        assert max(len(task.payload["prompt"].split()) for task in tasks(split)) <= 36
    assert max(high for _, high in PAIRS_OF_LENGTH) <= 16


@pytest.mark.medium
def test_another_process_draws_the_same_tasks() -> None:
    program = (
        "from sayso.envs.writing_tasks import tasks\n"
        "import hashlib\n"
        "for s in ('train', 'held_out', 'unseen'):\n"
        "    text = ''.join(t.content_hash for t in tasks(s))\n"
        "    print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    here = [
        hashlib.sha256("".join(t.content_hash for t in tasks(s)).encode()).hexdigest()
        for s in ("train", "held_out", "unseen")
    ]
    assert other.split() == here
