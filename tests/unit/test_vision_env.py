"""Vision-v0: pictures from tasks, splits, players, what the text alone tells, own rows."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sayso.envs.media import Media
from sayso.envs.scripted import bounds
from sayso.envs.tasks import bucket
from sayso.envs.vision import VisionEnv
from sayso.envs.vision_draw import is_inside, picture
from sayso.envs.vision_tasks import FAMILIES, NUM_TASKS, SCENES, is_unseen, tasks
from sayso.errors import DataError, EnvContractError, ExtraMissingError, OptionValueError
from sayso.rollout.check import check_text_env

HAS_DIGITS = importlib.util.find_spec("sklearn") is not None
HAS_PILLOW = importlib.util.find_spec("PIL") is not None


def payload_of(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"ground": [0, 0, 0], "noise": 0, "noise_seed": 0, "objects": list(objects)}


def test_a_square_covers_exactly_its_pixels() -> None:
    """Radius 25 of 100: the side is 0.8 of 50, from 30 to 70."""
    thing = {"shape": "square", "x": 500, "y": 500, "radius": 250, "rgb": [200, 100, 0]}
    drawn = picture(payload_of(thing), 100)
    assert (drawn[30:70, 30:70] == [200, 100, 0]).all()
    assert drawn.astype(int).sum() == 40 * 40 * 300


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", 0.81 * np.pi), ("diamond", 2.0), ("cross", 1.8144)]
)
def test_areas_of_shapes(shape: str, area: float) -> None:
    place = (np.arange(400) + 0.5) / 200 - 1
    share = is_inside(shape, place[None, :], place[:, None]).mean()
    assert 4 * share == pytest.approx(area, rel=0.01)


def test_a_star_has_five_points_and_its_notches() -> None:
    angles = np.radians(-90 + 36 * np.arange(10))
    edge = is_inside("star", 0.6 * np.cos(angles), 0.6 * np.sin(angles))
    assert edge.tolist() == [True, False] * 5


def test_the_same_task_has_the_same_picture_and_another_has_another() -> None:
    one, two = VisionEnv(), VisionEnv()
    keys = []
    for index in range(16):
        task = tasks("train", tuple(SCENES))[index]
        shown, _ = one.reset(seed=1, options={"task": task.id})
        again, _ = two.reset(seed=2, options={"task": task.id})
        assert shown == again
        assert one.observation_space.contains(shown)
        keys.append(shown[0].media[0].key)  # type: ignore[union-attr]
    assert len(set(keys)) == 16
    assert keys[0].startswith("73a6dbb51a8cd39d"), "pictures of stored games would be lost"


def test_splits_are_cut_by_rule() -> None:
    for split in NUM_TASKS:
        for task in tasks(split, tuple(SCENES))[:80]:
            found = task.payload["objects"]
            new = [is_unseen(o["colour"], o["shape"]) for o in found]
            assert any(new) is (split == "unseen"), task.id
            content = sorted([o["colour"], o["shape"], o["size"], str(o["cell"])] for o in found)
            question = task.payload["prompt"].split("\n")[1]
            if split != "unseen":
                assert (bucket([content, question]) == 0) is (split == "held_out")


def test_every_question_has_one_answer_that_the_picture_tells() -> None:
    """Asked again of the objects themselves, by code that shares nothing with the generator."""
    for task in tasks("train", tuple(SCENES))[:400]:
        things, asked = task.payload["objects"], task.payload["asked"]
        value, family = asked["value"], task.payload["family"]
        words = task.payload["prompt"].split("\n")[1].strip("?.").split()
        if family == "describe":
            assert Counter(map(tuple, value)) == Counter((o["colour"], o["shape"]) for o in things)
        elif family == "count":
            assert int(value) == len(things)
        elif family == "count_some":
            name = words[2].removesuffix("es") if words[2] == "crosses" else words[2].rstrip("s")
            assert int(value) == sum(name in (o["colour"], o["shape"]) for o in things)
        elif family == "colour":
            assert [o["colour"] for o in things if o["shape"] == words[-1]] == [value]
        elif family == "shape":
            assert [o["shape"] for o in things if o["colour"] == words[-1]] == [value]
        elif family == "large":
            biggest = max(things, key=lambda o: o["radius"])
            assert [biggest["colour"], biggest["shape"]] == value
            assert sum(o["radius"] == biggest["radius"] for o in things) == 1
        elif family == "beside":
            (middle,) = (o for o in things if [o["colour"], o["shape"]] == asked["besides"])
            far = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}[words[2]]
            there = [
                o for o in things
                if far[0] * (o["x"] - middle["x"]) > 160 or far[1] * (o["y"] - middle["y"]) > 160
            ]  # fmt: skip
            assert [[o["colour"], o["shape"]] for o in there] == [value]
            across = "y" if far[0] else "x"
            assert abs(there[0][across] - middle[across]) <= 90, "in the same row or column"
        else:
            one, two = ((words[3], words[4].strip(",")), (words[8], words[9].strip(":")))
            (first,) = (o for o in things if (o["colour"], o["shape"]) == one)
            (second,) = (o for o in things if (o["colour"], o["shape"]) == two)
            across, down = first["x"] - second["x"], first["y"] - second["y"]
            side = ("left", "right")[across > 0] if abs(across) > abs(down) else (
                "above", "below")[down > 0]  # fmt: skip
            assert side == value


def test_equal_questions_have_different_answers() -> None:
    """The shortcut that would make looking needless: the text must not tell."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks("train", tuple(SCENES))[:1600]:
        answers[task.payload["prompt"]][str(task.payload["asked"]["value"])] += 1
    shared = {text: found for text, found in answers.items() if found.total() >= 20}
    assert len(shared) >= 14
    shares = {text: max(f.values()) / f.total() for text, f in shared.items()}
    assert max(shares.values()) < 0.5, max(shares, key=shares.__getitem__)


@pytest.mark.medium
def test_who_does_not_look_stays_low_and_the_oracle_is_right() -> None:
    for split in ("held_out", "unseen"):  # in train the blind player knows its own tasks
        found = bounds(VisionEnv(), split=split, num_games=200)
        assert found["oracle"].mean == 1.0
        assert found["random"].mean < 0.27, split
        assert found["blind"].mean < 0.27, split


@pytest.mark.slow
def test_both_checkers_accept_it_on_200_seeds_and_find_no_exploit() -> None:
    assert not check_text_env("sayso/Vision-v0", num_seeds=200, exploits=False).problems
    report = check_text_env("sayso/Vision-v0", num_seeds=20)
    assert max(report.exploits.values()) <= 0.05


def test_names_of_families_are_checked() -> None:
    assert VisionEnv(families=["colour", "describe"]).families == ("colour", "describe")
    with pytest.raises(OptionValueError, match="Did you mean 'colour'"):
        VisionEnv(families="color")
    with pytest.raises(OptionValueError, match="24 to 512"):
        VisionEnv(size=10)


@pytest.mark.skipif(HAS_DIGITS, reason="scikit-learn is installed")
def test_digits_without_their_extra_are_refused() -> None:
    with pytest.raises(ExtraMissingError, match=r"sayso\[digits\]"):
        VisionEnv(families="digits")


@pytest.mark.skipif(not HAS_DIGITS, reason="needs scikit-learn's digits")
def test_digits_are_in_one_split_and_unseen_pairs_are_new() -> None:
    env = VisionEnv(families="digits")
    pictures: dict[str, set[int]] = {}
    pairs: dict[str, set[tuple[int, ...]]] = {}
    from sayso.envs.vision_digits import handwritten

    labels = handwritten()[1]
    for split in NUM_TASKS:
        posed = env.tasks(split)[:300]
        pictures[split] = {d["index"] for task in posed for d in task.payload["digits"]}
        pairs[split] = {tuple(labels[d["index"]] for d in task.payload["digits"]) for task in posed}
        for task in posed:
            values = [labels[d["index"]] for d in task.payload["digits"]]
            right = sum(values) if task.payload["family"] == "sum" else values[0]
            assert task.payload["asked"]["value"] == str(right)
            assert len(env.show(task.payload)[0].media) == 1  # type: ignore[union-attr]
    assert not pictures["train"] & pictures["held_out"]
    assert not pairs["unseen"] & (pairs["train"] | pairs["held_out"])
    assert len(VisionEnv(families=["digit"]).tasks("unseen")) == 0
    assert set(VisionEnv(families="all").families) == set(FAMILIES)


@pytest.mark.skipif(not HAS_PILLOW, reason="needs pillow")
def test_own_pictures_are_shown_split_by_file_and_cannot_inject(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((5, 4, 3), 9, np.uint8)).save(tmp_path / "a.png")
    rows = [
        {"image": "a.png", "question": "Is <image> a <audio> dog?", "answer": ["no", "nope"]},
        {"image": "a.png", "question": "How dark?", "answer": "very", "split": "unseen"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    env = VisionEnv(data=path)
    sizes = [len(env.tasks(split)) for split in NUM_TASKS]
    assert sum(sizes) == max(sizes) == 2, "one file is in one split"
    (split,) = (s for s in NUM_TASKS if env.tasks(s))
    for task in env.tasks(split):
        shown, _ = env.reset(options={"task": task.id, "split": split})
        assert env.observation_space.contains(shown)
        assert shown[0].media == (Media("image", np.full((5, 4, 3), 9, np.uint8)),)  # type: ignore[union-attr]
        assert str(tmp_path) not in json.dumps(dict(task.payload))
        assert env.step(env.scripted["oracle"].act(env, np.random.default_rng(0)))[1] == 1.0
    texts = {task.payload["prompt"] for task in env.tasks(split)}
    assert "<image>\nIs [image] a [audio] dog?" in texts
    Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has changed"):
        env.reset(options={"split": split})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": "a", "answer": "b"}, "`image` is no text"),
        ({"image": "none.png", "question": "a", "answer": "b"}, "no file 'none.png'"),
        ({"image": "rows.jsonl", "question": "a", "answer": []}, "`answer` is neither"),
        pytest.param(
            {"image": "rows.jsonl", "question": "a", "answer": "b"}, "cannot be read",
            marks=pytest.mark.skipif(not HAS_PILLOW, reason="needs pillow"),
        ),
    ],
)  # fmt: skip
def test_wrong_rows_are_refused(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=told):
        VisionEnv(data=tmp_path / "rows.jsonl")


def test_an_answer_ends_the_episode() -> None:
    env = VisionEnv()
    env.reset(seed=0)
    shown, reward, terminated, truncated, _ = env.step("<image>")
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert env.observation_space.contains(shown)
    with pytest.raises(EnvContractError, match="no task is posed"):
        env.step("late")
