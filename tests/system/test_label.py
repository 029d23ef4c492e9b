"""``sayso label``: a person's answers become preferences, whatever interrupts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from sayso.cli.main import app
from sayso.data.preference_files import read_preferences

WRITERS = ("--policy", "scripted:knows", "--policy", "scripted:random")


def label(out: Path, answers: str, *more: str, writers: tuple[str, ...] = WRITERS) -> Result:
    command = ["label", "sayso/Persona-v0", "--out", str(out), *writers, "-n", "12", *more]
    return CliRunner().invoke(app, command, input=answers)


def journal(out: Path) -> list[dict[str, Any]]:
    lines = out.with_name(f"{out.name}.journal").read_text().splitlines()
    return [json.loads(line) for line in lines][1:]


def test_answers_become_preferences_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    first = label(out, "1\n?\n2\nt\ns\nq\n", "--repeat", "0")
    assert first.exit_code == 0, first.output
    assert "3 judgements: 2 preferences and 1 ties" in first.output
    assert "1 or 2: which is better" in first.output.split("better> ?")[1]
    asked = journal(out)
    assert [row["answer"] for row in asked] == ["first", "second", "tie", "skip"]
    read = read_preferences(out)
    assert (read[0].chosen, read[0].rejected) == (asked[0]["first"], asked[0]["second"])
    assert (read[1].chosen, read[1].rejected) == (asked[1]["second"], asked[1]["first"])
    assert read[0].prompt == asked[0]["prompt"]
    second = label(out, "1\n" * 20, "--repeat", "0")
    assert "12 judgements" in second.output
    assert len(read_preferences(out)) == 11
    assert len({row["pair"] for row in journal(out)}) == len(journal(out)) == 13
    whole = tmp_path / "whole.jsonl"
    label(whole, "1\n2\nt\ns\n" + "1\n" * 20, "--repeat", "0")
    assert whole.read_bytes() == out.read_bytes()


def test_the_order_is_shuffled_and_the_writers_are_not_shown(tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    shown = label(out, "1\n" * 12)
    assert {row["writer_first"] for row in journal(out)} == {"scripted:knows", "scripted:random"}
    assert "knows" not in shown.output.split("--- 1 of")[1].split("12 judgements")[0]


def test_some_pairs_are_asked_again_the_other_way_round(tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    always_first = label(out, "1\n" * 12, "--repeat", "0.5")
    again = [row for row in journal(out) if row["is_again"]]
    assert again
    before = {row["pair"]: row for row in journal(out) if not row["is_again"]}
    assert all(before[row["pair"]]["first"] == row["second"] for row in again)
    assert "judged alike in 0.000 [0.000, " in always_first.output
    assert len(read_preferences(out)) == 12 - len(again)


def test_a_crash_between_journal_and_file_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    label(out, "1\n1\nq\n", "--repeat", "0")
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1][:9])
    label(out, "q\n", "--repeat", "0")
    assert out.read_bytes() == b"".join(lines)


def test_other_questions_files_and_writers_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    label(out, "1\nq\n")
    assert "other questions" in str(label(out, "1\n", "--seed", "5").exception)
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text("{}\n")
    assert "not written by sayso label" in str(label(foreign, "1\n").exception)
    assert "is missing" in str(label(tmp_path / "x", "", writers=()).exception)
    unknown = label(tmp_path / "x", "", writers=("--policy", "nowhere"))
    assert "scripted:NAME; players: random" in str(unknown.exception)


def test_comparisons_of_scripted_players_are_written_once(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    command = ["comparisons", "sayso/Persona-v0", "--writer", "knows", "--writer", "random", "-n",
               "5", "--temperature", "0", "--out", str(out), "--json"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    gaps = [p.gap for p in read_preferences(out)]
    assert all(gap is not None and gap >= 0 for gap in gaps)  # without noise the better one wins
    right = sum(1.0 if gap else 0.5 for gap in gaps) / 5  # of two equal texts, either
    assert json.loads(done.stdout) == {"out": str(out), "pairs": 5, "right_frac": right}
    assert right > 0.5
    assert "is there already" in str(CliRunner().invoke(app, command).exception)
