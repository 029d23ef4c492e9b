"""What learners refuse and what steers them: poison, disagreement, KL, early stopping, entropy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_cases import (
    END,
    GROUP_METHODS,
    VARIANTS,
    flat,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    same_bits,
    shifted,
    tiny_lm,
    weights,
    written,
)
from torch import Tensor

from sayso.algorithms.kl import KLController
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.metrics import Mean
from sayso.models.options import LoraOptions
from sayso.models.scoring import score
from sayso.types import Episode

pytestmark = pytest.mark.medium

every_learner = pytest.mark.parametrize("name", list(VARIANTS))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def poison(lm: Any, where: str) -> Any:
    """From now on something is not a number; ``.remove()`` on what is returned ends it."""
    network = lm.causal_lm
    if where == "gradient":
        trained = next(p for p in network.parameters() if p.requires_grad)
        return trained.register_hook(lambda gradient: gradient * float("nan"))
    if where == "loss":
        head = network.get_output_embeddings()
        return head.register_forward_hook(lambda _, __, out: out * float("nan"))

    def trunk(_: Any, __: Any, out: Any) -> Any:
        out.last_hidden_state = out.last_hidden_state * float("inf")
        return out

    return network.base_model.register_forward_hook(trunk)


@every_learner
@pytest.mark.parametrize("where", ["gradient", "loss", "trunk"])
@pytest.mark.parametrize(
    ("kl", "lora"),
    [
        (KLOptions(), None),
        (KLOptions(coef=0.1, target=0.01), None),
        (KLOptions(coef=0.1, target=0.01), LoraOptions(rank=2)),  # the reference is poisoned too
        (KLOptions(coef=0.1, target=0.01, place="loss", estimator="k3"), LoraOptions(rank=2)),
    ],
    ids=["plain", "kl", "kl-lora", "kl-loss-lora"],
)
def test_fault_15_a_step_that_is_not_finite_is_refused_and_changes_no_bit(
    name: str, where: str, kl: KLOptions, lora: LoraOptions | None
) -> None:
    made = learner(name, tiny_lm(lora=lora), kl=kl)
    episodes = mixed_batch(made.lm)
    made.update(episodes, seed=0)  # so that there are moments to protect
    episodes = mixed_batch(made.lm)
    before = {n: t.clone() for n, t in made.state().tensors.items()}
    version, coef = made.core.version, made.core.kl.coef
    handle = poison(made.lm, where)
    update = made.update(episodes, seed=1)
    handle.remove()
    assert update.num_optimiser_steps == 0
    assert update.fatal is None  # one bad batch is skipped, it does not stop the run
    assert update.skipped
    if where == "loss" and not (lora and kl.coef):
        assert "the loss is nan" in update.skipped[0].reason
    assert "finite" in update.skipped[0].reason or "nan" in update.skipped[0].reason
    assert same_bits(dict(made.state().tensors), before)
    assert (made.core.version, made.core.kl.coef) == (version, coef)
    assert all(p.grad is None for p in made.lm.trainable().values())
    again = made.update(episodes, seed=2)
    assert again.num_optimiser_steps >= 1
    assert not again.skipped


@every_learner
def test_a_gradient_that_somebody_left_behind_does_not_enter_the_step(name: str) -> None:
    left = []
    for stale in (False, True):
        made = learner(name)
        if stale:
            for parameter in made.lm.trainable().values():
                parameter.grad = torch.ones_like(parameter)
        made.update(mixed_batch(made.lm), seed=0)
        left.append(weights(made))
    assert same_bits(*left)


@every_learner
def test_the_engine_is_told_of_every_optimiser_step(name: str) -> None:
    made = learner(name)
    calls: list[int] = []
    made.core.engine.sync = lambda: calls.append(made.core.version)
    update = made.update(mixed_batch(made.lm), seed=0)
    # Once before, to let go of what it remembers of the rollout; then after each step.
    assert calls == list(range(update.num_optimiser_steps + 1))


def test_recorded_log_probabilities_that_are_not_a_number_are_fatal_not_overlooked() -> None:
    made = learner("rloo")  # whose loss does not read them
    update = made.update(shifted(mixed_batch(made.lm), float("nan")), seed=0)
    assert update.fatal is not None


def recorded_at(lm: Any, by: float) -> list[Episode]:
    """Two attempts whose recorded log-probabilities lie ``by`` above the model's own."""
    pair = [
        written(lm, [([END], [0, 1], 1.0)]),
        written(lm, [([END], [1, END], 0.0)], sample=1),
    ]
    return shifted(pair, by)


@pytest.mark.parametrize(("kl", "error"), [(1.0, 0.2), (0.011, 0.1), (0.0, -0.2), (0.009, -0.1)])
@every_learner
def test_the_kl_weight_goes_up_when_kl_is_above_its_target_and_down_below(
    name: str, kl: float, error: float
) -> None:
    options = KLOptions(coef=0.5, target=0.01, horizon=10)
    made = learner(name, kl=options)
    update = made.update(recorded_at(made.lm, kl), seed=0)
    assert update.metrics["kl/mean"].value == pytest.approx(kl, abs=1e-9)
    assert update.metrics["kl/coef"] == Mean(0.5, 1)
    assert made.core.kl.coef == pytest.approx(0.5 * (1 + error * 2 / 10), rel=1e-6)


def test_a_kl_weight_without_target_stays() -> None:
    made = learner("rloo", kl=KLOptions(coef=0.5))
    made.update(recorded_at(made.lm, 1.0), seed=0)
    assert made.core.kl.coef == 0.5


def test_row_07_k1_in_the_loss_and_k3_in_the_reward_are_refused() -> None:
    with pytest.raises(ValueError, match="k1 has no effect in the loss"):
        KLOptions(coef=0.1, place="loss", estimator="k1")
    for estimator in ("k2", "k3"):
        with pytest.raises(ValueError, match="biased gradient"):
            KLOptions(coef=0.1, estimator=estimator)


@every_learner
@pytest.mark.parametrize(
    "kl", [KLOptions(coef=5.0), KLOptions(coef=5.0, place="loss", estimator="k2"),
           KLOptions(coef=5.0, place="loss", estimator="k3")]
)  # fmt: skip
def test_kl_pulls_the_policy_back_to_the_reference(name: str, kl: KLOptions) -> None:
    """Only KL is at work (all rewards are equal): every sentence, so that the pull is exact."""
    lm = tiny_lm()
    made = learner(name, lm, kl=kl, optim=OptimOptions(lr=3e-3))
    contexts = [[END], [END, 0], [END, 1]]

    def table() -> Tensor:
        rows = [lm.network(input_ids=torch.tensor([c])).logits[0, -1] for c in contexts]
        return torch.stack(rows).log_softmax(-1).detach()

    ref = table()
    perturb(lm, scale=0.3)

    def distance() -> float:
        """Of the first token's distribution from the reference's."""
        now = table()[0]
        return float((now.exp() * (now - ref[0])).sum())

    start = distance()
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        said = torch.multinomial(table()[0].exp(), 60, replacement=True, generator=generator)
        episodes = [
            written(lm, [([END], [int(token)], 0.3)], sample=i) for i, token in enumerate(said)
        ]
        made.update(episodes, seed=step)
    assert distance() < 0.7 * start


@pytest.mark.parametrize("name", GROUP_METHODS)
@pytest.mark.parametrize(
    ("kl", "more"),
    [(KLOptions(coef=0.1), {}), (KLOptions(coef=0.1, place="loss", estimator="k3"), {}),
     (KLOptions(), {"entropy_coef": 0.1})],
)  # fmt: skip
def test_equal_rewards_teach_nothing_and_what_else_there_is_is_not_denied(
    name: str, kl: KLOptions, more: dict[str, Any]
) -> None:
    made = learner(name, kl=kl, **more)
    perturb(made.lm, scale=0.3)
    group = [written(made.lm, [([END], said, 0.5)], sample=i)
             for i, said in enumerate(([0, 1, END], [1, 0, 0], [END]))]  # fmt: skip
    before = weights(made)
    (told,) = made.update(group, seed=0).warnings
    assert "the reward teaches nothing in this step" in told
    assert "nothing can be learnt" not in told
    assert not same_bits(before, weights(made))


@every_learner
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_in_the_loss_weighs_as_much_as_the_controller_says_now(
    name: str, estimator: str
) -> None:
    lm = tiny_lm()
    made = learner(name, lm, kl=KLOptions(coef=1.0, place="loss", estimator=estimator))
    episodes = mixed_batch(lm)
    perturb(lm, scale=0.05)
    found = {}
    for coef in (0.0, 0.1, 0.3):
        made.core.kl.coef = coef
        found[coef] = flat(gradient_of(made, episodes))
    small, large = found[0.1] - found[0.0], found[0.3] - found[0.0]
    assert small.abs().max() > 1e-6
    assert torch.allclose(large, 3 * small, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ["ppo", "grpo", "reinforce_pp"])
def test_parity_is_measured_before_the_first_step_and_only_there(name: str) -> None:
    made = learner(name, epochs=3, minibatches=2, optim=OptimOptions(lr=0.05))
    episodes = mixed_batch(made.lm)
    update = made.update(episodes, seed=0)
    assert update.num_optimiser_steps == 6
    assert update.metrics["parity/max_gap"].value <= 1e-12
    tokens = [e.num_action_tokens for e in episodes]
    assert min(tokens) <= update.metrics["parity/mean_gap"].count < sum(tokens)


def test_ppo_stops_its_epochs_when_the_policy_has_moved_further_than_the_target() -> None:
    def steps(target_kl: float | None) -> Any:
        made = learner("ppo", epochs=8, target_kl=target_kl, optim=OptimOptions(lr=1e-2))
        return made.update(mixed_batch(made.lm), seed=0)

    assert steps(None).num_optimiser_steps == 8
    assert "update/stopped_early_frac" not in steps(None).metrics
    assert steps(1e3).num_optimiser_steps == 8
    assert steps(1e3).metrics["update/stopped_early_frac"] == Mean(0.0, 1)
    assert steps(1e-9).num_optimiser_steps == 1  # the second pass sees that it moved: no step
    assert steps(1e-9).metrics["update/stopped_early_frac"] == Mean(1.0, 1)


def test_minibatches_see_every_episode_once_in_each_epoch() -> None:
    made = learner("ppo", epochs=2, minibatches=3)
    seen: list[str] = []
    original = made.core.pack

    def keep(episodes: list[Episode], **kwargs: Any) -> Any:
        seen.extend(f"{e.task.id}{e.sample_index}" for e in episodes)
        return original(episodes, **kwargs)

    made.core.pack = keep
    update = made.update(mixed_batch(made.lm), seed=0)
    everyone = [f"{e.task.id}{e.sample_index}" for e in mixed_batch(made.lm)]
    assert update.num_optimiser_steps == 6
    assert seen[:6] == everyone  # the critic's pass
    assert sorted(seen[6:12]) == sorted(seen[12:]) == sorted(everyone)
    assert seen[6:12] != seen[12:]


def test_a_clipped_critic_moves_less() -> None:
    def moved(clip: float | None) -> float:
        made = learner("ppo", epochs=20, value_clip=clip, critic_lr=0.05)
        episodes = mixed_batch(made.lm)
        batch = made.core.pack(episodes)
        made.update(episodes, seed=0)
        values = [
            score(
                made.lm, ids=row.ids, position=row.position, visible=row.forest,
                source=row.source, target=row.target, distribution=made.core.distribution,
                want_value=True,
            ).value_or_raise()
            for row in batch.rows
        ]  # fmt: skip
        return float(torch.cat(values).detach().abs().mean())

    assert moved(0.05) < 0.5 * moved(None)


@every_learner
def test_an_entropy_bonus_raises_the_entropy_of_decisions(name: str) -> None:
    """All rewards are equal, so that nothing else pulls."""
    entropies = []
    made = learner(name, entropy_coef=1.0, optim=OptimOptions(lr=3e-3))
    for step in range(6):
        group = [written(made.lm, [([END], said, 0.0)], sample=i)
                 for i, said in enumerate(([0, 1, END], [1, 0, 0], [END]))]  # fmt: skip
        entropies.append(made.update(group, seed=step).metrics["policy/entropy"].value)
    assert entropies[-1] > entropies[0] + 0.02
    assert "policy/entropy" not in learner(name).update(group, seed=0).metrics


def test_a_bad_batch_ends_its_passes_and_counts_once() -> None:
    made = learner("ppo", epochs=3, minibatches=2)
    episodes = mixed_batch(made.lm)
    handle = poison(made.lm, "gradient")
    update = made.update(episodes, seed=0)
    handle.remove()
    assert len(update.skipped) == 1
    assert update.num_optimiser_steps == 0


@every_learner
def test_recorded_log_probabilities_that_are_not_a_number_leave_the_kl_weight(name: str) -> None:
    made = learner(name, kl=KLOptions(coef=0.1, target=0.01))
    update = made.update(shifted(mixed_batch(made.lm), float("nan")), seed=0)
    assert update.fatal is not None or update.skipped
    assert made.core.kl.coef == 0.1


def test_a_kl_that_is_no_number_moves_no_weight() -> None:
    controller = KLController(KLOptions(coef=0.1, target=1.0, horizon=100))
    for kl in (float("nan"), float("inf"), -float("inf")):
        controller.update(kl, num_episodes=50)
    assert controller.coef == 0.1


def test_an_adaptive_kl_weight_stays_above_zero_however_large_the_batch() -> None:
    controller = KLController(KLOptions(coef=0.1, target=1.0, horizon=100))
    for _ in range(5):
        controller.update(0.0, num_episodes=10_000)
    assert controller.coef == pytest.approx(0.1 * 0.8**5)
    controller.update(1e9, num_episodes=50)
    assert controller.coef == pytest.approx(0.1 * 0.8**5 * 1.1)


def test_the_learning_rate_rises_over_the_warm_up_and_reaches_zero_at_the_total() -> None:
    for schedule in ("linear", "cosine"):
        options = OptimOptions(lr=1.0, schedule=schedule, warmup_steps=4, total_steps=12)
        assert [options.lr_at(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
        assert options.lr_at(8) == pytest.approx(0.5)
        assert options.lr_at(11) > 0
        assert options.lr_at(12) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="warmup_steps must be below total_steps"):
        OptimOptions(schedule="linear", warmup_steps=12, total_steps=12)
