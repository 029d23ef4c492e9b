"""Names that users of other libraries type, answered the same from Python, files and --set."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.app.config import RunConfig, load_config
from sayso.app.naming import place, refuse_unknown
from sayso.config.aliases import ALIASES, OF_VALUES
from sayso.config.show import options_table
from sayso.errors import ConfigError, OptionValueError, UnknownOptionError

PATHS = {row.name for row in options_table(RunConfig)} | {"model.lora"}


def from_python(key: str, value: Any = 1, algorithm: str = "grpo") -> str:
    with pytest.raises(ConfigError) as caught:
        place({}, key, value, algorithm=algorithm)
    return str(caught.value)


def from_set(setting: str, algorithm: str = "grpo") -> str:
    table = {"env": {"id": "sayso/TinyLang-v0"}, "algorithm": {"type": algorithm}}
    with pytest.raises(ConfigError) as caught:
        load_config(table, source="run.toml", overrides=(setting,))
    return str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "python", "path"),
    [
        ("learning_rate", "lr", "optim.lr"),
        ("beta", 'kl={"coef": ...}', "kl.coef"),
        ("batch_size", "tasks_per_step", "algorithm.tasks_per_step"),
        ("num_generations", "group_size", "algorithm.group_size"),
        ("max_completion_length", "max_new_tokens", "sampling.max_new_tokens"),
        ("max_length", "max_new_tokens", "sampling.max_new_tokens"),
        ("num_train_epochs", "epochs", "algorithm.epochs"),
        ("ppo_epochs", "epochs", "algorithm.epochs"),
        ("lora_r", 'lora={"rank": ...}', "model.lora.rank"),
        ("peft_config", "lora", "model.lora"),
        ("loss_type", "variant", "algorithm.variant"),
    ],
)
def test_their_name_is_answered_with_ours(theirs: str, python: str, path: str) -> None:
    assert f"{theirs}: no such option. Did you mean `{python}`?" in from_python(theirs)
    assert f"{theirs}: no such option. Did you mean `{path}`?" in from_set(f"{theirs}=1")


def test_an_option_in_the_wrong_section_is_sent_to_the_right_one() -> None:
    assert "algorithm.lr: no such option. Did you mean `optim.lr`?" in from_set("algorithm.lr=1")
    assert "optim.learning_rate: no such option. Did you mean `lr`?" in from_set(
        "optim.learning_rate=1"
    )


def test_what_an_algorithm_does_not_have_is_not_recommended_to_it() -> None:
    told = from_set("algorithm.ppo_epochs=2", algorithm="rloo")
    assert "Elsewhere (grpo, ppo, reinforce_pp) it is `epochs`. Options here: type, tasks" in told
    assert "`epochs`" not in from_python("ppo_epochs", algorithm="rloo")


def test_a_bare_value_for_a_table_shows_the_table() -> None:
    table = {"env": {"id": "sayso/TinyLang-v0"}}
    for value, python in ((16, 'lora={"rank": 16}'), (True, "lora={}")):
        with pytest.raises(OptionValueError, match=re.escape(f"In Python: {python}.")):
            load_config({**table, "model": {"lora": value}}, source="GRPO(...)")
    with pytest.raises(OptionValueError, match=re.escape('In Python: kl={"coef": 0.1}.')):
        sayso.GRPO("tiny", "sayso/TinyLang-v0", kl=0.1)


def test_learn_sends_options_of_the_agent_back_to_it() -> None:
    with pytest.raises(UnknownOptionError, match=r"learn\(lr=...\).*when the agent is made: lr="):
        refuse_unknown(["lr"], algorithm="grpo")
    with pytest.raises(UnknownOptionError, match="Did you mean `eval_every`"):
        refuse_unknown(["eval_steps"], algorithm="grpo")


def test_every_alias_leads_to_an_option_and_hides_none() -> None:
    assert {path for path, _ in ALIASES.values()} <= PATHS
    assert {path for each in OF_VALUES.values() for path, _ in each} <= PATHS
    # What some algorithm calls so itself is another's only for the others.
    assert {path.rpartition(".")[2] for path in PATHS} & set(ALIASES) <= {"beta"}


@pytest.mark.parametrize(
    ("algorithm", "theirs", "python", "path"),
    [
        ("ilql", "beta", 'acting={"beta": ...}', "algorithm.acting.beta"),
        ("mc_returns", "beta", 'acting={"beta": ...}', "algorithm.acting.beta"),
        ("token_dqn", "batch_size", "draws", "draws"),
        ("candidate_dqn", "batch_decisions", "draws", "draws"),
        ("candidate_dqn", "cql_coef", "alpha_cql", "alpha_cql"),
        ("candidate_dqn", "epsilon_steps", "epsilon_decisions", "epsilon_decisions"),
        ("token_dqn", "epsilon_steps", "epsilon_decisions", "epsilon_decisions"),
        ("ilql", "awac_scale", "advantage_weight", "advantage_weight"),
        ("candidate_sac", "tau", "target_rate", "target_rate"),
        ("archer", "polyak", "target_rate", "target_rate"),
        ("archer", "critic_batch", "draws", "draws"),
        ("ilql", "buffer_size", 'replay={"capacity": ...}', "algorithm.replay.capacity"),
    ],
)
def test_a_name_is_answered_with_what_it_means_to_the_algorithm(
    algorithm: str, theirs: str, python: str, path: str
) -> None:
    assert f"Did you mean `{python}`?" in from_python(theirs, algorithm=algorithm)
    assert f"Did you mean `{path}`?" in from_set(f"algorithm.{theirs}=1", algorithm=algorithm)


def test_another_algorithms_beta_stays_the_weight_of_the_kl() -> None:
    assert "Did you mean `kl.coef`?" in from_set("algorithm.beta=1")
    assert "Did you mean `kl.coef`?" in from_set("beta=1", algorithm="ilql")


def test_aliases_have_one_home() -> None:
    package = Path(sayso.__file__).parent
    homes = [
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == "num_generations"
    ]
    assert homes == ["aliases.py"]


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ("verbose", "learn(progress_bar=False)"),
        (
            "gamma",
            "whole returns are compared, undiscounted; reinforce, a2c and ppo have `gamma_turn`",
        ),
        ("tensorboard_log", "callback=TensorBoard()"),
        ("lora_dropout", "a policy that is scored with dropout"),
    ],
)
def test_what_is_decided_elsewhere_is_told_with_the_place(theirs: str, says: str) -> None:
    assert f"{theirs}: no such option. " in from_python(theirs)
    assert says in from_python(theirs)
    assert says in from_set(f"train.{theirs}=1") or theirs == "gamma"
    told = from_set("algorithm.gamma=1")
    assert re.search(r"Elsewhere \(a2c, .*ppo, .*reinforce.*\) it is `gamma_turn`", told)
    assert "Did you mean `gamma_turn`" in from_python("gamma", algorithm="ppo")


@pytest.mark.parametrize(("theirs", "ours"), [("r", "rank"), ("lora_alpha", "alpha")])
def test_pefts_names_inside_lora_are_answered_too(theirs: str, ours: str) -> None:
    with pytest.raises(UnknownOptionError, match=f"lora.{theirs}: no such .*mean `{ours}`"):
        sayso.GRPO("tiny", "sayso/TinyLang-v0", lora={theirs: 8})
    assert f'lora={{"{ours}": ...}}' in from_python(theirs)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("algorithm=ppo", "Write algorithm.type = 'ppo'."),
        ("algorithm.name=ppo", "algorithm.name: no such option. Did you mean `type`?"),
        ("model.id=tiny", "model.id: no such option. Did you mean `name`?"),
        ("env.name=x", "env.name: no such option. Did you mean `id`?"),
        ("model=smollm2", "Write model.name = 'smollm2'."),
        ("env=sayso/Maze-v0", "Write env.id = 'sayso/Maze-v0'."),
    ],
)
def test_a_bare_name_is_sent_to_the_option_that_holds_it(setting: str, says: str) -> None:
    assert says in from_set(setting)


def test_a_missing_section_is_told_with_what_it_must_hold() -> None:
    with pytest.raises(
        OptionValueError, match=r"env: is required but missing\. Write \[env\] with id = "
    ):
        load_config({}, source="run.toml")


def test_an_option_of_other_algorithms_is_told_with_their_names() -> None:
    told = from_set("algorithm.epochs=2", algorithm="rloo")
    assert "algorithm.epochs: no such option. It is one of grpo, ppo, reinforce_pp" in told
