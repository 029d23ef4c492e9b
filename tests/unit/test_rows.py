"""Rows of a user's own: read strictly, split by content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sayso.envs.rows import read_rows, tasks_of_rows
from sayso.envs.tasks import bucket
from sayso.errors import DataError


def write(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def check(row: dict[str, Any]) -> str:
    return "" if "a" in row else "has no a"


def test_all_wrong_rows_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"a": 1}, "{", "", {"b": 1}, [], {"a": 1, "split": "test"})
    with pytest.raises(DataError) as raised:
        read_rows(path, check)
    said = str(raised.value)
    assert "line 2: is no JSON" in said
    assert "line 4: has no a" in said
    assert "line 5: is no JSON object" in said
    assert "line 6: `split` is 'test'" in said
    assert "line 1:" not in said


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        read_rows(tmp_path / "nowhere.jsonl", check)
    with pytest.raises(DataError, match="has no rows"):
        read_rows(write(tmp_path / "x.jsonl", ""), check)


def posed(rows: list[dict[str, Any]]) -> dict[str, set[tuple[int, int]]]:
    found = tasks_of_rows(rows, "E", key=lambda row: row["a"], payload=dict)
    return {s: {(t.payload["a"], t.payload["b"]) for t in tasks} for s, tasks in found.items()}


def test_what_has_the_same_key_is_in_one_split_and_a_fifth_is_held_out() -> None:
    rows = [{"a": a, "b": b} for a in range(200) for b in range(2)]
    found = posed(rows)
    assert not {a for a, _ in found["train"]} & {a for a, _ in found["held_out"]}
    assert {a for a, _ in found["held_out"]} == {a for a in range(200) if bucket(a) == 0}
    assert 20 <= len(found["held_out"]) // 2 <= 60
    assert sum(map(len, found.values())) == 400


def test_a_rows_own_split_decides_and_the_first_row_decides_for_its_key() -> None:
    rows = [{"a": 1, "b": 1, "split": "unseen"}, {"a": 1, "b": 2, "split": "train"}]
    assert posed(rows) == {"train": set(), "held_out": set(), "unseen": {(1, 1), (1, 2)}}


def test_a_content_that_comes_twice_is_one_task() -> None:
    assert sum(map(len, posed([{"a": 1, "b": 1}, {"a": 1, "b": 1}]).values())) == 1
