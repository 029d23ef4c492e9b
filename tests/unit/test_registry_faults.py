"""What a user's own module or constructor raises is told in one line, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayso.envs.registry import source
from sayso.errors import EnvContractError, UnknownNameError, UnknownOptionError


def test_a_constructor_that_does_not_know_an_argument_is_named() -> None:
    told = r"'sayso/Maze-v0', foo: no such argument\. It takes observation, layout"
    with pytest.raises(UnknownOptionError, match=told) as raised:
        source("sayso/Maze-v0", foo=1).open()
    assert "\n" not in str(raised.value)


def test_a_constructor_that_raises_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising_env.py").write_text(
        "class Env:\n    def __init__(self):\n        raise RuntimeError('no luck\\ntoday')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvContractError, match=r"no luck today.*raising_env\.py, line 3") as raised:
        source("raising_env:Env").open()
    assert "\n" not in str(raised.value)


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(Exception, match="has characters other than 0 and 1") as raised:
        source("sayso/Maze-v0", layout=["xx"]).open()
    assert not isinstance(raised.value, EnvContractError)


@pytest.mark.parametrize(
    "body", ["1 / 0", "import no_such_dependency", "raise ValueError('a\\nb')"]
)
def test_a_module_that_fails_on_import_is_named_with_the_cause(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_env_module.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownNameError, match=r"failing_env_module.*fails when") as raised:
        source("failing_env_module:Env")
    assert "\n" not in str(raised.value)
