"""Leaving out what has no advantage changes no gradient, and is not done where it would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_cases import learner, mixed_batch

from sayso.algorithms.options.kl import KLOptions
from sayso.types import Episode


def dead_group(episodes: list[Episode]) -> list[Episode]:
    """The same with equal rewards within the second task."""
    from dataclasses import replace

    return [
        replace(e, turns=tuple(replace(t, reward=0.25 / len(e.turns)) for t in e.turns))
        if e.task.id == "two"
        else e
        for e in episodes
    ]


def gradients(name: str, monkeypatch: pytest.MonkeyPatch, *, skips: bool, **kwargs: Any) -> Any:
    """Gradients handed to the optimiser, and the share that was skipped."""
    made = learner(name, **kwargs)
    seen: dict[str, torch.Tensor] = {}
    step = made.core.optimiser.step

    def spy() -> Any:
        seen.update({n: p.grad.clone() for n, p in made.lm.trainable().items()})
        return step()

    monkeypatch.setattr(made.core.optimiser, "step", spy)
    if not skips:
        monkeypatch.setattr("sayso.algorithms.epochs._without_gradient", lambda *_: ())
    update = made.update(dead_group(mixed_batch(made.lm)), seed=0)
    monkeypatch.undo()
    return seen, update.metrics


@pytest.mark.parametrize("name", ["rloo", "grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_the_gradient_without_dead_groups_is_the_whole_gradient(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, metrics = gradients(name, monkeypatch, skips=True)
    whole, plain = gradients(name, monkeypatch, skips=False)
    assert metrics["update/skipped_frac"].value > 0.2
    assert plain["update/skipped_frac"].value == 0
    assert any(bool(grad.any()) for grad in whole.values())
    for key, grad in whole.items():
        torch.testing.assert_close(ours[key], grad, rtol=1e-6, atol=1e-12)
    assert metrics["policy/surprisal"].value == pytest.approx(plain["policy/surprisal"].value)


@pytest.mark.parametrize(
    "options",
    [{"kl": KLOptions(coef=0.1, place="loss", estimator="k2")}, {"entropy_coef": 0.1}],
    ids=["kl in the loss", "entropy"],
)
def test_with_other_terms_nothing_is_left_out(
    options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, metrics = gradients("rloo", monkeypatch, skips=True, **options)
    assert metrics["update/skipped_frac"].value == 0


def test_a_step_without_any_advantage_is_still_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner("rloo")
    episodes = [e for e in dead_group(mixed_batch(made.lm)) if e.task.id == "two"]
    update = made.update(episodes, seed=0)
    assert update.num_optimiser_steps == 1
    assert update.metrics["update/skipped_frac"].value > 0.5
