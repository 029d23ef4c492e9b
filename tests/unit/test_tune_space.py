"""What ``sayso tune`` may change: defaults of an algorithm, a recipe's own table, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sayso.app.config import RunConfig
from sayso.app.space import Range, own_values, space_of, with_values
from sayso.cli import recipes
from sayso.errors import OptionValueError


def config(algorithm: str = "grpo", *settings: str) -> RunConfig:
    return recipes.config("tinylang", [f"algorithm.type={algorithm}", *settings])


def test_by_default_rates_are_searched_within_a_factor_of_ten() -> None:
    assert space_of(None, config("rloo")) == {"optim.lr": Range(low=3e-4, high=3e-2, log=True)}
    ppo = space_of(None, config("ppo", "algorithm.critic_lr=1e-2", "algorithm.epochs=3"))
    assert ppo["algorithm.critic_lr"] == Range(low=1e-3, high=0.1, log=True)
    assert ppo["algorithm.epochs"] == (1, 2, 3, 4)


def test_an_algorithm_that_leaves_the_model_alone_has_no_rate_for_it() -> None:
    dqn = recipes.config("maze_dqn", ())
    assert list(space_of(None, dqn)) == ["algorithm.critic_lr"]


def test_a_table_of_the_recipe_says_what_is_searched() -> None:
    table = {
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "algorithm": {"group_size": [4, 8], "epochs": {"low": 1, "high": 4}},
        "model": {"tiny": {"tokens": [["a", "b"], ["a", "b", "c"]]}},
    }
    assert space_of(table, config()) == {
        "optim.lr": Range(low=1e-4, high=1e-2, log=True),
        "algorithm.group_size": (4, 8),
        "algorithm.epochs": Range(low=1, high=4, whole=True),
        "model.tiny.tokens": (("a", "b"), ("a", "b", "c")),
    }


def test_the_table_decides_no_run(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('env = { id = "x" }\n[tune]\n"optim.lr" = { low = 1e-5, high = 1e-3 }\n')
    assert recipes.config(str(recipe), ()).env.id == "x"
    assert recipes.read(str(recipe))[0]["tune"] == {"optim.lr": {"low": 1e-5, "high": 1e-3}}


@pytest.mark.parametrize(
    "entry",
    [3, [], "1e-3", {"low": 1.0}, {"low": 2.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "log": True},
     {"low": 1, "high": 2, "step": 1}, {"low": "a", "high": "b"}],
)  # fmt: skip
def test_what_is_no_range(entry: Any) -> None:
    with pytest.raises(OptionValueError, match=r"\[tune\], optim\.lr: got"):
        space_of({"optim.lr": entry}, config())


@pytest.mark.parametrize(
    ("path", "entry", "says"),
    [
        ("optim.rate", [1e-3], r"\[tune\], optim\.rate: cannot be 0\.001: no such option"),
        ("optim.lr", {"low": -1.0, "high": 1.0}, r"optim\.lr: cannot be -1\.0: lr must be"),
        ("algorithm.group_size", {"low": 0, "high": 4}, "cannot be 0"),
    ],
)
def test_options_that_do_not_exist_or_cannot_take_an_end(path: str, entry: Any, says: str) -> None:
    with pytest.raises(OptionValueError, match=says):
        space_of({path: entry}, config())
    with pytest.raises(OptionValueError, match=r"\[tune\]: is empty"):
        space_of({}, config())


def test_the_recipes_own_values_are_tried_if_they_lie_inside() -> None:
    inside: Any = {"optim.lr": Range(low=1e-4, high=1e-2), "algorithm.group_size": (16, 32)}
    assert own_values(inside, config()) == {"optim.lr": 3e-3, "algorithm.group_size": 32}
    assert own_values({"optim.lr": Range(low=1e-5, high=1e-4)}, config()) is None
    assert own_values({"algorithm.group_size": (4, 8)}, config()) is None


def test_a_list_of_the_recipe_is_found_among_those_searched() -> None:
    tiny = config().model.tiny
    assert tiny is not None
    space: Any = space_of({"model.tiny.tokens": [["a", "b"], list(tiny.tokens)]}, config())
    assert own_values(space, config()) == {"model.tiny.tokens": tuple(tiny.tokens)}


def test_values_are_set_and_checked() -> None:
    found = with_values(config(), {"optim.lr": 0.5, "model.tiny.tokens": ("a", "c")})
    assert (found.optim.lr, found.env) == (0.5, config().env)
    assert found.model.tiny is not None
    assert found.model.tiny.tokens == ("a", "c")
