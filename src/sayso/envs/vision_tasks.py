"""The tasks of ``sayso/Vision-v0``: what is drawn, what is asked, what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sayso.envs.media import IMAGE
from sayso.envs.media_score import COLOURS, SHAPES, SIDES, plural
from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.envs.vision_digits import handwritten
from sayso.envs.vision_draw import RGB, SHADES
from sayso.errors import EnvContractError
from sayso.seeds import generator

ENV_ID = "sayso/Vision-v0"
NUM_TASKS = {"train": 4000, "held_out": 1000, "unseen": 1000}
UNSEEN_STEP = 2
"""A shape is never trained on in the colour that is so many after its own in the list."""
GROUNDS = ((18, 18, 22), (70, 70, 74), (196, 196, 192), (246, 246, 242))
INKS = ((244, 244, 240), (250, 222, 90), (24, 24, 30), (30, 40, 120))
"""Bright inks on dark grounds, dark inks on bright ones."""
RADIUS = {"large": 150, "small": 88}
JITTER = {"large": 8, "small": 45}
MAX_COUNT = 4
MAX_DRAWS = 5_000
BESIDE = {
    "left": ("What is left of {}?", 0, -1),
    "right": ("What is right of {}?", 0, 1),
    "above": ("What is above {}?", 1, -1),
    "below": ("What is below {}?", 1, 1),
}
"""Question, axis (0: across, 1: down), and which way."""
Object = dict[str, Any]
Posed = tuple[list[Object], str, dict[str, Any]]
"""Objects, question, what is asked."""


def is_unseen(colour: str, shape: str) -> bool:
    """Whether no shape of this colour is ever trained on."""
    place = SHAPES.index(shape) + UNSEEN_STEP
    return COLOURS.index(colour) == place % len(COLOURS)


def is_unseen_pair(first: int, second: int) -> bool:
    """Whether these two digits are never trained on beside each other."""
    return (first + 3 * second) % 5 == 0


class _Scene:
    """Draws the objects of one scene."""

    def __init__(self, draws: np.random.Generator, split: str) -> None:
        self.draws, self.split = draws, split
        self.cells = [int(cell) for cell in draws.permutation(9)]

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.draws.integers(len(items)))]

    def object(self, size: str = "", **wanted: str) -> Object:
        """An object in a cell of its own; in ``unseen`` two thirds are of unseen kinds."""
        is_new = self.split == "unseen" and self.draws.random() < 2 / 3
        kinds = [
            (colour, shape)
            for colour in COLOURS
            for shape in SHAPES
            if wanted.get("colour", colour) == colour
            and wanted.get("shape", shape) == shape
            and wanted.get("but_colour") != colour
            and wanted.get("but_shape") != shape
        ]
        fitting = [kind for kind in kinds if is_unseen(*kind) is is_new]
        colour, shape = self.pick(fitting or kinds)
        size = size or self.pick(tuple(RADIUS))
        cell, jitter = self.cells.pop(), JITTER[size]
        shift = self.draws.integers(-jitter, jitter + 1, 2)
        shade = self.draws.integers(-SHADES, SHADES + 1, 3)
        return {
            "colour": colour, "shape": shape, "size": size, "cell": cell,
            "x": (2 * (cell % 3) + 1) * 1000 // 6 + int(shift[0]),
            "y": (2 * (cell // 3) + 1) * 1000 // 6 + int(shift[1]),
            "radius": RADIUS[size],
            "rgb": [int(c + d) for c, d in zip(RGB[colour], shade, strict=True)],
        }  # fmt: skip

    def objects(self, low: int, high: int, **wanted: str) -> list[Object]:
        return [self.object(**wanted) for _ in range(int(self.draws.integers(low, high + 1)))]


def _describe(scene: _Scene) -> Posed:
    # In reading order, so that what the oracle writes follows from the picture.
    found = sorted(scene.objects(1, 4), key=lambda o: int(o["cell"]))
    value = [[o["colour"], o["shape"]] for o in found]
    return found, "List every shape with its colour.", {"form": "objects", "value": value}


def _count(scene: _Scene, name: str) -> Posed:
    """How many there are, of all, of a shape or of a colour; every number is as likely."""
    count = int(scene.draws.integers(1, MAX_COUNT + 1))
    if name == "shapes":
        found = scene.objects(count, count)
    else:
        kind = "shape" if name in SHAPES else "colour"
        found = scene.objects(count, count, **{kind: name})
        found += scene.objects(0, 3, **{f"but_{kind}": name})
    told = plural(name) if name in SHAPES else "shapes" if name == "shapes" else f"{name} shapes"
    asked = {"form": "one", "kind": "number", "value": str(count)}
    return found, f"How many {told} are there?", asked


def _one_of(scene: _Scene, kind: str, other: str, question: str) -> Posed:
    """What the only object of a shape or colour is like otherwise."""
    first = scene.object()
    rest = scene.objects(1, 3, **{f"but_{other}": first[other]})
    asked = {"form": "one", "kind": kind, "value": first[kind]}
    return [first, *rest], question.format(first[other]), asked


def _large(scene: _Scene) -> Posed:
    first = scene.object("large")
    rest = [scene.object("small") for _ in range(int(scene.draws.integers(1, 4)))]
    asked = {"form": "object", "value": [first["colour"], first["shape"]]}
    return [first, *rest], "Which shape is the largest? Name its colour too.", asked


def _beside(scene: _Scene) -> Posed:
    """Two objects in a row or column, and perhaps others that the question does not mean."""
    side = scene.pick(SIDES)
    question, axis, way = BESIDE[side]
    found = scene.objects(2, 3)
    middle = found[0]
    there = [o for o in found if way * (_at(o, axis) - _at(middle, axis)) > 0]
    others = [o for o in found if _kind(o) == _kind(middle)]
    if len(there) != 1 or len(others) != 1 or _at(there[0], 1 - axis) != _at(middle, 1 - axis):
        return [], "", {}
    value = list(_kind(there[0]))
    asked = {"form": "object", "value": value, "besides": list(_kind(middle))}
    return found, question.format(_the(middle)), asked


def _where(scene: _Scene) -> Posed:
    found = scene.objects(2, 3)
    one, two = found[:2]
    axis = 0 if _at(one, 1) == _at(two, 1) else 1
    if _at(one, 1 - axis) != _at(two, 1 - axis) or len({_kind(o) for o in found}) < len(found):
        return [], "", {}
    is_before = _at(one, axis) < _at(two, axis)
    side = SIDES[2 * axis + (not is_before)]
    question = f"Where is {_the(one)}, seen from {_the(two)}: left, right, above or below?"
    return found, question, {"form": "one", "kind": "side", "value": side}


def _at(thing: Object, axis: int) -> int:
    cell: int = thing["cell"]
    return cell // 3 if axis else cell % 3


def _kind(thing: Object) -> tuple[str, str]:
    return thing["colour"], thing["shape"]


def _the(thing: Object) -> str:
    return f"the {thing['colour']} {thing['shape']}"


def _count_some(scene: _Scene) -> Posed:
    return _count(scene, scene.pick((*SHAPES, *COLOURS)))


SCENES: Mapping[str, Callable[[_Scene], Posed]] = {
    "describe": _describe,
    "count": partial(_count, name="shapes"),
    "count_some": _count_some,
    "colour": partial(_one_of, kind="colour", other="shape", question="What colour is the {}?"),
    "shape": partial(_one_of, kind="shape", other="colour", question="Which shape is {}?"),
    "large": _large,
    "beside": _beside,
    "where": _where,
}
DIGITS = {
    "digit": "Which digit is this?",
    "left_digit": "Which digit is on the left?",
    "sum": "What is the sum of the two digits?",
}
"""Families with handwritten digits; they need the extra ``digits``."""
FAMILIES = (*SCENES, *DIGITS)


def _ground(draws: np.random.Generator) -> dict[str, Any]:
    return {
        "ground": list(GROUNDS[int(draws.integers(len(GROUNDS)))]),
        "noise": int(draws.integers(0, 9)),
        "noise_seed": int(draws.integers(2**31)),
    }


def _scene(draws: np.random.Generator, family: str, split: str) -> dict[str, Any] | None:
    """A scene with its question, if it may be of the split."""
    found, question, asked = SCENES[family](_Scene(draws, split))
    if not found:
        return None
    kinds = [_kind(o) for o in found]
    pointed = asked["value"] if asked["form"] == "object" else kinds[0]
    if split == "unseen" and not is_unseen(*pointed):
        return None
    content = sorted(
        [*kind, o["size"], str(o["cell"])] for kind, o in zip(kinds, found, strict=True)
    )
    if split != "unseen" and (bucket([content, question]) == 0) is not (split == "held_out"):
        return None
    return {"objects": found, "question": question, "asked": asked, "level": len(found)}


def _digits(draws: np.random.Generator, family: str, split: str) -> dict[str, Any] | None:
    """One or two handwritten digits; a picture of the data is in one split only."""
    _, labels = handwritten()
    num = 1 if family == "digit" else 2
    chosen = [int(draws.integers(len(labels))) for _ in range(num)]
    values = [labels[index] for index in chosen]
    is_new = num == 2 and is_unseen_pair(values[0], values[1])
    if is_new is not (split == "unseen"):
        return None
    # The writing in unseen was trained on: only the pair is new.
    if any((bucket(["digit", index]) == 0) is not (split == "held_out") for index in chosen):
        return None
    side = int(draws.integers(620, 860) if num == 1 else draws.integers(380, 480))
    found = []
    for place, index in enumerate(chosen):
        room = 1000 // num
        x = room * place + int(draws.integers(room - side + 1))
        found.append({"index": index, "x": x, "y": int(draws.integers(1000 - side)), "side": side})
    kind = "number" if family == "sum" else "digit"
    value = sum(values) if family == "sum" else values[0]
    return {
        "digits": found, "question": DIGITS[family], "level": num,
        "asked": {"form": "one", "kind": kind, "value": str(value)},
    }  # fmt: skip


def payload(split: str, families: Sequence[str], index: int) -> dict[str, Any]:
    """One task's content; draws again until the question is fit and the content the split's."""
    family = families[index % len(families)]
    draw = _digits if family in DIGITS else _scene
    for attempt in range(MAX_DRAWS):
        draws = generator(0, ENV_ID, split, family, index, attempt)
        found = draw(draws, family, split)
        if found is not None:
            ground = _ground(draws)
            if "digits" in found:
                dark = sum(ground["ground"]) < 300
                found["ink"] = list(INKS[int(draws.integers(2)) + (0 if dark else 2)])
            prompt = f"{IMAGE}\n{found.pop('question')}"
            return {"family": family, **found, **ground, "prompt": prompt}
    raise EnvContractError(
        where=f"{ENV_ID}, split {split!r}, task {index}",
        problem=f"{MAX_DRAWS} draws of {family!r} posed no task of the split.",
        fix="This is a defect of sayso: please report it.",
    )


def families_of(split: str, families: Sequence[str]) -> tuple[str, ...]:
    """Those of the families that a split has: single digits cannot be unseen pairs."""
    return tuple(f for f in families if not (split == "unseen" and f == "digit"))


@lru_cache(maxsize=16)
def tasks(split: str, families: tuple[str, ...]) -> LazyTasks:
    """All tasks of a split, the families in turn, made when looked at."""
    taken = families_of(split, families)
    count = NUM_TASKS.get(split, 0) if taken else 0
    return numbered_tasks(ENV_ID, split, count, partial(payload, split, taken), digits=4)
