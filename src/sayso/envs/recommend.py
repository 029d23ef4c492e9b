"""``sayso/Recommend-v0``: recommend films over several turns; the viewer's taste moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sayso.envs.base import TextEnv
from sayso.envs.recommend_catalogue import ENV_ID
from sayso.envs.recommend_players import PLAYERS
from sayso.envs.recommend_read import MOOD, Problem, Said, read
from sayso.envs.recommend_tasks import tasks
from sayso.envs.recommend_user import VERDICTS, Item, Viewer, verdict
from sayso.envs.scripted import Scripted
from sayso.errors import EnvContractError
from sayso.types import Task

WEIGHTS = {"valid": 0.05, "utility": 0.7, "diversity": 0.25}
"""Shares of the reward of a turn; a session has the mean of its turns."""
TELLS: dict[Problem, str] = {
    "nothing": "Which film do you mean?",
    "several": "One film at a time, please.",
    "unclear": "Do you recommend it or not?",
    "too long": "That is too long for me.",
}
HOW = "Which film do you recommend? Answer with its title only."
NOT_OFFERED, SEEN = "That is not on offer.", "I have seen that one."


@dataclass(slots=True, kw_only=True)
class Session:
    """A session in progress.

    Attributes:
        viewer: The viewer; hidden.
        history: Films seen before, each with its tags and what the viewer said of it.
        slates: What is on offer in each turn; what is still to come is hidden.
        turn: The turn in progress, from 0.
        watched: Films recommended so far, each with what the viewer said of it.
        mood: What a question found out: the two tags liked most then, and the one liked least.
    """

    viewer: Viewer
    history: Sequence[tuple[Item, str]]
    slates: Sequence[Sequence[Item]]
    turn: int = 0
    watched: list[tuple[Item, str]] = field(default_factory=list)
    mood: tuple[str, str, str] | None = None

    @property
    def slate(self) -> Sequence[Item]:
        """What is on offer now; nothing when the session is over."""
        return self.slates[self.turn] if self.turn < len(self.slates) else ()

    @property
    def is_over(self) -> bool:
        """All turns are used."""
        return self.turn >= len(self.slates)

    def novelty(self, item: Item) -> float:
        """Share of a film's tags that no film watched in this session had."""
        known = {tag for film, _ in self.watched for tag in film.tags}
        return sum(tag not in known for tag in item.tags) / max(len(item.tags), 1)

    def worth(self, item: Item) -> dict[str, float]:
        """Parts of the reward that recommending a film would earn now."""
        pleased = self.viewer.utility(item)
        scores = {"valid": 1.0, "utility": pleased, "diversity": pleased * self.novelty(item)}
        return {name: WEIGHTS[name] * score / len(self.slates) for name, score in scores.items()}


class RecommendEnv(TextEnv):
    """Recommend one film a turn to a viewer with a history and a taste that moves; five turns.

    Each turn shows what is on offer. An answer recommends the film whose title it names, which the
    viewer watches and judges. Watching moves the taste: more of what pleased, less of what did not,
    and boredom with what was watched just now. ``What do you feel like?`` and ``Do you like
    western films?`` are answered truly, and use up the turn. The session ends after five turns
    (``terminated``).

    Reward in [0, 1], a fifth of it each turn: 0.05 for a title that is on offer now, 0.7 times the
    viewer's utility in [0, 1], 0.25 times the utility times the share of the film's tags that are
    new in this session. No title, two titles (or one twice), a title that is not on offer, one
    beside a "not", more than 30 words: 0. Unknown words and repetition around the title take their
    share.

    Args:
        catalogue: ``"procedural"``: 2 700 invented films of 18 genres, of which ``unseen`` shows
            six that ``train`` never does. ``"ml-100k"``: MovieLens-100K from an installed recbole,
            where the utility starts at the user's own rating, and ``unseen`` are users of four
            occupations. Else a JSONL file of one's own, see docs/scenarios/recommend.md.

    Source:
        The viewer is ours; see ``Viewer``.
    """

    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    parts_are_summed = True
    scripted: Mapping[str, Scripted] = MappingProxyType(PLAYERS)

    def __init__(self, *, catalogue: str = "procedural") -> None:
        self.catalogue = catalogue
        tasks("train", catalogue)  # what is missing is told now
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session in progress; what an oracle may see."""
        if self._session is None or self._session.is_over:
            raise EnvContractError(
                where=f"{ENV_ID}, step",
                problem="no session is in progress.",
                fix="Call reset first, and again when a session is over.",
            )
        return self._session

    def tasks(self, split: str) -> Sequence[Task]:
        """Sessions; a viewer each."""
        return tasks(split, self.catalogue)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Meet the task's viewer."""
        super().reset(seed=seed)
        told = self.choose(seed, options).payload
        self._session = Session(
            viewer=Viewer(taste=told["taste"], drift=told["drift"], boredom=told["boredom"]),
            history=[
                (Item(title=title, tags=tuple(tags), stars=0.0), said)
                for title, tags, said in told["history"]
            ],
            slates=[[Item.from_json(row) for row in slate] for slate in told["slates"]],
        )
        opening = f"You recommend films. You may also ask: {MOOD}"
        return f"{opening} {_about(self._session.history)}\n{self._offer()}", self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """The viewer watches what is recommended, answers what is asked, or shrugs."""
        session = self.session
        said = read(action, self._titles(session), session.viewer.taste)
        parts = dict.fromkeys(WEIGHTS, 0.0)
        offered = {item.title: item for item in session.slate}
        if said.title in offered:
            reply, parts = self._watch(session, offered[said.title], said.clarity)
        else:
            reply = self._answer(session, said)
        session.turn += 1
        told = reply if session.is_over else f"{reply}\n{self._offer()}"
        info = self._info(parts)
        return told, sum(parts.values()), session.is_over, False, info

    def _watch(self, session: Session, item: Item, clarity: float) -> tuple[str, dict[str, float]]:
        """What the viewer says of the film, and the parts of the reward."""
        parts = {name: clarity * part for name, part in session.worth(item).items()}
        name = verdict(session.viewer.watch(item))
        session.watched.append((item, name))
        ways = VERDICTS[name]
        return ways[int(self.np_random.integers(len(ways)))], parts

    @staticmethod
    def _answer(session: Session, said: Said) -> str:
        """The reply to an answer that recommends nothing on offer."""
        if said.title:
            seen = [*session.history, *session.watched]
            return SEEN if said.title in {item.title for item, _ in seen} else NOT_OFFERED
        if said.question == MOOD:
            first, second, last = session.mood = session.viewer.mood()
            return f"More {first}, more {second}, less {last}."
        if said.question:
            return session.viewer.likes(said.question)
        return TELLS[said.problem]

    @staticmethod
    def _titles(session: Session) -> list[str]:
        """Every title shown so far."""
        shown = [item for slate in session.slates[: session.turn + 1] for item in slate]
        return [item.title for item in (*shown, *(film for film, _ in session.history))]

    def _offer(self) -> str:
        lines = [
            f"- {item.title}: {_kind(item)}, {item.stars} stars" for item in self.session.slate
        ]
        return "\n".join(["On offer:", *lines, HOW])

    def _info(self, parts: Mapping[str, float] | None = None) -> dict[str, Any]:
        """What can be said, while the session goes on, and what was earned."""
        info: dict[str, Any] = {} if parts is None else {"reward_parts": dict(parts)}
        if self._session is not None and not self._session.is_over:
            info["choices"] = [*(item.title for item in self._session.slate), MOOD]
        return info


def _kind(item: Item) -> str:
    """``dark comedy``, or MovieLens' ``Action/Thriller``."""
    return "/".join(item.tags) if item.tags[0][0].isupper() else " ".join(item.tags)


def _about(history: Sequence[tuple[Item, str]]) -> str:
    """What is known of the viewer."""
    said = []
    for verb, kept in (("liked", ("loved", "liked")), ("did not like", ("so-so", "disliked"))):
        names = [f"{item.title} ({_kind(item)})" for item, name in history if name in kept]
        if names:
            listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
            said.append(f"The viewer {verb} {listed}.")
    return " ".join(said) or "The viewer is new."
