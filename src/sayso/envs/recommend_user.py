"""The simulated viewer of ``sayso/Recommend-v0``: a taste that moves, and boredom that fades."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SLOPE = 4.0
"""How sharply appetite turns into utility: an appetite of 0.5 is a utility of 0.88."""
FADE = 0.6
"""Share of boredom that is left a film later."""
MARKED = 0.25
"""A tag is a like or a dislike from this distance to 0 on."""
VERDICTS = {
    "loved": ("I loved it.", "Wonderful, just right for me."),
    "liked": ("I liked it.", "That was good."),
    "so-so": ("It was so-so.", "Not bad, not good."),
    "disliked": ("I did not like it.", "That was not for me."),
}
"""What is said of a film, from best to worst."""
_FROM = (("loved", 0.8), ("liked", 0.55), ("so-so", 0.3), ("disliked", 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A film.

    Attributes:
        title: As it must be named.
        tags: What it is: a trait and a genre, or several genres.
        stars: Its mean rating by others, 1 to 5.
        appetite: How much the viewer wants it when the session begins, about -1 to 1; hidden.
    """

    title: str
    tags: tuple[str, ...]
    stars: float
    appetite: float = 0.0

    def to_json(self) -> list[object]:
        """A row of a task's payload."""
        return [self.title, list(self.tags), self.stars, self.appetite]

    @classmethod
    def from_json(cls, row: Sequence[object]) -> Item:
        """Undo ``to_json``."""
        title, tags, stars, appetite = row
        return cls(
            title=str(title),
            tags=tuple(map(str, tags)) if isinstance(tags, list | tuple) else (),
            stars=float(str(stars)),
            appetite=float(str(appetite)),
        )


def squashed(appetite: float) -> float:
    """Utility in (0, 1) of an appetite: the logistic function of ``SLOPE`` times it."""
    return 1.0 / (1.0 + math.exp(-SLOPE * appetite))


def verdict(utility: float) -> str:
    """What a viewer calls a film of this utility, a key of ``VERDICTS``."""
    return next(name for name, least in _FROM if utility >= least)


@dataclass(slots=True, kw_only=True)
class Viewer:
    r"""A viewer in a session.

    The utility of a film i with tags T is

    .. math:: u(i) = \sigma\big(4\,(a_i + \tfrac{1}{|T|} \sum_{t \in T} d_t - b_t)\big)

    with its first appetite a. Watching it moves the taste of each of its tags,
    :math:`d_t \leftarrow d_t + \delta (2u - 1)`: what pleased is wanted more, what disappointed
    less; all boredom fades by ``FADE`` and that of its tags grows by β.

    Attributes:
        taste: Liking of each tag when the session begins, about -1 to 1.
        drift: δ, at least 0.
        boredom: β, at least 0.
        moved: d of the tags that moved.
        bored: b of the tags that were watched.

    Source:
        Ours. The two effects are those of simulators such as RecSim (Ie et al. 2019,
        arXiv:1909.04847: interests that move with what is consumed), and of satiation models
        (Leqi et al. 2021, arXiv:2011.01350: a linear memory of recent consumption).

    Tests:
        tests/unit/test_recommend_user.py
    """

    taste: Mapping[str, float]
    drift: float
    boredom: float
    moved: dict[str, float] = field(default_factory=dict)
    bored: dict[str, float] = field(default_factory=dict)

    def utility(self, item: Item) -> float:
        """How much the film would please now, in (0, 1)."""
        shift = sum(self._shift(tag) for tag in item.tags) / max(len(item.tags), 1)
        return squashed(item.appetite + shift)

    def watch(self, item: Item) -> float:
        """Watch a film: its utility; the taste has moved afterwards."""
        pleased = self.utility(item)
        self.bored = {tag: FADE * much for tag, much in self.bored.items()}
        for tag in item.tags:
            self.moved[tag] = self.moved.get(tag, 0.0) + self.drift * (2 * pleased - 1)
            self.bored[tag] = self.bored.get(tag, 0.0) + self.boredom
        return pleased

    def liking(self, tag: str) -> float:
        """Liking of a tag now."""
        return self.taste[tag] + self._shift(tag)

    def likes(self, tag: str) -> str:
        """The true answer to "Do you like ...?"."""
        liking = self.liking(tag)
        if liking >= MARKED:
            return "Yes."
        return "No." if liking <= -MARKED else "I do not mind."

    def mood(self) -> tuple[str, str, str]:
        """The two tags that are liked most now, and the one liked least; of equals by name."""
        ordered = sorted(self.taste, key=lambda tag: (-self.liking(tag), tag))
        return ordered[0], ordered[1], ordered[-1]

    def _shift(self, tag: str) -> float:
        return self.moved.get(tag, 0.0) - self.bored.get(tag, 0.0)
