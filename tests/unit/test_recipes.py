"""Recipes under ``--set``: what a change leaves without meaning goes; the rest is checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sayso.app.refusals import refuse_unused
from sayso.cli import recipes
from sayso.cli.main import app
from sayso.errors import ConfigError, DataError, OptionValueError, UnusedOptionError

MAZE = ("env.kwargs.starts=all",)


ORDINARY = [n for n in recipes.names() if recipes.other_kind(recipes.read(n)[0]) is None]


@pytest.mark.parametrize("name", ORDINARY)
def test_every_recipe_is_sound_as_it_is(name: str) -> None:
    refuse_unused(recipes.config(name, ()))


@pytest.mark.parametrize("model", ["smollm2", "nosuchdir", "some/hub-id"])
def test_another_model_leaves_the_recipes_tiny_shape_behind(model: str) -> None:
    found = recipes.config("maze", [f"model.name={model}"]).model
    assert (found.name, found.tiny) == (model, None)


def test_the_same_model_keeps_its_shape() -> None:
    plain = recipes.config("maze", ()).model
    assert recipes.config("maze", ["model.name=tiny"]).model == plain
    assert recipes.config("maze", ["model.tiny.width=32"]).model.tiny is not None


def test_a_shape_that_the_user_sets_for_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="tiny has no effect for name = 'smollm2'"):
        recipes.config("maze", ["model.name=smollm2", "model.tiny.width=32"])


def test_another_environment_leaves_the_recipes_arguments_behind() -> None:
    assert recipes.config("maze", MAZE).env.kwargs["starts"] == "all"
    found = recipes.config("maze", ["env.id=mine:Env", "env.kwargs.size=3"]).env
    assert (found.id, found.kwargs) == ("mine:Env", {"size": 3})


def test_what_is_switched_off_needs_no_details(tmp_path: Path) -> None:
    found = recipes.config("maze", ["train.eval_every=0"])
    refuse_unused(found)
    own = tmp_path / "own.toml"
    own.write_text('env = { id = "x" }\nkl = { coef = 0.1, target = 0.05, horizon = 50 }\n')
    assert recipes.config(str(own), ()).kl.horizon == 50
    refuse_unused(recipes.config(str(own), ["kl.coef=0"]))


def test_a_detail_that_the_user_sets_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"train\.eval_episodes"):
        recipes.config("maze", ["train.eval_every=0", "train.eval_episodes=7"])


@pytest.mark.parametrize("name", ["maze_ilql", "wordle_bc"])
def test_a_missing_data_set_is_answered_with_the_command_that_makes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = recipes.config(name, ())
    with pytest.raises(DataError, match=r"Make it: sayso demos sayso/\w+-v0 --player") as raised:
        recipes.require_made(name, config)
    _, *command = str(raised.value).split("Make it: ")[1].split()
    command[command.index("-n") + 1] = "3"
    made = CliRunner().invoke(app, command)
    assert made.exit_code == 0, made.output
    recipes.require_made(name, config)
    recipes.require_made(name, recipes.config(name, ["data.path=mine.jsonl"]))


@pytest.mark.parametrize("name", ["vision", "sound"])
def test_a_missing_model_is_answered_with_the_commands_that_make_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = recipes.config(name, ())
    with pytest.raises(DataError, match=f"Make it: sayso train {name}_bc; sayso export"):
        recipes.require_made(name, config)
    recipes.require_made(name, recipes.config(name, ["model.name=smollm2"]))
    (tmp_path / f"{name}_warm").mkdir()
    recipes.require_made(name, config)


def test_the_seed_is_said_once() -> None:
    assert recipes.config("maze", (), seed=4).seed == 4
    assert recipes.config("maze", ["seed=3"]).seed == 3
    with pytest.raises(ConfigError, match="--seed"):
        recipes.config("maze", ["seed=3"], seed=4)


@pytest.mark.parametrize("wrong", ["model=smollm2", "model.name", "env=x", "model.name=[1]"])
def test_settings_of_the_wrong_shape_are_told_like_any_other(wrong: str) -> None:
    with pytest.raises(ConfigError):
        recipes.config("maze", [wrong])


def test_fault_27_settings_wrong_values_and_contradictions_are_told_at_once() -> None:
    settings = ["bad", "optim.lr=-1", "kl.target=0.1", "train.eval_every=0",
                "train.eval_episodes=9", "train.total_episodes=x", "nothing.like=it"]  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        recipes.config("tinylang", settings)
    said = str(raised.value)
    assert "6 problems" in said
    for problem in (
        "--set, bad: is not of the form path=value", "tinylang.toml, optim.lr: lr must be",
        "train.total_episodes: got 'x'", "nothing: no such option",
        "kl.target: has no effect while kl.coef is 0",
        "train.eval_episodes: has no effect while train.eval_every is 0",
    ):  # fmt: skip
        assert said.count(problem) == 1, problem


def test_a_single_contradiction_keeps_its_own_code() -> None:
    with pytest.raises(UnusedOptionError, match=r"kl\.target: has no effect while kl\.coef is 0"):
        recipes.config("tinylang", ["kl.target=0.1"])


def test_what_only_follows_from_a_wrong_value_is_not_told() -> None:
    with pytest.raises(OptionValueError, match=r"train\.eval_every: got 'often'"):
        recipes.config("tinylang", ["train.eval_every=often"])


def test_another_algorithm_leaves_the_recipes_own_options_behind_that_it_does_not_have() -> None:
    found = recipes.config("tinylang", ["algorithm.type=reinforce"]).algorithm
    assert (found.type, found.tasks_per_step, found.group_size) == ("reinforce", 1, 32)
    ppo = recipes.config("maze", ["algorithm.type=a2c"]).algorithm
    assert (ppo.type, ppo.gamma_turn, ppo.critic_lr) == ("a2c", 0.97, 1e-2)
    with pytest.raises(ConfigError, match=r"algorithm\.epochs: no such option"):
        recipes.config("maze", ["algorithm.type=a2c", "algorithm.epochs=2"])


@pytest.mark.parametrize("kind", ["bc", "filtered_bc", "awr"])
@pytest.mark.parametrize("recipe", ["maze", "tinylang"])
def test_stored_episodes_leave_behind_how_the_recipe_plays(recipe: str, kind: str) -> None:
    settings = [f"algorithm.type={kind}", "data.path=x.jsonl"]
    refuse_unused(recipes.config(recipe, settings))
    with pytest.raises(ConfigError, match=r"algorithm\.group_size: (no such|has no effect)"):
        recipes.config(recipe, [*settings, "algorithm.group_size=5"])
