"""Modes that choose what is said: proposals, listed acts, nearest neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from control_cases import Chain, letters_controller, letters_lm

from sayso.control.agent import SB3Agent
from sayso.control.choices import SPREAD, Slate, nearest, taken
from sayso.control.controller import controller
from sayso.control.env import LMControlEnv
from sayso.control.generate import Answer
from sayso.errors import EnvContractError, OptionValueError
from sayso.rollout.collect import collect
from sayso.types import FinishReason


def slate(points: list[list[float]], live: list[bool] | None = None) -> Slate:
    answers = tuple(
        Answer(ids=(n,), logprobs=(0.0,), finish=FinishReason.STOP) for n in range(len(points))
    )
    shown = np.array(points, np.float32) * SPREAD
    slots = tuple(range(len(points)))
    is_live = np.array(live or [True] * len(points))
    return Slate(answers=answers, slots=slots, is_live=is_live, shown=shown)


def test_one_neighbour_is_the_nearest_that_is_live() -> None:
    found = slate([[0.0, 0.0], [0.5, 0.5], [0.6, 0.6]], [True, False, True])
    answer = nearest(found, np.array([0.5, 0.5], np.float32), 0, num_neighbours=1)
    assert answer.ids == (2,)
    assert answer.executed == pytest.approx((0.6, 0.6))


def test_neighbours_are_drawn_by_their_distances() -> None:
    found = slate([[0.0, 0.0], [0.2, 0.0], [0.9, 0.9]])
    point = np.array([0.05, 0.0], np.float32)
    drawn = [nearest(found, point, seed, num_neighbours=2).ids[0] for seed in range(4000)]
    near, far = 0.05**2, 0.15**2
    weight = np.exp(-(far - near) / ((near + far) / 2))
    expected = 1 / (1 + weight)  # 0.832
    assert abs(drawn.count(0) / 4000 - expected) < 3 * np.sqrt(expected * (1 - expected) / 4000)
    assert 2 not in drawn


def test_slots_beyond_those_in_use_count_around() -> None:
    found = slate([[0.0], [1.0]])
    assert [taken(found, slot).ids[0] for slot in range(5)] == [0, 1, 0, 1, 0]


def test_copies_of_a_proposal_are_not_live_and_show_the_same() -> None:
    moved = letters_controller("candidates", num_candidates=8, max_new_tokens=1)
    seat = moved.seat()
    (scene,) = moved.look([seat.begin(5)])
    assert scene.slate is not None
    assert scene.slate.shown is not None
    ids = [answer.ids for answer in scene.slate.answers]
    assert scene.slate.is_live.tolist() == [ids.index(one) == n for n, one in enumerate(ids)]
    assert not scene.slate.is_live.all()
    for n, one in enumerate(ids):
        np.testing.assert_array_equal(scene.slate.shown[n], scene.slate.shown[ids.index(one)])


def test_a_candidate_is_shown_by_its_states_behind_the_context() -> None:
    moved = letters_controller("candidates", num_candidates=2)
    (scene,) = moved.look([moved.seat().begin(5)])
    lm, answer = moved.lm, scene.slate.answers[0] if scene.slate else None
    assert answer is not None
    import torch

    whole = torch.tensor([scene.asked.context + answer.ids])
    order = torch.arange(whole.shape[1])
    with torch.no_grad():
        hidden = lm.hidden(whole, order[None], (order[:, None] >= order)[None])[0]
    for part, expected in (
        (scene.observation[: lm.width], hidden[len(scene.asked.context) - 1]),
        (scene.observation[lm.width : 2 * lm.width], hidden[len(scene.asked.context) :].mean(0)),
    ):
        unit = expected / expected.norm() * lm.width**0.5
        np.testing.assert_allclose(part, unit.numpy(), atol=1e-4)


def test_acts_are_what_the_environment_lists() -> None:
    moved = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4)
    seat = moved.seat()
    (scene,) = moved.look([seat.begin(0)])
    assert moved.mask(scene).tolist() == [True, True, False]
    (answer,) = moved.answer([scene], np.array([1]))
    assert seat.play([answer]).text == "p"


def test_more_acts_than_slots_and_none_at_all_are_told() -> None:
    moved = controller(letters_lm(), Chain(), "acts", max_new_tokens=4)  # the first list has two
    seat = moved.seat()
    (scene,) = moved.look([seat.begin(0)])
    played = seat.play(moved.answer([scene], np.array([0])))
    assert played.asked is not None
    with pytest.raises(EnvContractError, match="lists 3 actions, there are 2 slots"):
        moved.look([played.asked])
    with pytest.raises(OptionValueError, match="lists no actions"):
        letters_controller("acts")


def test_an_episode_is_cut_off_where_the_context_has_no_room_for_an_act() -> None:
    """Everywhere alike: by an environment of numbers, and when the same is evaluated."""
    moved = controller(letters_lm(), Chain(num_turns=99), "acts", num_acts=3, max_new_tokens=16)
    env, is_over = LMControlEnv(moved), False
    env.reset(seed=0)
    num_turns = 0
    while not is_over:
        _, _, terminated, truncated, _ = env.step(2)
        num_turns, is_over = num_turns + 1, terminated or truncated
    assert truncated
    assert not terminated
    report = SB3Agent.constant(moved, 2).evaluate(split="train", num_episodes=8)
    assert (report.num_failed, report.num_truncated) == ({}, 8)
    played = collect(
        SB3Agent.constant(moved, 2).policy(), moved.task.open().tasks("train"), moved.task,
        group_size=1, seed=0, path=("test",), limits=SB3Agent.constant(moved, 2).limits(),
    )  # fmt: skip
    assert {len(episode.turns) for episode in played} == {num_turns}
    # 128 tokens of context, of which 16 are kept for an act: no turn more would have fitted.
    longest = max(sum(len(t.observation_ids) + len(t.action_ids) for t in e.turns) for e in played)
    assert 128 - 16 - 4 <= longest <= 128


def test_an_act_that_is_too_long_or_of_other_characters_is_told() -> None:
    moved = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=1)
    seat = moved.seat()
    (scene,) = moved.look([seat.begin(0)])
    played = seat.play(moved.answer([scene], np.array([0])))
    assert played.asked is not None
    with pytest.raises(EnvContractError, match=r"'po' has 2 tokens.*max_new_tokens = 2 or more"):
        moved.look([played.asked])
    with pytest.raises(EnvContractError, match=r"cannot say 'A'.*vocabulary"):
        moved.look([replace(played.asked, choices=("A",))])
