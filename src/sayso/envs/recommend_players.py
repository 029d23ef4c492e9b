"""Scripted players of ``sayso/Recommend-v0``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.recommend_read import MOOD
from sayso.envs.recommend_user import FADE, Item
from sayso.envs.scripted import Act, Scripted

if TYPE_CHECKING:
    from sayso.envs.recommend import RecommendEnv, Session

OF_VERDICT = {"loved": 1.0, "liked": 0.6, "so-so": -0.3, "disliked": -0.7}
OF_STARS, OF_NOVELTY, OF_BOREDOM, OF_MOOD = 0.1, 0.2, 0.4, 1.0
"""What the players that reckon make of stars, new tags, tags just watched and an answer."""
LITTLE = 3
"""With fewer films in the history the player ``asking`` asks."""
OUT_OF = 2.0
"""A tag met once counts a third of its mean verdict, met twice a half."""


def _session(env: TextEnv) -> Session:
    return cast("RecommendEnv", env).session


def _best(worth: Callable[[Session, Item], float]) -> Act:
    """Names the film on offer that is worth most; of equals the first."""

    def act(env: TextEnv, draws: np.random.Generator) -> str:
        del draws
        session = _session(env)
        return max(session.slate, key=lambda item: worth(session, item)).title

    return act


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    slate = _session(env).slate
    return slate[int(draws.integers(len(slate)))].title


def _stars(session: Session, item: Item) -> float:
    del session
    return item.stars


def _verdicts(films: list[tuple[Item, str]]) -> Mapping[str, float]:
    """Mean verdict on each tag, drawn to 0 where it was met seldom."""
    sums, counts = Counter[str](), Counter[str]()
    for item, said in films:
        for tag in item.tags:
            sums[tag] += OF_VERDICT[said]  # type: ignore[assignment]  # a Counter of floats
            counts[tag] += 1
    return {tag: sums[tag] / (counts[tag] + OUT_OF) for tag in counts}


def _profile(session: Session, item: Item) -> float:
    """By the history alone: verdicts on the film's tags, then stars."""
    known = _verdicts(list(session.history))
    return sum(known.get(tag, 0.0) for tag in item.tags) + OF_STARS * item.stars


def _attentive(session: Session, item: Item) -> float:
    """By history and replies, with what was watched just now held against it."""
    known = _verdicts([*session.history, *session.watched])
    bored: dict[str, float] = {}
    for film, _ in session.watched:
        bored = {tag: FADE * much for tag, much in bored.items()}
        for tag in film.tags:
            bored[tag] = bored.get(tag, 0.0) + OF_BOREDOM
    *liked, disliked = session.mood or ("",)
    told = OF_MOOD * (sum(tag in item.tags for tag in liked) - (disliked in item.tags))
    return (
        sum(known.get(tag, 0.0) - bored.get(tag, 0.0) / len(item.tags) for tag in item.tags)
        + OF_STARS * item.stars + OF_NOVELTY * session.novelty(item) + told
    )  # fmt: skip


def _asking(env: TextEnv, draws: np.random.Generator) -> str:
    """Asks first where little is known; else attentive."""
    session = _session(env)
    is_lost = session.turn == 0 and len(session.history) < LITTLE
    return MOOD if is_lost else _best(_attentive)(env, draws)


def _oracle(session: Session, item: Item) -> float:
    return sum(session.worth(item).values())


PLAYERS = {
    "random": Scripted(act=_random, about="any film on offer"),
    "popularity": Scripted(act=_best(_stars), about="the film with most stars"),
    "profile": Scripted(act=_best(_profile), about="by the history alone"),
    "attentive": Scripted(
        act=_best(_attentive), about="by history and replies, away from what was watched just now"
    ),
    "asking": Scripted(
        act=_asking, about="as attentive, but asks first where the history is short"
    ),
    "oracle": Scripted(
        act=_best(_oracle), about="knows the taste; takes what is worth most now", is_oracle=True
    ),
}
