"""Games whose observation says all: with a context of one turn, logs can be stitched together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from value_cases import NO_MEMORY, value_learner

from sayso.algorithms.options.optim import OptimOptions
from sayso.credit.backups import Action, Values, value_iteration
from sayso.data.encode import Encoder
from sayso.envs.base import TextEnv
from sayso.envs.scripted import Game, Move
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode, Task

GAMMA = 0.9
NEXT: dict[str, dict[str, tuple[float, str | None]]] = {
    "near": {"left": (0.5, None), "right": (0.0, "middle")},
    "far": {"left": (0.0, "far"), "right": (0.0, "middle")},
    "middle": {"left": (0.0, None), "right": (1.0, None)},
}
"""Two rooms share the middle. From the near one the best way is through it: 0.9 instead of 0.5."""
MOVES = ("left", "right")
GAMES = (
    ("near", "left"), ("near", "left"),
    ("near", "right", "left"), ("near", "right", "left"),
    ("far", "right", "right"), ("far", "left", "right", "right"), ("far", "right", "left"),
    ("far", "right", "right"),
)  # fmt: skip
"""A start and its moves. Whoever came from the near room went the wrong way in the middle."""


class Rooms(TextEnv):
    """Says in which room one is."""

    def tasks(self, split: str) -> list[Task]:
        return [Task(id=room, env="Rooms", split=split) for room in ("near", "far")]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.room = self.choose(seed, options).id
        return self.room, {}

    def step(self, action: str) -> Any:
        reward, room = NEXT[self.room].get(action, (-1.0, self.room))
        self.room = room or self.room
        return self.room, reward, room is None, False, {}


def rooms_lm(seed: int, dtype: str = "float32") -> Any:
    tiny = TinyOptions(
        tokens=["near", "far", "middle", "left", "right", "\n"], width=32, layers=1, heads=2,
        context=64,
    )  # fmt: skip
    lm = load("tiny", ModelOptions(name="tiny", dtype=dtype, tiny=tiny), seed=seed)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in lm.network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)  # states tell apart what was seen before
    return lm


def logged(lm: Any, context: Any) -> list[Episode]:
    """The games as a policy would have recorded them."""
    encoder = Encoder(lm.chat, max_new_tokens=1, max_context=64, num_ids=lm.vocabulary,
                      context=context)  # fmt: skip
    found = []
    for start, *moves in GAMES:
        room, told = start, list[Move]()
        for move in moves:
            reward, after = NEXT[room][move]
            told.append(Move(observation=room, action=move, reward=reward, parts={}))
            room = after or "near"
        task = Task(id=start, env="Rooms", split="train")
        game = Game(task=task, moves=tuple(told), last="", terminated=True)
        episode = encoder.encode(game)
        assert episode is not None
        found.append(episode)
    return found


def solved(tau: float) -> Values:
    """What the log says of the rooms, if only the room counts."""
    counts = {room: dict.fromkeys(MOVES, 0) for room in NEXT}
    for start, *moves in GAMES:
        room: str | None = start
        for move in moves:
            assert room is not None
            counts[room][move] += 1
            room = NEXT[room][move][1]
    table = {
        room: [
            Action(probability=counts[room][move] / sum(counts[room].values()),
                   reward=NEXT[room][move][0], to=NEXT[room][move][1], discount=GAMMA)
            for move in MOVES
        ]
        for room in NEXT
    }  # fmt: skip
    return value_iteration(table, backup="expectile", tau=tau)


def learnt(context: Any, tau: float, seed: int, num_steps: int, dtype: str = "float32") -> Any:
    """ILQL after so many steps on the whole log; values by heads on a frozen trunk."""
    torch.set_num_threads(1)
    made = value_learner(
        "ilql", rooms_lm(seed, dtype), seed=seed, sampling=SamplingOptions(max_new_tokens=1),
        optim=OptimOptions(lr=3e-2, schedule="cosine", total_steps=num_steps, max_grad_norm=1e9),
        critic_lr=3e-2, train_lm=False, replay=NO_MEMORY, gamma_turn=GAMMA, tau=tau, alpha_cql=0.0,
        target_rate=0.3,
    )  # fmt: skip
    episodes = logged(made.lm, context)
    for step in range(num_steps):
        assert not made.update(episodes, seed=step).skipped
    return made


@torch.no_grad()
def action_values(made: Any, *rooms: str, context: str) -> list[float]:
    """Least value of left and right in a room; with a context of an episode, after the others."""
    chat, lm = made.lm.chat, made.lm
    ids = list(chat.prompt(rooms[0]))
    for room in rooms[1:]:
        said = chat.action("right", max_tokens=1)
        ids = (
            [*chat.prompt(room)]
            if context == "turn"
            else [*ids, *said, *chat.reply(room, closed=chat.is_closed(said))]
        )
    n = len(ids)
    visible = torch.ones(1, n, n, dtype=torch.bool).tril()
    hidden = lm.hidden(torch.tensor([ids]), torch.arange(n)[None], visible)[0, -1:]
    q = torch.stack([head(hidden) for head in made.heads.heads()]).amin(0)[0]
    return [float(q[chat.action(move, max_tokens=1)[0]]) for move in MOVES]


@pytest.mark.medium
@pytest.mark.parametrize("tau", [0.5, 0.9])
def test_values_of_observations_settle_at_the_tables_fixed_point(tau: float) -> None:
    truth = solved(tau)
    made = learnt("turn", tau, 0, 1200, "float64")
    for room in NEXT:
        found = action_values(made, room, context="turn")
        assert found == pytest.approx(truth.action[room], abs=1e-3), room


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_only_a_context_of_one_turn_stitches_logged_games_together(seed: int) -> None:
    best = {"left": 0.5, "right": GAMMA * 1.0}
    made = learnt("turn", 0.98, seed, 500)
    found = action_values(made, "near", context="turn")
    assert found == pytest.approx(list(best.values()), abs=0.03)
    assert action_values(made, "near", "middle", context="turn")[1] == pytest.approx(1, abs=0.03)
    whole = learnt("episode", 0.98, seed, 500)
    told = action_values(whole, "near", context="episode")
    assert told[0] == pytest.approx(0.5, abs=0.03)
    assert told[1] < 0.25  # 0 in the log; the two ways to the middle look a little alike
    # From the far room it was logged, and both know it.
    for known, context in ((made, "turn"), (whole, "episode")):
        assert action_values(known, "far", context=context)[1] == pytest.approx(GAMMA, abs=0.03)
