"""A policy that values steer: saved, put back, measured at several β."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sayso
from sayso.app.assemble import build_learner
from sayso.app.config import load_config
from sayso.app.refusals import refuse_unused
from sayso.app.schedule import num_optimiser_steps
from sayso.cli.main import app, call
from sayso.envs.registry import source
from sayso.errors import ConfigError, OptionValueError, UnusedOptionError
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions

pytestmark = pytest.mark.medium

TINY: dict[str, Any] = {
    "tiny": {"tokens": "ab", "width": 16, "layers": 1, "heads": 2, "context": 16},
    "max_new_tokens": 3, "group_size": 8, "lr": 1e-2, "critic_lr": 0.1, "replay": {"capacity": 50},
}  # fmt: skip
NAMES = {"mc_returns": "MCReturns", "ilql": "ILQL", "token_dqn": "TokenDQN"}


def agent_of(name: str, **more: Any) -> Any:
    torch.set_num_threads(1)
    options = {**TINY, **more}
    if name == "token_dqn":  # trains heads alone, which have a rate of their own
        del options["lr"]
    return getattr(sayso, NAMES[name])("tiny", "sayso/TinyLang-v0", **options)


def run_of(name: str, path: Path, **more: Any) -> Any:
    return agent_of(name, **more).learn(24, run=path, progress_bar=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_agent_acts_with_its_values_and_the_directory_alone_is_the_model(
    name: str, tmp_path: Path
) -> None:
    agent = run_of(name, tmp_path / "run")
    agent.save(tmp_path / "saved")
    again = sayso.Agent.load(tmp_path / "saved")
    measured = [a.evaluate(split="train", num_episodes=20) for a in (agent, again)]
    assert measured[0].returns == measured[1].returns
    assert agent.predict("", seed=3) == again.predict("", seed=3)
    assert (tmp_path / "saved" / "q_heads.safetensors").is_file()
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "steered by values" in card
    assert "the model alone" in card
    heads = [dict(a.lm.q_heads.named_parameters()) for a in (agent, again)]
    assert all(torch.equal(heads[0][n], heads[1][n]) for n in heads[0])
    # Without its values the directory is what β = 0 is.
    alone = load(str(tmp_path / "saved"), ModelOptions())
    plain = dict(alone.network.named_parameters())
    assert all(torch.equal(plain[n], p) for n, p in agent.lm.network.named_parameters())
    zero = again.evaluate(split="train", num_episodes=20, beta=0.0)
    assert zero.returns != measured[0].returns


def test_the_card_of_a_policy_gradient_says_nothing_of_values(tmp_path: Path) -> None:
    options = {k: v for k, v in TINY.items() if k not in ("critic_lr", "replay")}
    sayso.RLOO("tiny", "sayso/TinyLang-v0", **options).save(tmp_path / "saved")
    assert "steered" not in (tmp_path / "saved" / "README.md").read_text()


def test_deterministic_prediction_is_steered(tmp_path: Path) -> None:
    agent = run_of("mc_returns", tmp_path / "run", acting={"beta": 1000.0})
    head, context = agent.learner.heads.heads()[0], agent.learner.heads.context
    with torch.no_grad():
        for parameter in (*head.parameters(), *context.parameters()):
            parameter.zero_()
        head.project.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    agent.learner.core.sync()
    assert agent.predict("", deterministic=True) == "bbb"
    greedy = agent.evaluate(split="train", num_episodes=4, decode="greedy")
    assert set(greedy.returns.values()) == {0.0}
    assert agent.evaluate(split="train", num_episodes=4, beta=0.0, decode="greedy").returns


def told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str, str]:
    """Exit code and output of a command, in this process."""
    command = functools.partial(app, arguments)
    code = call(command)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_eval_sweeps_beta_and_decoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of("ilql", tmp_path / "run")
    capsys.readouterr()
    base = ["eval", str(tmp_path / "run"), "--episodes", "20"]
    code, out, _ = told(capsys, [*base, "--beta", "0,4", "--decode", "greedy,sampled"])
    assert code == 0
    lines = out.strip().split("\n")
    assert len(lines) == 2 + 4
    assert [line.split()[:2] for line in lines[2:]] == [
        ["0", "greedy"], ["0", "sampled"], ["4", "greedy"], ["4", "sampled"],
    ]  # fmt: skip
    code, out, _ = told(capsys, [*base, "--beta", "0,16", "--json"])
    rows = json.loads(out)["rows"]
    assert [row["beta"] for row in rows] == [0.0, 16.0]
    assert all({"mean", "low", "high", "n"} <= row["mean"].keys() for row in rows)
    assert rows[0]["mean"] != rows[1]["mean"]
    code, out, _ = told(capsys, [*base, "--json"])
    assert json.loads(out)["mean"] == rows[1]["mean"]  # the run's own β is 16
    for bad in (["--beta", "x"], ["--beta", "-1"], ["--decode", "loudly"]):
        code, _, error = told(capsys, [*base, *bad])
        assert code != 0
        assert bad[0].strip("-") in error


def test_eval_refuses_beta_where_there_are_no_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {k: v for k, v in TINY.items() if k not in ("critic_lr", "replay")}
    agent = sayso.RLOO("tiny", "sayso/TinyLang-v0", **options)
    agent.learn(8, run=tmp_path / "run", progress_bar=False)
    capsys.readouterr()
    code, _, error = told(capsys, ["eval", str(tmp_path / "run"), "--beta", "1"])
    assert code != 0
    assert "rloo" in error
    with pytest.raises(OptionValueError, match="beta"):
        agent.evaluate(split="train", num_episodes=2, beta=1.0)
    assert agent.evaluate(split="train", num_episodes=2, decode="greedy").returns


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"sampling": {"engine": "hf"}}, "sampling.engine"),
        ({"sampling": {"precision": "int8"}}, "sampling.precision"),
        ({"kl": {"coef": 0.1}}, "kl.coef"),
    ],
)
def test_options_that_values_make_idle_are_refused(table: dict[str, Any], named: str) -> None:
    config = load_config(
        {"env": {"id": "sayso/TinyLang-v0"}, "algorithm": {"type": "ilql"}, **table}, source="test"
    )
    with pytest.raises(UnusedOptionError, match=named):
        refuse_unused(config)
    lm = load("tiny", ModelOptions(name="tiny", tiny=TinyOptions(tokens="ab", width=8)))
    with pytest.raises(ConfigError):
        build_learner(config, lm)


def test_a_schedule_counts_every_step_on_what_is_remembered() -> None:
    table = {
        "env": {"id": "sayso/TinyLang-v0"}, "train": {"total_episodes": 80},
        "algorithm": {"type": "token_dqn", "group_size": 8, "updates_per_step": 3},
    }  # fmt: skip
    config = load_config(table, source="test")
    assert num_optimiser_steps(config, source("sayso/TinyLang-v0")) == 30


def test_a_run_goes_on_bit_for_bit_where_it_stopped(tmp_path: Path) -> None:
    from sayso.cli.restore import restore

    whole = run_of("token_dqn", tmp_path / "whole").learn(
        48, run=tmp_path / "whole", progress_bar=False
    )
    once = agent_of("token_dqn").learn(48, run=tmp_path / "once", progress_bar=False)
    states = [agent.learner.state().tensors for agent in (whole, once)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    _, learner, _ = restore(tmp_path / "once", "last")
    assert all(torch.equal(t, states[1][n]) for n, t in learner.state().tensors.items())
