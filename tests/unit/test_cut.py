"""Tasks that a seed poses: cut by content, found by id, the same every time."""

from __future__ import annotations

from typing import Any

import pytest

from sayso.envs.cut import cut_tasks, is_held_out
from sayso.envs.tasks import HELD_OUT_ONE_IN
from sayso.errors import EnvContractError


def pose(index: int, seed: int) -> tuple[dict[str, Any], str]:
    return {"family": index % 3}, f"{index % 3}: {seed % 400}"


def test_no_content_is_in_train_and_held_out_and_both_are_full() -> None:
    contents = {}
    for split, count in {"train": 600, "held_out": 200}.items():
        tasks = cut_tasks("mine/X-v0", split, count, pose)
        assert len(tasks) == count
        contents[split] = {pose(i, task.payload["seed"])[1] for i, task in enumerate(tasks)}
    assert contents["train"].isdisjoint(contents["held_out"])
    assert all(map(is_held_out, contents["held_out"]))
    assert not any(map(is_held_out, contents["train"]))


def test_a_fifth_of_all_contents_is_held_out() -> None:
    share = sum(is_held_out(str(number)) for number in range(10_000)) / 10_000
    assert abs(share - 1 / HELD_OUT_ONE_IN) < 0.016  # four standard errors


def test_unseen_takes_every_content() -> None:
    tasks = cut_tasks("mine/X-v0", "unseen", 100, pose)
    kinds = {is_held_out(pose(i, task.payload["seed"])[1]) for i, task in enumerate(tasks)}
    assert kinds == {True, False}


def test_tasks_are_the_same_every_time_and_found_by_their_ids() -> None:
    one, two = (cut_tasks("mine/X-v0", "train", 50, pose) for _ in range(2))
    assert list(one) == list(two)
    assert one.index_of("train-00049") == 49
    for wrong in ("train-00050", "train-49", "held_out-00001", "train-²"):
        assert one.index_of(wrong) is None


def test_a_game_that_never_varies_is_told_instead_of_searched_for_ever() -> None:
    always = "alike" if not is_held_out("alike") else "the same"
    assert not is_held_out(always)
    with pytest.raises(EnvContractError, match="varies more"):
        cut_tasks("mine/X-v0", "held_out", 5, lambda index, seed: ({}, always))[0]
