"""Limits that ruff cannot express."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sayso

PACKAGE = Path(sayso.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE, MAX_FUNCTION, MAX_ARGUMENTS = 400, 60, 9
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec"}
PUBLIC = [
    "A2C", "AWR", "Agent", "ArCHer", "BC", "Callback", "CandidateDQN", "CandidateSAC", "Chat",
    "DPO", "Episode", "FilteredBC", "GRPO", "ILQL", "MCReturns", "Media", "Message",
    "OfflineArCHer", "PPO", "PromptEnv", "QSharp", "RLOO", "Reinforce", "ReinforcePP",
    "RewardModel", "RewardedBy", "SB3Agent", "SoftQ", "StopOnReward", "Task", "TextEnv",
    "TokenDQN", "Utterance", "audit", "check_text_env", "compare", "evaluate", "join_media",
    "load_lm", "register",
]  # fmt: skip


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    total = (node.end_lineno or 0) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


@pytest.fixture(scope="module")
def parsed() -> dict[str, ast.Module]:
    """Every file of the package by its name there."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in FILES
    }


def test_files_and_functions_stay_small(parsed: dict[str, ast.Module]) -> None:
    too_long = [
        path.name for path in FILES if path.read_text(encoding="utf-8").count("\n") > MAX_FILE
    ]
    for name, tree in parsed.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                count = len(given.args) + len(given.kwonlyargs) + len(given.posonlyargs)
                if code_lines(node) > MAX_FUNCTION or count > MAX_ARGUMENTS + 1:  # self
                    told = f"{node.name}: {code_lines(node)} lines, {count} arguments"
                    too_long.append(f"{name}, {told}")
    assert too_long == []


def forbidden(tree: ast.Module) -> list[str]:
    """Imports and calls that load pickles or run text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "") in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS or name in {"torch.load", "yaml.load"}:
                found.append(name)
    return found


def test_s1_nothing_loads_pickles_or_runs_text(parsed: dict[str, ast.Module]) -> None:
    assert {name: found for name, tree in parsed.items() if (found := forbidden(tree))} == {}
    assert forbidden(ast.parse("import pickle\neval('1')\ntorch.load(path)")) != []


def test_public_names_are_these_and_load() -> None:
    assert sayso.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(sayso, name).__name__ == name


def test_import_loads_no_torch_opens_no_socket_and_writes_no_file(tmp_path: Path) -> None:
    code = (
        "import sys; touched = []\n"
        "def hook(event, args):\n"
        "    writes = event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+')\n"
        "    if event.startswith(('socket.', 'subprocess.')) or writes:\n"
        "        touched.append((event, args))\n"
        "sys.addaudithook(hook)\n"
        "import sayso\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "assert not touched, touched\n"
    )
    subprocess.run([sys.executable, "-B", "-c", code], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
