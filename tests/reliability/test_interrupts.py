"""A signal during a call of the environment stops the run; it is no failure of the environment."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from rollout_fakes import scripted_policy

import sayso
from sayso.envs.registry import source
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.runs import interrupt


class Struck(sayso.TextEnv):
    """Gets a signal in the middle of a call, and may swallow what it raises."""

    max_turns = 1

    def __init__(self, at: str, how: str) -> None:
        self.at, self.how = at, how

    def tasks(self, split: str) -> Any:
        return [sayso.Task(id="t", env="Struck", split=split, payload={"n": 1})]

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._strike("reset")
        return "", {}

    def step(self, action: str) -> Any:
        self._strike("step")
        return "", 0.0, True, False, {}

    def _strike(self, here: str) -> None:
        if here != self.at:
            return
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            if self.how == "passes on":
                raise
            if self.how == "raises its own":
                raise ValueError("my own trouble") from None


@pytest.mark.parametrize("at", ["reset", "step"])
@pytest.mark.parametrize("how", ["passes on", "raises its own", "swallows"])
def test_fault_19_a_signal_inside_the_environment_stops_the_run(at: str, how: str) -> None:
    env = source(lambda: Struck(at, how))
    with interrupt.listen(), pytest.raises(interrupt.Interrupted) as stopped:
        collect(
            scripted_policy()[0], env.open().tasks("train"), env, group_size=2, seed=0, path=(),
            limits=RolloutLimits(),
        )  # fmt: skip
    assert stopped.value.exit_code == 130
