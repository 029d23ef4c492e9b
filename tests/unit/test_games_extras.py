"""Optional packages: the error names the extra, and nothing else breaks without them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from sayso.cli import listing
from sayso.envs.registry import BUILT_IN, source
from sayso.errors import ExtraMissingError

NEEDED = {
    "sayso/ReasoningGym-v0": ("reasoning_gym", "envs"),
    "sayso/TextArena-v0": ("textarena", "envs"),
    "sayso/BabyAI-v0": ("minigrid", "envs"),
    "sayso/TextWorld-v0": ("textworld", "textworld"),
}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in NEEDED.values():
        for name in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("env", "needed"), NEEDED.items())
def test_without_its_package_the_error_names_the_extra(env: str, needed: tuple[str, str]) -> None:
    with pytest.raises(ExtraMissingError, match=rf"sayso\[{needed[1]}\]") as raised:
        source(env).open()
    assert needed[0] in str(raised.value)
    assert raised.value.where == env


@pytest.mark.medium
@pytest.mark.usefixtures("nothing_installed")
def test_the_list_of_environments_says_what_is_not_installed(capsys: Any) -> None:
    listing.run("envs", as_json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["envs"]}
    assert set(BUILT_IN) <= set(rows)
    for env, (_, extra) in NEEDED.items():
        assert f"sayso[{extra}]" in rows[env]["about"]
        assert rows[env]["splits"] == {}
    assert rows["sayso/Gym-v0"]["splits"]["train"] == 2_000
