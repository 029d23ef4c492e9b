"""Failpoints: off they do nothing, armed they act at the visit they name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sayso.errors import ConfigError
from sayso.runs import failpoints
from sayso.runs.failpoints import Failpoint, FailpointError, fp


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    failpoints.disarm()
    yield
    failpoints.disarm()


def test_off_nothing_happens_and_nothing_is_counted() -> None:
    for point in Failpoint:
        fp(point)
    assert failpoints.num_hits() == {}


def test_an_action_happens_at_its_hit_alone_or_from_it_on() -> None:
    failpoints.arm("log.half:2:raise, train.eval:2+:raise")
    for point, expected in (
        (Failpoint.LOG_HALF, [False, True, False, False]),
        (Failpoint.EVAL, [False, True, True, True]),
    ):
        raised = []
        for _ in range(4):
            try:
                fp(point)
                raised.append(False)
            except FailpointError:
                raised.append(True)
        assert raised == expected
    assert failpoints.num_hits() == {Failpoint.LOG_HALF: 4, Failpoint.EVAL: 4}
    fp(Failpoint.FORWARD)


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("eio", errno.EIO)])
def test_errors_carry_number_text_and_path(action: str, number: int) -> None:
    failpoints.arm(f"log.half:1:{action}")
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        fp(Failpoint.LOG_HALF, Path("/some/file"))
    assert (raised.value.errno, raised.value.filename) == (number, "/some/file")


def test_counting_does_not_disarm() -> None:
    failpoints.arm("log.half:1:raise")
    failpoints.count_hits()
    fp(Failpoint.LOG_AFTER)
    with pytest.raises(FailpointError):
        fp(Failpoint.LOG_HALF)
    assert failpoints.num_hits() == {Failpoint.LOG_HALF: 1, Failpoint.LOG_AFTER: 1}


@pytest.mark.parametrize(
    "spec", ["log.half", "log.half:1", "no.such:1:kill", "log.half:0:kill", "log.half:x:kill",
             "log.half:1:explode", "log.half:-1:kill", ":::"]
)  # fmt: skip
def test_a_spec_that_does_not_read_is_refused_with_all_names(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"SAYSO_FAILPOINT: got .*checkpoint\.before_rename"):
        failpoints.arm(spec)


def test_the_environment_variable_kills_a_real_process() -> None:
    code = (
        "from sayso.runs.failpoints import Failpoint, fp\n"
        "fp(Failpoint.EVAL); print(1, flush=True); fp(Failpoint.EVAL)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SAYSO_FAILPOINT": "train.eval:2:kill"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (-9, "1\n", "")
