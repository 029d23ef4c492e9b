"""The dialogue state of the desk, read off the words: what the talk itself knows."""

from __future__ import annotations

import numpy as np
import pytest

from sayso.envs.desk import DeskEnv
from sayso.envs.desk_acts import acts, by_the_book
from sayso.envs.desk_state import STATE
from sayso.envs.desk_tasks import GOALS


@pytest.mark.parametrize("with_example", [False, True])
@pytest.mark.parametrize("split", ["train", "unseen"])
def test_what_is_read_is_what_the_talk_knows(split: str, *, with_example: bool) -> None:
    desk, rng = DeskEnv(with_example=with_example), np.random.default_rng(0)
    seen = np.zeros((2, len(STATE)))
    for seed, task in enumerate(desk.tasks(split)[:40]):
        shown, info = desk.reset(seed=seed, options={"task": task.id, "split": split})
        said = shown if isinstance(shown, str) else "\n".join(m.content for m in shown)
        is_over = False
        while not is_over:
            talk, listed = desk.talk, acts(desk.talk)
            values = desk.state_of(said, info["choices"])
            state = dict(zip(desk.state_names, values, strict=True))
            seen = np.stack([np.minimum(seen[0], values), np.maximum(seen[1], values)])
            assert {f"can_{name}" for name in listed} == {
                name for name in STATE if name.startswith("can_") and state[name]
            }
            assert bool(state["settled"]) is (talk.settled is not None)
            if not talk.num_false:  # customers believe a lie as well
                assert bool(state["outcome_told"]) is talk.knows_outcome
            assert bool(state["no_number"]) is ("no_number" in talk.known)
            assert bool(state["wrong_number"]) is bool(talk.missing)
            assert state["turns"] == pytest.approx(talk.num_turns / 12)
            goal, card = talk.facts["goal"], [name for name, _ in talk.facts["rules"]]
            if talk.seen:
                assert state["needs_command"] == (1 if GOALS[goal].tool else -1)
                places = [name for name in STATE if name.startswith("rule_") and state[name] == 1]
                assert f"rule_{card.index(goal)}" in places if goal in card else not places[1:]
            if talk.has_record and goal in card:
                assert state["rule_holds"] == (1 if talk.allowed else -1)
            by_heart = rng.random() < 0.7
            action = listed[by_the_book(talk) if by_heart else str(rng.choice(list(listed)))]
            shown, _, is_over, _, info = desk.step(action)
            answer = shown if isinstance(shown, str) else shown[-1].content
            said += f"\n{action}\n{answer}"
    assert ((seen[0] >= -1) & (seen[1] <= 1)).all()
    assert (seen[1] > 0).sum() > len(STATE) - 4  # nearly all of it occurs
