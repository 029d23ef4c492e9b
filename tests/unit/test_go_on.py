"""Playing on from where an episode was: the same beginning, other draws, or a loud failure."""

from __future__ import annotations

from typing import Any

import pytest
from learner_cases import learner

import sayso
from sayso.envs.registry import source
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.rollout.collect import collect, go_on
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.script import Script, script_of
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode, Task

LIMITS = RolloutLimits()


class Echo(sayso.TextEnv):
    """Four turns; shows its seed and what was said; pays by what was said."""

    changes = False
    reward_changes = False
    ends_early = False
    plays = 0

    def tasks(self, split: str) -> list[Task]:
        return [Task(id=f"{split}-{n}", env="Echo", split=split) for n in range(3)]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        type(self).plays += 1
        self.said: list[str] = []
        self.start = "ab"[(seed or 0) % 2] * (1 + (seed or 0) % 3)
        return self.start, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.said.append(action)
        again = type(self).plays > 3
        shown = "b" if self.changes and again and len(self.said) == 2 else "a"
        reward = len(action) + (1.0 if self.reward_changes and again else 0.0)
        last = 1 if self.ends_early and again else 4
        return shown * len(self.said), reward, len(self.said) == last, False, {}


@pytest.fixture
def made() -> Any:
    Echo.changes = Echo.reward_changes = Echo.ends_early = False
    Echo.plays = 0
    tiny = TinyOptions(tokens="ab", width=16, layers=1, heads=2, context=128)
    lm = load("tiny", ModelOptions(name="tiny", tiny=tiny))
    return learner("rloo", lm, sampling=SamplingOptions(max_new_tokens=4))


def played(made: Any) -> list[Episode]:
    words = source(Echo)
    return collect(made.sampler(), words.open().tasks("train"), words, group_size=1, seed=7,
                   path=("audit", "train"), limits=LIMITS)  # fmt: skip


def continued(made: Any, begun: list[tuple[Episode, Script]], num: int = 3) -> list[list[Episode]]:
    return go_on(made.sampler(), begun, source(Echo), num_each=num, seed=7, limits=LIMITS)


def test_a_script_cuts_inside_turns_and_at_their_ends(made: Any) -> None:
    episode = played(made)[0]
    first = len(episode.turns[0].action_ids)
    assert script_of(episode, 0).turns == ()
    assert script_of(episode, 0).expected_ids(0) == episode.turns[0].observation_ids
    whole = script_of(episode, first)
    assert whole.turns == episode.turns[:1]
    assert whole.beginning == ()
    assert whole.expected_ids(1) == episode.turns[1].observation_ids
    end = script_of(episode, episode.num_action_tokens)
    assert end.turns == episode.turns
    assert end.expected_ids(4) is None
    for count in range(episode.num_action_tokens + 1):
        assert script_of(episode, count).num_tokens == count
    for count in (-1, episode.num_action_tokens + 1):
        with pytest.raises(ValueError, match="num_tokens"):
            script_of(episode, count)


def test_every_prefix_is_kept_token_by_token_and_what_follows_is_drawn_anew(made: Any) -> None:
    episodes = played(made)
    for episode in episodes:
        said = [token for turn in episode.turns for token in turn.action_ids]
        begun = [(episode, script_of(episode, count)) for count in range(len(said) + 1)]
        for count, group in enumerate(continued(made, begun)):
            assert len({e.seed_path for e in group}) == 3
            for e in group:
                assert e.end is EndReason.TERMINATED
                assert [t for turn in e.turns for t in turn.action_ids][:count] == said[:count]
                assert e.turns[0].observation_ids == episode.turns[0].observation_ids
                assert all(len(turn.action_ids) <= 4 for turn in e.turns)
        group = continued(made, [(episode, script_of(episode, 0))], num=6)[0]
        assert len({tuple(turn.action_ids for turn in e.turns) for e in group}) > 1


def test_recorded_probabilities_of_a_continuation_are_those_of_its_own_contexts(made: Any) -> None:
    """The engine has seen the scripted part: else it would go on from somewhere else."""
    episode = next(e for e in played(made) if len(e.turns[1].action_ids) > 1)
    count = len(episode.turns[0].action_ids) + 1
    ((first, *_),) = continued(made, [(episode, script_of(episode, count))])
    update = made.update([first, *continued(made, [(episode, script_of(episode, 0))])[0]], seed=0)
    assert update.fatal is None
    assert update.metrics["parity/max_gap"].value < 1e-4


@pytest.mark.parametrize("fault", ["changes", "reward_changes", "ends_early"])
def test_an_environment_that_answers_otherwise_makes_the_attempt_fail(
    made: Any, fault: str
) -> None:
    episode = played(made)[0]
    setattr(Echo, fault, True)
    count = sum(len(turn.action_ids) for turn in episode.turns[:2])
    (group,) = continued(made, [(episode, script_of(episode, count))])
    assert [e.failure.kind for e in group if e.failure] == ["not_deterministic"] * 3


def test_the_same_is_played_whatever_else_is_played_beside_it(made: Any) -> None:
    episodes = played(made)
    begun = [(e, script_of(e, 2)) for e in episodes]
    together = continued(made, begun)
    again = continued(made, begun)
    assert together == again
