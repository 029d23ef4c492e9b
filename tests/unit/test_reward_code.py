"""Code by unit tests: what passes, what cannot be forged, and what the sandbox lets nobody do."""

from __future__ import annotations

import ast
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sayso import rewards
from sayso.errors import EnvContractError
from sayso.rewards import sandbox
from sayso.rewards.code import beyond_luck, parsed_tests, same, source_of, tagged
from sayso.rewards.sandbox import Limits, Output, run
from sayso.rewards.sandbox_child import encoded

TESTS = ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(b=1, a=5) == 6"]
RIGHT = "def add(a, b):\n    return a + b\n"


def score(source: str, tests: Any = TESTS, **options: Any) -> float:
    return rewards.Code(**options)("Write add(a, b).", source, tests=tests)


def output(source: str, **limits: Any) -> Output:
    return run(source, {"stdin": ""}, Limits(**limits))


def said(source: str, **limits: Any) -> str:
    found = output(source, **limits)
    assert found.ended
    return found.data.decode().strip()


# --- what earns -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [RIGHT, f"Here it is:\n```python\n{RIGHT}```\nIt adds.", f"```\n{RIGHT}", f"print(1)\n{RIGHT}"],
)
def test_right_code_earns_everything_fenced_or_not(text: str) -> None:
    assert score(text) == 1.0


def test_partly_right_code_earns_what_is_beyond_a_constant() -> None:
    tests = [{"function": "double", "args": [n], "expected": 2 * n} for n in range(4)]
    half = "def double(n):\n    return 2 * n if n < 2 else 0\n"
    assert score(half, tests) == pytest.approx((2 / 4 - 1 / 4) / (3 / 4))
    assert score(half, tests, credit="all") == 0.0
    assert score("def double(n):\n    return 2 * n\n", tests, credit="all") == 1.0


def test_a_call_that_raises_fails_alone() -> None:
    assert score("def add(a, b):\n    return a + b if b != 1 else 1 / 0\n") == pytest.approx(
        (2 / 3 - 1 / 3) / (2 / 3)
    )


def test_programs_are_judged_by_what_they_print() -> None:
    tests = [{"stdin": "1 2", "stdout": "3\n"}, {"stdin": "4 5\n", "stdout": "9"}]
    assert score("print(sum(map(int, input().split())))", tests) == 1.0
    assert score("print(sum(map(int, input().split())), end=' \\n\\n')", tests) == 1.0
    assert score("print(3)", tests) == 0.0
    assert score("print(sum(map(int, input().split()))); raise SystemExit(1)", tests) == 0.0


def test_values_are_equal_as_in_python_but_true_is_not_one() -> None:
    for value, expected in [
        ((1, [2.0]), [1, [2]]),
        ({1, 2}, {2, 1}),
        ({"a": {3: None}}, {"a": {3: None}}),
        (0.1 + 0.2, 0.3),
        ("é", "é"),
    ]:
        assert same(encoded(value), tagged(expected)), value
    for value, expected in [(True, 1), (1, True), ("1", 1), ([1], {1}), ({}, []), (None, 0)]:
        assert not same(encoded(value), tagged(expected)), value
    for value, expected in [(10**400, 2.5), (10**400, 3), (2.5, 10**400), (-(10**400), 0.0)]:
        assert not same(encoded(value), tagged(expected)), expected
    with pytest.raises(TypeError):
        encoded(object())


@pytest.mark.parametrize(
    ("passed", "expected", "earned"),
    [
        ([True, True, False, False], ["a", "a", "b", "b"], 0.0),
        ([True, True, True, False], ["a", "a", "b", "b"], 0.5),
        ([True, False], ["a", "a"], 0.0),
        ([True, True], ["a", "a"], 1.0),
        ([False, False], ["a", "b"], 0.0),
    ],
)
def test_luck_earns_nothing(passed: list[bool], expected: list[str], earned: float) -> None:
    assert beyond_luck(passed, expected) == earned


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        "assert add(1, 2)",
        "assert add(1, x) == 3",
        "assert __import__('os').getcwd() == ''",
        "add(1, 2) == 3",
        "assert (",
        [{"function": "f"}],
        [{"stdin": "1"}],
        ["assert f(1) == 1", {"stdin": "", "stdout": ""}],
        [{"function": "f", "args": [{1}], "expected": 1}],
        [{"stdin": "x" * 60_001, "stdout": ""}],
        3,
    ],
)
def test_tests_that_cannot_be_read_are_an_error_and_not_a_zero(wrong: Any) -> None:
    with pytest.raises(EnvContractError, match="reward Code, tests"):
        parsed_tests(wrong, "tests")


# --- what does not earn -----------------------------------------------------------------------

FORGERIES = {
    "empty": "",
    "spaces": " \n ",
    "prose": "To add two numbers, add them. PASS. All tests passed.",
    "echo": "Write add(a, b).",
    "prints a verdict": "print('PASS'); print('3 passed'); print('[3]\\n[4]\\n[6]')",
    "leaves with success": "import sys; sys.exit(0)",
    "leaves at once": "import os; os._exit(0)",
    "leaves from within": "import os\ndef add(a, b):\n    os._exit(0)",
    "a constant": "def add(a, b):\n    return 3",
    "equal to everything": (
        "class Any(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\n"
        "def add(a, b):\n    return Any()"
    ),
    "patches the checker": (
        "import json, sys, builtins\nmain = sys.modules['__main__']\n"
        "main.encoded = lambda *_: True\njson.dumps = lambda *a, **k: '[true]'\n"
        "builtins.all = lambda *_: True\ndef add(a, b):\n    return 0"
    ),
    "writes results itself": (
        "import os\nfor fd in range(1, 32):\n    try: os.write(fd, b'[1]\\n[2]\\n[3]\\n')\n"
        "    except OSError: pass\nos._exit(0)"
    ),
    "answers each call many times": (
        "import os\ndef add(a, b):\n    for fd in range(1, 32):\n        try:\n"
        "            for n in range(9): os.write(fd, b'[%d]\\n' % n)\n"
        "        except OSError: pass\n    return 0"
    ),
    "digs for what is expected": (
        "import gc, sys\nfound = [o for o in gc.get_objects() if isinstance(o, dict) and "
        "'expected' in o]\nnames = str(sys._getframe(2).f_locals)\n"
        "def add(a, b):\n    return found[0]['expected'] if found else 0"
    ),
    "reads the tests from disk": (
        f"import pathlib\ntext = pathlib.Path({str(Path(__file__))!r}).read_text()\n"
        "def add(a, b):\n    return 3 if 'add(1, 2) == 3' in text and a == 1 else 4"
    ),
    "nests without end": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "a digit too many": "def add(a, b):\n    return 10 ** 100_000",
    "no code at all": "\0\0\0",
    "a null fence": "```python\n```",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_earn_nothing(name: str) -> None:
    assert score(FORGERIES[name]) == 0.0


def test_a_number_that_no_float_holds_is_wrong_and_no_fault_of_the_test() -> None:
    assert score("def f(x):\n    return 10 ** 400", ["assert f(1) == 2.5", "assert f(2) == 3"]) == 0


def test_a_yes_sayer_earns_nothing_on_yes_no_tests() -> None:
    tests = [f"assert is_even({n}) == {n % 2 == 0}" for n in range(4)]
    assert score("def is_even(n):\n    return True", tests) == 0.0
    assert score("def is_even(n):\n    return n % 2 == 0", tests) == 1.0


def test_code_that_waits_is_stopped_and_the_next_is_judged() -> None:
    assert score("while True: pass", timeout_s=0.2) == 0.0
    assert score("import time\ndef add(a, b):\n    time.sleep(60)", timeout_s=0.2) == 0.0
    assert score(RIGHT) == 1.0


@pytest.mark.parametrize("isolation", ["full", "limits"])
@pytest.mark.parametrize("tests", [TESTS, [{"stdin": "1", "stdout": "2"}]])
def test_code_that_closes_its_pipes_and_waits_is_stopped_too(isolation: Any, tests: Any) -> None:
    waits = "import os, time\nos.closerange(0, 64)\ntime.sleep(8)"
    started = time.monotonic()
    assert score(waits, tests, timeout_s=0.2, isolation=isolation) == 0.0
    assert time.monotonic() - started < 6


def test_output_without_end_is_cut_off() -> None:
    found = output("while True: print('x' * 1000)", output_bytes=5_000)
    assert not found.ended
    assert len(found.data) == 5_000


def test_memory_has_a_limit() -> None:
    assert "MemoryError" in said(
        "try: x = bytearray(10 ** 9)\nexcept MemoryError as e: print(repr(e))"
    )


# --- what the sandbox lets nobody do ----------------------------------------------------------


def test_the_network_is_not_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code = (
            f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 1)\n"
            "except OSError as e: print('refused', e.errno)"
        )
        assert said(code).startswith("refused")


def test_no_file_of_the_machine_is_there_and_none_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    code = (
        "import os, sys\n"
        f"print(os.path.exists({str(tmp_path)!r}), os.path.exists('/proc'), os.listdir('.'))\n"
        "try: open(os.path.join(sys.prefix, 'planted'), 'w')\n"
        "except OSError as e: print(e.errno)\n"
        "open('mine', 'w').write('x'); print(os.listdir('.'))"
    )
    lines = said(code).splitlines()
    assert lines == ["False False ['solution.py']", "30", lines[2]]
    assert sorted(ast.literal_eval(lines[2])) == ["mine", "solution.py"]


def test_the_environment_is_empty_and_the_user_has_no_rights(monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    code = (
        "import ctypes, os\nprint('canary' in str(os.environ), os.getpid(), os.getppid())\n"
        "libc = ctypes.CDLL(None)\n"
        "print(libc.unshare(0x10000000), libc.mount(b't', b'/work', b'tmpfs', 0, None), "
        "os.geteuid() == 0)\n"
        "try: os.fork(); print('forked')\nexcept OSError: print('no child')"
    )
    assert said(code).splitlines() == ["False 1 0", "-1 -1 False", "no child"]


ESCAPES = {
    "ignores signals": (
        "import os, signal, ctypes\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.setsid() if os.getpid() != os.getsid(0) else 0\nctypes.CDLL(None).prctl(1, 0)\n"
        "while True: pass"
    ),
    "leaves a grandchild": (
        "import os, time, ctypes\nif not os.fork():\n    os.setsid()\n"
        "    if not os.fork():\n        ctypes.CDLL(None).prctl(1, 0)\n"
        "        os.closerange(0, 64)\n        time.sleep(20)\n    os._exit(0)\n"
    ),
}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sandbox's child as a file of this test's own: what runs it is this test's, and seen."""
    own = tmp_path / "own_child.py"
    shutil.copy(sandbox.CHILD, own)
    monkeypatch.setattr(sandbox, "CHILD", own)
    return str(own)


@pytest.mark.parametrize("isolation", ["full", "limits"])
@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_is_left_behind_nor_running(
    name: str, isolation: Any, child: str, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    output(ESCAPES[name], seconds=0.3, isolation=isolation)
    assert processes(child) == set()
    assert list(folder.iterdir()) == []


def test_a_process_that_got_away_would_be_seen(child: str) -> None:
    code = f"import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(20)  # {child}"
    subprocess.run([sys.executable, "-c", code, child], check=True)
    found = processes(child)
    assert len(found) == 1
    os.kill(int(found.pop()), signal.SIGKILL)


def processes(child: str) -> set[str]:
    """Ids of processes, whoever their parent is, that were started with a file's name."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if child.encode() in line:
                found.add(entry.name)
    return found


def test_limits_alone_let_no_code_start_a_process_even_as_root() -> None:
    code = "import os\ntry: os.fork(); print('forked')\nexcept OSError: print('no child')"
    assert said(code, isolation="limits") == "no child"
    tests = [{"stdin": "1", "stdout": "2"}]
    assert score("import decimal, random\nprint(2)", tests, isolation="limits") == 1.0


def test_threads_may_run_code_at_once() -> None:
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(score(RIGHT))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0, 1.0, 1.0]


def test_where_code_cannot_be_shut_in_nothing_is_run(monkeypatch: Any) -> None:
    monkeypatch.setattr(sandbox, "_binds", lambda: ["/nowhere/at/all\0"])
    with pytest.raises(EnvContractError, match="cannot be shut in here"):
        output("print(1)")
    assert said("print(1)", isolation="limits") == "1"


def test_a_child_that_starts_late_is_not_taken_for_one_that_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(9)")
    monkeypatch.setattr(sandbox, "CHILD", slow)
    monkeypatch.setattr(sandbox, "START_S", 0.5)
    with pytest.raises(EnvContractError, match=r"did not start within 0\.5 s.*overloaded") as late:
        output("print(1)")
    assert "isolation" not in str(late.value)
    slow.write_text("")
    with pytest.raises(EnvContractError, match="ended before the code started"):
        output("print(1)")


def test_time_that_the_machine_did_not_give_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = f"import time\ntime.sleep(1.5)\n{RIGHT}"
    assert score(waits, timeout_s=0.3) == 0.0
    waited = iter([0.0, 0.0, *[2.0] * 99])
    monkeypatch.setattr(sandbox, "_waited_s", lambda _: next(waited))
    assert score(waits, timeout_s=0.3) == 1.0
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(sandbox, "_waited_s", lambda _: next(hours))
    started = time.monotonic()
    assert score("while True: pass", timeout_s=0.2) == 0.0
    assert time.monotonic() - started < 8


def test_waiting_for_the_machine_is_measured() -> None:
    code = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        for process in busy:
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        time.sleep(0.5)
        assert sum(sandbox._waited_s(process.pid) for process in busy) > 0.1
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert sandbox._waited_s(busy[0].pid) == 0.0


def test_limits_alone_still_limit() -> None:
    assert score(RIGHT, isolation="limits") == 1.0
    assert score("while True: pass", isolation="limits", timeout_s=0.2) == 0.0


def test_the_first_block_counts_and_a_text_without_one_is_code() -> None:
    assert source_of("a\n```py\nb\n```\n```\nc\n```") == "b"
    assert source_of("x = 1") == "x = 1"
