"""The audit knows a good critic from a bad one, and from the opposite of a good one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learner_cases import END, learner, written
from tinylang_training import policy_table, reference_lm
from typer.testing import CliRunner

import sayso
from sayso.algorithms.base import ActionValues, HasValues
from sayso.cli.main import app
from sayso.envs.registry import source
from sayso.envs.tinylang_math import sequences
from sayso.errors import EnvContractError
from sayso.evaluation.audit import AuditReport, _return, audit
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy, SamplingOptions
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
    assert isinstance(learner("ppo"), HasValues)
    assert not isinstance(learner("rloo"), HasValues)


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
