"""The engine that chooses among whole actions: what every engine promises, and what it adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from candidate_cases import MAZE, maze_lm
from engine_cases import drain
from learner_cases import END, plain_logprobs, tiny_lm

from sayso.envs.registry import source
from sayso.errors import SamplingError
from sayso.models.slates import Slate
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Engine, Policy, Request
from sayso.sampling.candidates import CandidateEngine, CandidateMaker, drawn_place
from sayso.sampling.decisions import Asked
from sayso.sampling.make import make_engine
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.types import FinishReason

SAMPLING = SamplingOptions(max_new_tokens=3, engine="torch")


def by_prior(slates: Sequence[Slate], _: Sequence[int] = ()) -> list[Any]:
    return [np.array(slate.logprior) for slate in slates]


def by_length(slates: Sequence[Slate], _: Sequence[int] = ()) -> list[Any]:
    """Weights that a test can work out: in proportion to the number of tokens."""
    lengths = [np.array([len(ids) for ids in slate.candidates], float) for slate in slates]
    return [np.log(x / x.sum()) for x in lengths]


class Watched:
    """A chooser that keeps what it was shown."""

    def __init__(self) -> None:
        self.calls: list[list[Slate]] = []
        self.episodes: list[int] = []

    def __call__(self, slates: Sequence[Slate], episodes: Sequence[int]) -> list[Any]:
        self.calls.append(list(slates))
        self.episodes += episodes
        return by_length(slates)


def engine(lm: Any = None, choose: Any = by_length, **options: Any) -> CandidateEngine:
    lm = lm or tiny_lm()
    given = CandidateOptions(**options)
    inner = make_engine(lm, SAMPLING)
    return CandidateEngine(lm, CandidateMaker(lm, inner, given, SAMPLING.distribution()), choose)


def ask(name: str, ids: Sequence[int] = (END,), *, seed: int = 0, **more: Any) -> Request:
    given = {"session": name, "new_ids": tuple(ids), "seed": seed, "max_new_tokens": 3}
    return Request(**{**given, **more})


def test_is_an_engine() -> None:
    made = engine()
    assert isinstance(made, Engine)
    assert made.max_context == 64
    assert made.poll() == []
    assert made.path.startswith("a choice among candidates; proposals: torch")


@pytest.mark.parametrize("source_", ["auto", "proposed", "both"])
def test_seeds_decide_and_the_company_does_not(source_: Any) -> None:
    requests = [
        ask(f"s{i}", [END, *([0, 1] * (i % 3))], seed=i % 7, choices=("ab", "b")[: i % 3])
        for i in range(12)
    ]
    together = drain(engine(source=source_), requests)
    backwards = drain(engine(source=source_), requests[::-1])
    assert list(backwards) == list(together)[::-1]
    for request in requests:
        (alone,) = drain(engine(source=source_), [request]).values()
        for other in (together[request.session], backwards[request.session]):
            assert (other.ids, other.candidates) == (alone.ids, alone.candidates)
            assert other.logprobs == pytest.approx(alone.logprobs, abs=1e-12)
    other = drain(engine(source=source_), [replace(r, seed=r.seed + 50) for r in requests])
    assert any(other[name].ids != done.ids for name, done in together.items())


def test_all_that_is_queued_is_weighed_in_one_call() -> None:
    watched = Watched()
    made = engine(choose=watched)
    assert len(drain(made, [ask(f"s{i}", seed=i) for i in range(5)])) == 5
    assert [len(call) for call in watched.calls] == [5]


def test_who_chooses_is_told_which_episode_it_is() -> None:
    watched = Watched()
    drain(engine(choose=watched), [ask(f"s{i}", seed=i, episode_seed=i // 2) for i in range(4)])
    assert watched.episodes == [0, 0, 1, 1]


def test_listed_actions_are_written_by_the_chat_format_stop_token_included() -> None:
    (done,) = drain(engine(), [ask("s", choices=("ab", "b", "aba", "bbbb"))]).values()
    assert done.candidates == ((0, 1, END), (1, END), (0, 1, 0), (1, 1, 1))
    assert done.ids in done.candidates
    ended = done.ids[-1] == END
    assert done.finish is (FinishReason.STOP if ended else FinishReason.LENGTH)


def test_the_log_probability_of_the_choice_stands_at_the_first_token() -> None:
    request = ask("s", choices=("ab", "b", "aba"))
    for seed in range(6):
        (done,) = drain(engine(), [replace(request, seed=seed)]).values()
        assert len(done.logprobs) == len(done.ids)
        assert math.fsum(done.logprobs) == pytest.approx(math.log(len(done.ids) / 8))
        assert set(done.logprobs[1:]) <= {0.0}


@pytest.mark.medium
def test_choices_are_drawn_as_often_as_they_weigh() -> None:
    requests = [ask(f"s{i}", seed=i, choices=("ab", "b", "aba")) for i in range(3000)]
    done = drain(engine(), requests)
    for ids, share in (((0, 1, END), 3 / 8), ((1, END), 2 / 8), ((0, 1, 0), 3 / 8)):
        found = sum(one.ids == ids for one in done.values()) / len(done)
        assert abs(found - share) < 3 * math.sqrt(share * (1 - share) / len(done))


def test_proposals_are_what_the_model_says_at_seeds_of_their_own() -> None:
    """Their shares are the model's probabilities; equal ones are one candidate that weighs more."""
    watched = Watched()
    lm = tiny_lm()
    made = engine(lm, watched, num_proposals=400)
    (done,) = drain(made, [ask("s", [END, 1], seed=3)]).values()
    assert len(done.candidates) == 400
    (slate,) = watched.calls[0]
    assert set(slate.candidates) == set(done.candidates)
    assert len(slate.candidates) < 16
    for ids, logprior in zip(slate.candidates, slate.logprior, strict=True):
        assert math.exp(logprior) == pytest.approx(done.candidates.count(ids) / 400)
        chance = math.exp(float(plain_logprobs(lm, [END, 1, *ids])[1:].detach().sum()))
        error = 4 * math.sqrt(chance * (1 - chance) / 400) + 1 / 400
        assert abs(math.exp(logprior) - chance) < error
    assert len(drain(made, [ask("t", seed=4, choices=("a",))])["t"].candidates) == 1


def test_both_kinds_share_the_prior_in_halves() -> None:
    watched = Watched()
    made = engine(choose=watched, source="both", num_proposals=4)
    (done,) = drain(made, [ask("s", choices=("aaa", "bb"), seed=1)]).values()
    assert done.candidates[:2] == ((0, 0, 0), (1, 1, END))
    assert len(done.candidates) == 6
    (slate,) = watched.calls[0]
    for ids, logprior in zip(slate.candidates, slate.logprior, strict=True):
        listed, drawn = done.candidates[:2].count(ids), done.candidates[2:].count(ids)
        assert math.exp(logprior) == pytest.approx(listed / 4 + drawn / 8)


def test_the_prior_of_listed_actions_is_uniform_or_the_models_with_the_stop_token() -> None:
    lm, watched = tiny_lm(), Watched()
    texts = ("ab", "b", "bbb")
    drain(engine(lm, watched), [ask("s", choices=texts)])
    drain(engine(lm, watched, prior="lm"), [ask("s", [END, 0], choices=texts)])
    uniform, by_model = watched.calls[0][0], watched.calls[1][0]
    assert np.exp(uniform.logprior) == pytest.approx([1 / 3] * 3)
    chances = [
        math.exp(float(plain_logprobs(lm, [END, 0, *ids])[1:].detach().sum()))
        for ids in by_model.candidates
    ]
    assert np.exp(by_model.logprior) == pytest.approx(np.array(chances) / sum(chances), rel=1e-6)


@pytest.mark.parametrize("state", ["context", "observation"])
def test_the_conversation_is_kept_in_the_tokens_that_were_chosen(state: Any) -> None:
    watched = Watched()
    made = engine(choose=watched, state=state, num_proposals=4)
    stream: tuple[int, ...] = ()
    for turn in range(4):
        seen = (0,) * (turn + 1)
        (done,) = drain(made, [ask("s", seen, seed=turn)]).values()
        stream += seen
        (slate,) = watched.calls[-1]
        assert slate.state == (stream if state == "context" else seen)
        stream += done.ids
    made.close("s")
    drain(made, [ask("s", (1,))])
    assert watched.calls[-1][0].state == (1,)


def test_what_is_closed_or_dropped_before_it_is_answered_is_not_answered() -> None:
    made = engine()
    made.submit(ask("s"))
    made.submit(ask("t"))
    made.close("s")
    assert [done.session for done in made.poll()] == ["t"]
    made.submit(ask("u"))
    made.sync()
    assert made.poll() == []


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (ask("s", ()), "0 new_ids"),
        (ask("s", (99,)), "outside"),
        (ask("s", (0,) * 62), "context is 64"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(request_: Request, problem: str) -> None:
    with pytest.raises(SamplingError, match=problem):
        engine().submit(request_)


def test_a_session_has_one_request_at_a_time() -> None:
    made = engine()
    made.submit(ask("s"))
    with pytest.raises(SamplingError, match="already waiting"):
        made.submit(ask("s"))


def test_the_inverse_distribution_function_skips_what_has_no_chance() -> None:
    inf = float("inf")
    logprobs = np.log([0.25, 0.5, 0.25])
    assert [drawn_place(logprobs, u) for u in (0.0, 0.24, 0.26, 0.74, 0.76)] == [0, 0, 1, 1, 2]
    assert drawn_place(np.array([-inf, 0.0, -inf]), 0.0) == 1
    assert drawn_place(np.array([-inf, 0.0, -inf]), 0.999999) == 1
    for broken in ([-inf, -inf], [float("nan"), 0.0]):
        with pytest.raises(SamplingError, match="no choice can be made"):
            drawn_place(np.array(broken), 0.5)


def test_an_action_that_was_taken_is_on_the_slate_even_if_nobody_proposed_it() -> None:
    lm = tiny_lm()
    made = CandidateMaker(
        lm, make_engine(lm, SAMPLING), CandidateOptions(), SAMPLING.distribution()
    )
    asked = Asked(context=(END,), observation=(END,), choices=(), seed=0, max_new_tokens=3)
    slate = made.slate(asked, [(0, END), (0, END)], 0, taken=(1, 1, 1))
    assert slate.candidates == ((0, END), (1, 1, 1))
    assert slate.logprior == (0.0, -float("inf"))
    assert made.slate(asked, [(0, END)], 0, taken=(0, END)).candidates == ((0, END),)


def test_a_maze_is_played_by_its_listed_moves_and_the_ledger_keeps_them() -> None:
    lm = maze_lm()
    acting = Policy(engine=engine(lm, by_prior), chat=lm.chat, max_new_tokens=1)
    maze = source("sayso/Maze-v0", **MAZE)
    episodes = collect(acting, maze.open().tasks("train"), maze, group_size=4, seed=0,
                       path=("x",), limits=RolloutLimits())  # fmt: skip
    assert max(len(e.turns) for e in episodes) == 6
    for turn in (turn for e in episodes for turn in e.turns):
        assert turn.candidates == ((0,), (1,), (2,), (3,))
        assert turn.action == turn.choices[turn.action_ids[0]]
        assert turn.action_logprobs == pytest.approx([math.log(0.25)])


def test_a_listed_action_that_would_be_cut_off_is_refused_not_merged_with_another() -> None:
    """``abb`` and ``aba`` would both be ``ab``."""
    lm = tiny_lm()
    made = CandidateMaker(
        lm, make_engine(lm, SAMPLING), CandidateOptions(), SAMPLING.distribution(),
        max_new_tokens=2,
    )  # fmt: skip

    def asked(*choices: str, budget: int = 2) -> Asked:
        return Asked(context=(END,), observation=(END,), choices=choices, seed=0,
                     max_new_tokens=budget)  # fmt: skip

    with pytest.raises(SamplingError, match=r"'abb'.*sampling\.max_new_tokens is 2"):
        made.gather([asked("a", "abb", "aba")])
    (found,) = made.gather([asked("a", "ab")])
    assert found.ids == ((0, END), (0, 1))
    (near_the_end,) = made.gather([asked("a", "ab", budget=1)])  # of the context: no option's fault
    assert near_the_end.ids == ((0,), (0,))
