"""The audit knows a good critic from a bad one, and from the opposite of a good one."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import candidate_learner, sentence_of
from learner_cases import END, learner, randomise_critic, tiny_lm, written
from tinylang_training import policy_table, reference_lm
from typer.testing import CliRunner
from value_cases import (
    NO_MEMORY,
    RECORDS,
    enumerated,
    settle,
    settling,
    spoken,
    states_of,
    value_learner,
)

import sayso
from sayso.algorithms.base import ActionValues, HasValues
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.cli.main import app
from sayso.envs.registry import source
from sayso.envs.tinylang_math import prefixes, sequences
from sayso.errors import EnvContractError, OptionValueError
from sayso.evaluation.audit import AuditReport, _return, audit
from sayso.models.seeding import seeded
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.types import Episode


class Critic:
    """Says what it is told to of every prefix; the reference policy acts."""

    def __init__(self, kind: str, *, sign: float = 1.0, is_random: bool = False) -> None:
        self.made = learner("rloo", reference_lm(), sampling=SamplingOptions(max_new_tokens=3))
        self.kind, self.sign, self.is_random = kind, sign, is_random
        self.table = policy_table(self.made.lm)

    def policy(self) -> Policy:
        return self.made.policy()  # type: ignore[no-any-return]

    def value(self, prefix: str) -> float:
        """Exact expected reward after a prefix."""
        if prefix in sequences():
            return sequences()[prefix]
        return sum(p * self.value(prefix + x) for p, x in
                   zip(self.table[prefix], "abE", strict=True))  # fmt: skip

    def action_values(self, episode: Episode) -> ActionValues:
        (turn,) = episode.turns
        said = "".join("abE"[token] for token in turn.action_ids)
        shift = self.kind != "v"
        values = np.array([self.value(said[: n + shift]) for n in range(len(said))])
        if self.kind == "utterance":
            values[:-1] = np.nan
        if self.is_random:
            values = np.random.default_rng(episode.sample_index).normal(size=len(said))
        return ActionValues(values=self.sign * values, kind="v" if self.kind == "v" else "q")


def audited(critic: Any, **more: Any) -> AuditReport:
    options = {"num_prefixes": 40, "num_continuations": 16, "seed": 1, **more}
    return audit(critic, source("sayso/TinyLang-v0"), split="train", limits=RolloutLimits(),
                 **options)  # fmt: skip


@pytest.mark.medium
def test_an_exact_critic_of_whole_utterances_is_right_about_all_of_them() -> None:
    """Nothing is left to chance once everything is said."""
    found = audited(Critic("utterance"), num_continuations=2)
    assert found.kind == "q"
    assert found.correlation.mean == pytest.approx(1)
    assert found.bias.mean == pytest.approx(0, abs=1e-12)
    negated = audited(Critic("utterance", sign=-1), num_continuations=1)
    assert negated.correlation.mean == pytest.approx(-1)
    assert negated.bias.high < 0


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "least"), [("q", 0.75), ("v", 0.45)])
def test_the_exact_critic_of_tokens_scores_high_and_a_random_one_does_not(
    kind: str, least: float
) -> None:
    """As high as the noise of 16 continuations lets it; most V of TinyLang are nearly alike."""
    good, blind = audited(Critic(kind)), audited(Critic(kind, is_random=True))
    assert good.kind == kind
    assert good.correlation.mean > least
    assert good.correlation.low > 0.2
    assert good.bias.low <= 0 <= good.bias.high
    assert abs(blind.correlation.mean) < 0.4
    assert blind.correlation.low < 0 < blind.correlation.high


def test_same_seed_same_report_and_its_form_is_stable() -> None:
    critic = Critic("q")
    one = audited(critic, num_prefixes=6, num_continuations=2)
    assert one == audited(critic, num_prefixes=6, num_continuations=2)
    assert one != audited(critic, num_prefixes=6, num_continuations=2, seed=2)
    told = json.loads(json.dumps(one.to_json()))
    assert told["num_prefixes"] == 6
    assert told["rank_correlation"]["n"] == 6
    assert "rank correlation with returns" in str(one)


def test_a_return_is_counted_from_the_prefix_on_with_the_critics_discounts() -> None:
    """Two turns of two tokens: 0.5 inside a turn, 0.25 from one to the next."""
    made = learner("a2c")
    turns = [([END], [0, END], 4.0), ([0], [1, END], 8.0)]
    episode = written(made.lm, turns)
    told = ActionValues(values=np.zeros(4), kind="q", gamma_token=0.5, gamma_turn=0.25)
    assert [_return(episode, told, place) for place in range(4)] == [2.5, 5.0, 4.0, 8.0]


def test_learners_with_a_critic_say_so() -> None:
    assert isinstance(learner("a2c"), HasValues)
    assert not isinstance(learner("rloo"), HasValues)
    without = {name for name, made in ALGORITHMS.items() if not hasattr(made, "action_values")}
    assert without == {"grpo", "rloo", "reinforce", "reinforce_pp", "bc", "filtered_bc", "dpo"}


def contexts() -> torch.Tensor:
    """Hidden states before each token of ``abE``."""
    return states_of(tiny_lm())[[list(prefixes()).index(prefix) for prefix in ("", "a", "ab")]]


SAID = torch.tensor([0, 1, END])


def by_hand(made: Any) -> torch.Tensor:
    """What random heads say of ``abE``, token by token."""
    hidden, kind = contexts(), made.options.type
    if kind == "token_dqn":
        advantage = made.heads.online.action(hidden)
        centred = advantage - advantage.mean(-1, keepdim=True)
        all_of = centred + made.heads.online.context(hidden)[:, None]
    elif kind == "q_sharp":
        chance = made.head(hidden).softmax(-1)
        all_of = 0.5 * (chance * (made.outcomes / 0.5).exp()).sum(-1).log()
    else:
        all_of = torch.stack([head(hidden) for head in made.heads.heads()]).amin(0)
    return all_of.gather(-1, SAID[:, None])[:, 0]


@pytest.mark.parametrize("name", ["ilql", "mc_returns", "token_dqn", "q_sharp"])
def test_critics_of_tokens_say_what_their_heads_say_of_the_token_that_was_said(name: str) -> None:
    if name == "q_sharp":
        made, gammas = learner("q_sharp", beta=0.5), (1.0, 1.0)
    else:
        made, gammas = value_learner(name, gamma_token=0.5, gamma_turn=0.25), (0.5, 0.25)
    with torch.no_grad():
        for number, weight in enumerate(made.core.lm.q_heads.parameters()):
            weight.copy_(torch.linspace(-1, 1, weight.numel()).sin().view(weight.shape) + number)
    found = made.action_values(spoken(made.lm, "abE"))
    assert found.kind == "q"
    assert (found.gamma_token, found.gamma_turn) == gammas
    with torch.no_grad():
        assert found.values.tolist() == pytest.approx(by_hand(made).tolist(), abs=1e-9)


def test_the_critic_of_soft_q_says_values_of_contexts() -> None:
    made = learner("soft_td", gamma_turn=0.5)
    randomise_critic(made.lm)
    found = made.action_values(spoken(made.lm, "abE"))
    assert (found.kind, found.gamma_token, found.gamma_turn) == ("v", 1.0, 0.5)
    with torch.no_grad():
        assert found.values.tolist() == pytest.approx(made.lm.values(contexts()).tolist())


@pytest.mark.medium
def test_monte_carlo_values_that_were_learnt_are_right_about_the_policy_of_the_data() -> None:
    """Once they are the exact values of the reference; and not with heads that say anything."""
    made = value_learner("mc_returns", reference_lm(), optim=settling(300), train_lm=False,
                         critic_lr=3e-2, alpha_cql=0.0, replay=NO_MEMORY,
                         acting=ActingOptions(beta=0.0))  # fmt: skip
    settle(made, enumerated(made.lm), 300)
    good = audited(made)
    assert good.correlation.mean > 0.75
    assert good.bias.low <= 0 <= good.bias.high
    with seeded(3), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()
    assert audited(made).correlation.mean < 0.5


@pytest.mark.parametrize(
    "name", ["candidate_dqn", pytest.param("candidate_sac", marks=pytest.mark.medium)]
)
def test_a_critic_of_candidates_that_is_right_has_rank_correlation_1_and_a_shuffled_one_about_0(
    name: str,
) -> None:
    shuffled = dict(zip(sequences(), np.roll(list(sequences().values()), 7), strict=True))
    found = []
    for worth in (sequences(), shuffled):
        made = candidate_learner(
            RECORDS[name](evaluate="sampled", candidates=CandidateOptions(num_proposals=4)),
            reference_lm(),
        )
        played = made.parts.table
        made.parts.scored = functools.partial(played, made.parts.readers.online)
        made.parts.table = lambda _, slates, __, worth=worth: np.array([
            [worth[sentence_of(slate.candidates[at])] if at < len(slate.candidates) else -np.inf
             for at in range(4)] for slate in slates
        ])  # fmt: skip
        found.append(audited(made, num_prefixes=60, num_continuations=1))
    right, wrong = found
    assert right.kind == "q"
    assert right.correlation.mean == pytest.approx(1)
    assert right.bias.mean == pytest.approx(0, abs=1e-12)
    assert abs(wrong.correlation.mean) < 0.5


class Moody(sayso.TextEnv):
    """Answers as it likes."""

    count = 0

    def tasks(self, split: str) -> list[sayso.Task]:
        return [sayso.Task(id="one", env="Moody", split=split)]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        type(self).count += 1
        return "a" * type(self).count, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", 1.0, True, False, {}


def test_an_environment_that_is_not_deterministic_is_refused_loudly() -> None:
    with pytest.raises(EnvContractError, match="cannot be played again"):
        audit(learner("a2c"), source(Moody), split="train", num_prefixes=1, seed=0,
              limits=RolloutLimits())  # fmt: skip


@pytest.mark.medium
def test_the_command_line_prints_the_audit_and_refuses_where_there_is_no_critic(
    tmp_path: Path,
) -> None:
    for name, made in (("a2c", sayso.A2C), ("rloo", sayso.RLOO)):
        agent = made("tiny", "sayso/TinyLang-v0", tiny={"tokens": "ab", "width": 16, "layers": 1},
                     max_new_tokens=3, tasks_per_step=1, group_size=8)  # fmt: skip
        agent.learn(8, run=tmp_path / name, progress_bar=False)
    options = ["--episodes", "4", "--audit", "5"]
    plain = CliRunner().invoke(app, ["eval", str(tmp_path / "a2c"), *options])
    assert plain.exit_code == 0, plain.output
    assert "critic (v): rank correlation" in plain.output
    told = CliRunner().invoke(app, ["eval", str(tmp_path / "a2c"), *options, "--json"])
    assert json.loads(told.output)["audit"]["num_prefixes"] == 5
    without = CliRunner().invoke(app, ["eval", str(tmp_path / "a2c"), "--episodes", "4", "--json"])
    assert "audit" not in json.loads(without.output)
    refused = CliRunner().invoke(app, ["eval", str(tmp_path / "rloo"), *options])
    assert refused.exit_code != 0
    assert "has none" in str(refused.exception) + refused.output


def test_an_agent_is_audited_from_python_too() -> None:
    tiny = {"tiny": {"tokens": "ab", "width": 16, "layers": 1}, "max_new_tokens": 3}
    agent = sayso.ILQL("tiny", "sayso/TinyLang-v0", **tiny)
    found = sayso.audit(agent, split="train", num_prefixes=4, num_continuations=2)
    assert (found.kind, len(found.values), found.num_continuations) == ("q", 4, 2)
    with pytest.raises(OptionValueError, match=r"rloo has none.*ilql"):
        sayso.audit(sayso.RLOO("tiny", "sayso/TinyLang-v0", **tiny), split="train")
    with pytest.raises(OptionValueError, match="num_prefixes"):
        sayso.audit(agent, split="train", num_prefixes=0)
    with pytest.raises(OptionValueError, match="no agent"):
        sayso.audit(agent.learner)  # type: ignore[arg-type]


def test_a_critic_that_was_not_saved_is_not_audited_until_it_has_learnt(tmp_path: Path) -> None:
    tiny = {"tiny": {"tokens": "ab", "width": 16, "layers": 1}, "max_new_tokens": 3}
    few = {"tasks_per_step": 1, "group_size": 4, "critic_updates": 1, "warmup_updates": 0}
    for trunk in ("copy", "frozen"):
        agent = sayso.ArCHer("tiny", "sayso/TinyLang-v0", trunk=trunk, **tiny, **few)
        agent.save(tmp_path / trunk)
    small = {"split": "train", "num_prefixes": 2, "num_continuations": 1}
    assert sayso.audit(sayso.Agent.load(tmp_path / "frozen"), **small).kind == "q"
    loaded = sayso.Agent.load(tmp_path / "copy")
    with pytest.raises(OptionValueError, match=r"not saved.*'copy'.*sayso eval RUN"):
        sayso.audit(loaded, **small)
    loaded.learn(4, run=tmp_path / "run", progress_bar=False)
    assert sayso.audit(loaded, **small).kind == "q"
