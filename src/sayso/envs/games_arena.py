"""``sayso/TextArena-v0``: TextArena's games for one and two players; needs the extra ``envs``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np

from sayso.envs.base import TextEnv, in_play
from sayso.envs.cut import cut_tasks
from sayso.envs.extras import extra_module, unheard
from sayso.envs.games_arena_play import (
    NEED_CHOICES,
    Luck,
    Opponent,
    canonical,
    looked_ahead,
    opponent,
)
from sayso.envs.games_arena_table import LEGAL, TWO_PLAYERS, name_of, why_refused
from sayso.envs.scripted import Scripted
from sayso.envs.tasks import LazyTasks
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import derive, generator
from sayso.types import Task

ENV_ID = "sayso/TextArena-v0"
NUM_TASKS = {"train": 1_000, "held_out": 250, "unseen": 250}
NUM_LOOKED_AT = 40
MAX_CHARS = 1_000
MAX_OPPONENT_ACTIONS = 200
FORFEIT = -1.0
Seat = Literal["first", "second", "both"]


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    choices = cast("TextArenaEnv", env).choices
    return choices[int(draws.integers(len(choices)))]


def _first(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return cast("TextArenaEnv", env).choices[0]


def _ahead(env: TextEnv, draws: np.random.Generator) -> str:
    game = cast("TextArenaEnv", env)
    return looked_ahead(game.inner, LEGAL[name_of(game.game)], draws)


class TextArenaEnv(TextEnv):
    """One of TextArena's games, alone or against an opponent that the environment plays.

    What is shown is what the game told the seat since its last action, without that action. An
    action is written in square brackets; a text without any is put into them. The reward comes
    when the game ends and is the game's own: 1 won, 0 drawn, -1 lost; alone, the share of the
    work that is done. One difference: a game for one player that ends because the actions were
    not allowed earns -1, as it does for two; TextArena pays the share reached by then, so that
    stopping after a lucky guess would be a way to play. A game that is not over after
    ``max_turns`` actions is truncated and earns nothing.

    In games for two the environment plays the other seat: ``"random"``, ``"first"``, a name given
    to ``register_opponent``, or ``"module:function"``. The first ``opening`` actions of both are
    random, so that there are many beginnings. The other seat's luck follows the seed of ``reset``.
    ``info["choices"]`` lists the allowed actions of games for which they are known.

    Reward parts: ``outcome``, which is the reward, and ``forfeit``, 1 where the game ended because
    an action was not allowed (for the second time, in most games).

    Args:
        games: Ids without wrappers, such as ``TicTacToe-v0``; tasks take turns among them.
        unseen_games: Those of the split ``unseen``.
        opponent: Who plays the other seat.
        seat: Of the learner, in games for two.
        opening: Random actions before the game is handed over, in games for two whose allowed
            actions are known.
        max_turns: The learner's actions in one game.

    Source:
        Guertler et al. 2025, TextArena, arXiv:2504.11442.
    """

    reward_low, reward_high = -1.0, 1.0
    part_low, part_high = -1.0, 1.0

    def __init__(
        self,
        *,
        games: Sequence[str] = ("TicTacToe-v0",),
        unseen_games: Sequence[str] = ("ConnectFour-v0",),
        opponent: str = "random",
        seat: Seat = "both",
        opening: int = 2,
        max_turns: int = 50,
    ) -> None:
        _arena()
        self.games, self.unseen = tuple(games), tuple(unseen_games)
        self.opponent, self.seat, self.opening = opponent, seat, opening
        self._limit = self.max_turns = max_turns
        if seat not in ("first", "second", "both"):
            raise _refusal("seat", seat, "Use 'first', 'second' or 'both'.")
        if opening < 0 or max_turns < 1:
            raise _refusal("opening, max_turns", (opening, max_turns), "Use 0 or more, and 1.")
        if not self.games or set(self.games) & set(self.unseen):
            raise _refusal("games", self.games, "Name some, and none of them in unseen_games.")
        every = (*self.games, *self.unseen)
        for game in every:
            self._require(game)
        self.scripted = _players() if all(name_of(game) in LEGAL for game in every) else {}
        self.game, self._is_over = "", True
        self._inner: Any = None
        self._me, self._num_turns = 0, 0
        self._told: dict[int, str] = {}

    def tasks(self, split: str) -> Sequence[Task]:
        """Beginnings of the games, cut by content; a game that always begins alike has one."""
        games = self.unseen if split == "unseen" else self.games
        return _tasks(split, games, self.seat, self.opening) if games and split in NUM_TASKS else ()

    def why_empty(self, split: str) -> str:
        """Games to be named, or one that begins always alike."""
        if split == "unseen":
            return "unseen_games=[...] names games for it."
        return "Such games always begin alike." if split == "held_out" else ""

    @property
    def inner(self) -> Any:
        """TextArena's own game, unwrapped; what an oracle may see."""
        return in_play(self._inner, is_over=self._is_over, where=ENV_ID)

    @property
    def choices(self) -> list[str]:
        """What the game accepts from the seat that is to move; empty if that is not known."""
        legal = LEGAL.get(name_of(self.game))
        return list(legal(self.inner)) if legal and not self._is_over else []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin the task's game; an opponent who is first has moved already."""
        super().reset(seed=seed)
        task = self.choose(seed, options)
        chance = int(self.np_random.integers(2**31)) if seed is None else seed
        self.game, self._me = str(task.payload["game"]), int(task.payload["seat"])
        begins = int(task.payload["seed"])
        self._inner = begun(self.game, begins, self.opening)
        self._luck = Luck(derive(chance, ENV_ID, task.id, "luck"))
        self._draws = generator(chance, ENV_ID, task.id, "opponent")
        self._other: Opponent | None = None
        if name_of(self.game) in TWO_PLAYERS:
            self._other = opponent(self.opponent)
        self._is_over, self._num_turns, self._told = False, 0, {}
        shown = self._until_my_turn()
        if self._is_over:
            raise EnvContractError(
                where=f"{ENV_ID}, opponent {self.opponent!r}",
                problem=f"ended {self.game} before its player could move.",
                fix="Use an opponent whose actions the game accepts.",
            )
        return shown, {"choices": self.choices}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play an action; then the opponent, if there is one, until it is one's turn again."""
        game = self.inner
        with self._luck.drawn():
            is_over, _ = game.step(bracketed(action))
        self._num_turns += 1
        shown = self._until_my_turn(is_over=bool(is_over))
        outcome, forfeit = self._outcome() if self._is_over else (0.0, 0.0)
        terminated: bool = self._is_over
        choices = self.choices
        truncated = not terminated and self._num_turns >= self._limit
        self._is_over = terminated or truncated
        parts = {"outcome": outcome, "forfeit": forfeit}
        return shown, outcome, terminated, truncated, {"reward_parts": parts, "choices": choices}

    def _until_my_turn(self, *, is_over: bool = False) -> str:
        """Let the other seat play; what the learner's seat was told meanwhile."""
        game, num_actions = self._inner, 0
        while not is_over and game.state.current_player_id != self._me:
            num_actions += 1
            seat = game.state.current_player_id
            self._told[seat] = self._told.get(seat, "") + self._heard(seat)
            if self._other is None:
                raise EnvContractError(
                    where=ENV_ID,
                    problem=f"{self.game} gave the turn to seat {seat}, where nobody sits.",
                    fix="Use another game.",
                )
            if num_actions > MAX_OPPONENT_ACTIONS:
                raise EnvContractError(
                    where=f"{ENV_ID}, opponent {self.opponent!r}",
                    problem=f"did not finish its turn of {self.game} in {num_actions - 1} actions.",
                    fix="Use an opponent whose actions the game accepts.",
                )
            action = self._other(self._told[seat], tuple(self.choices), self._draws)
            with self._luck.drawn():
                is_over, _ = game.step(bracketed(action))
        self._is_over = bool(is_over)
        return self._heard(self._me).strip()

    def _heard(self, seat: int) -> str:
        """What a seat was told since it was asked last; of several boards, the last."""
        state, kinds = self._inner.state, _arena().ObservationType
        heard, state.observations[seat] = state.observations[seat], []
        boards = [place for place, (_, _, kind) in enumerate(heard) if kind == kinds.GAME_BOARD]
        lines = []
        for place, (sender, message, kind) in enumerate(heard):
            if place in boards[:-1] or (kind == kinds.PLAYER_ACTION and sender == seat):
                continue
            name = state.role_mapping.get(sender, f"Player {sender}")
            by = f"[{name}] " if kind == kinds.PLAYER_ACTION else ""
            lines.append(f"{by}{str(message).strip()}\n")
        return "".join(lines)

    def _outcome(self) -> tuple[float, float]:
        """Reward of the learner's seat, and whether it threw the game away."""
        rewards, info = self._inner.close()
        forfeit = float(bool(info[self._me].get("invalid_move")))
        # Some games put the reason where the reward of a forbidden action belongs.
        earned = FORFEIT if forfeit else float(rewards[self._me])
        if not self.reward_low <= earned <= self.reward_high:
            raise EnvContractError(
                where=f"{ENV_ID}, {self.game}",
                problem=f"the game paid {earned!r}, outside [-1, 1].",
                fix="Use another game.",
            )
        return earned, forfeit

    def _require(self, game: str) -> None:
        name = name_of(game)
        if reason := why_refused(name):
            raise _refusal("games", game, f"It is refused: {reason}.")
        registry = _arena().envs.registration.ENV_REGISTRY
        if game not in registry:
            known = [g for g in registry if name_of(g) == name]
            raise _refusal("games", game, f"There are: {', '.join(known)}.")
        needs_choices = self.opponent in NEED_CHOICES and name in TWO_PLAYERS
        if needs_choices and name not in LEGAL:
            raise _refusal(
                "opponent",
                self.opponent,
                f"The allowed actions of {game} are not known: register an opponent for it.",
            )


def _arena() -> Any:
    """The package; not kept in an environment, which must be copied."""
    return extra_module("textarena", extra="envs", where=ENV_ID)


def bracketed(action: str) -> str:
    """An action as TextArena wants it: in square brackets, and not endless."""
    text = action.strip()[:MAX_CHARS]
    return text if "[" in text or "]" in text else f"[{text}]"


def begun(game: str, seed: int, opening: int) -> Any:
    """A game without wrappers, after its opening.

    Args:
        game: Its id.
        seed: Of all that chance decides until then.
        opening: Random actions, in games for two whose allowed actions are known.
    """
    arena = _arena()
    bare = f"{game}-raw"
    known = arena.envs.registration.ENV_REGISTRY
    luck, name = Luck(seed), name_of(game)
    with luck.drawn(), unheard():
        made = arena.make(bare if bare in known else game)
        while hasattr(made, "env"):
            made = made.env
        made.reset(num_players=2 if name in TWO_PLAYERS else 1, seed=seed)
        draws = generator(seed, ENV_ID, "opening")
        legal = LEGAL.get(name) if name in TWO_PLAYERS else None
        for _ in range(opening if legal else 0):
            choices = legal(made) if legal else ()
            is_over, _ = made.step(choices[int(draws.integers(len(choices)))])
            if is_over:
                raise _refusal("opening", opening, f"It may end {game}: use less.")
    return made


def _players() -> dict[str, Scripted]:
    return {
        "random": Scripted(act=_random, about="any allowed action"),
        "first": Scripted(act=_first, about="the first allowed action"),
        "ahead": Scripted(
            act=_ahead, about="the best of 12 random continuations per action", is_oracle=True
        ),
    }


def _refusal(option: str, value: Any, fix: str) -> OptionValueError:
    return OptionValueError(where=f"{ENV_ID}, {option}", problem=f"got {value!r}.", fix=fix)


def _seat_of(seat: str, seed: int) -> int:
    return {"first": 0, "second": 1}.get(seat, seed % 2)


@lru_cache(maxsize=16)
def _tasks(split: str, games: tuple[str, ...], seat: str, opening: int) -> Sequence[Task]:
    """Shared by all environments of the same games."""

    def pose(index: int, seed: int) -> tuple[dict[str, Any], str]:
        game = games[index % len(games)]
        place = _seat_of(seat, seed) if name_of(game) in TWO_PLAYERS else 0
        made = begun(game, seed, opening)
        hidden = {name: value for name, value in vars(made).items() if name != "state"}
        content = [game, place, made.state.current_player_id, made.state.game_state, hidden]
        return {"game": game, "seat": place, "opening": opening}, canonical(content)

    firsts = {pose(0, seed)[1] for seed in range(NUM_LOOKED_AT)}
    if len(firsts) > 2:  # more than the two seats
        return cut_tasks(ENV_ID, split, NUM_TASKS[split], pose)
    seats = {pose(0, seed)[0]["seat"]: seed for seed in range(NUM_LOOKED_AT)}
    tasks = [
        Task(
            id=f"{split}-{place}",
            env=ENV_ID,
            split=split,
            payload={**pose(0, seed)[0], "seed": seed},
        )
        for place, seed in sorted(seats.items())
    ]
    return LazyTasks(0 if split == "held_out" else len(tasks), tasks.__getitem__)
