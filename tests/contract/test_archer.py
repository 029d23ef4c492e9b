"""What the learners with an utterance-level critic promise: numbers, masks, memory, state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from archer_cases import sentence
from learner_cases import (
    END,
    built,
    flat,
    gradient_of,
    mixed_batch,
    perturb,
    same_bits,
    shifted,
    tiny_lm,
    written,
)
from safetensors.torch import load_file
from torch import Tensor

import sayso
from sayso.algorithms.base import HasValues, Learner, LearnerState
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.options import ReplayOptions
from sayso.errors import ModelError
from sayso.models.lm import LanguageModel
from sayso.models.options import LoraOptions
from sayso.types import EndReason

pytestmark = pytest.mark.medium

RECORDS: dict[str, type[Any]] = {"archer": ArCHerOptions, "offline_archer": OfflineArCHerOptions}
both = pytest.mark.parametrize("name", list(RECORDS))
trunks = pytest.mark.parametrize("trunk", ["frozen", "copy", "adapter"])
SMALL = {"warmup_updates": 0, "critic_updates": 2, "actor_updates": 2}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made_of(name: str, trunk: str = "frozen", *, lm: LanguageModel | None = None,
            optim: OptimOptions | None = None, kl: KLOptions | None = None,
            **options: Any) -> Any:  # fmt: skip
    lora = LoraOptions(rank=2) if trunk == "adapter" else None
    record = RECORDS[name](trunk=trunk, **{**SMALL, **options})
    return built(record, lm or tiny_lm(lora=lora), optim=optim, kl=kl)


def stale(made: Any) -> list[Any]:
    """Episodes of a policy that has moved since; heads that say something."""
    episodes = mixed_batch(made.lm)
    perturb(made.lm, scale=0.03)
    for head in (*made.critic.heads.q, *made.critic.heads.v):
        torch.nn.init.normal_(head.project.weight, generator=torch.Generator().manual_seed(1))
    return episodes


def weights(made: Any) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in made.state().tensors.items()}


@both
def test_each_is_a_learner_with_values(name: str) -> None:
    made = made_of(name)
    assert isinstance(made, Learner)
    assert isinstance(made, HasValues)


@both
@trunks
def test_an_update_does_not_depend_on_the_micro_batch(name: str, trunk: str) -> None:
    found, metrics = [], []
    more = {"replay": ReplayOptions(capacity=0), "actor_updates": 1} if name == "archer" else {}
    for budget in (1, 9, 1024):
        made = made_of(name, trunk, optim=OptimOptions(lr=1e-2, micro_batch_tokens=budget), **more)
        update = made.update(stale(made), seed=0)
        assert not update.skipped
        found.append(flat({n: t for n, t in weights(made).items() if n.startswith("policy.")}))
        metrics.append(update.metrics)
    for other, told in zip(found[1:], metrics[1:], strict=True):
        assert (other - found[0]).abs().max() < 1e-8
        assert told.keys() == metrics[0].keys()
        for key, mean in told.items():
            assert mean.value == pytest.approx(metrics[0][key].value, rel=1e-6, abs=1e-9), key


@both
@trunks
def test_the_gradient_does_not_depend_on_the_micro_batch_or_the_order(
    name: str, trunk: str
) -> None:
    more = {"replay": ReplayOptions(capacity=0)} if name == "archer" else {}
    made = made_of(name, trunk, **more)
    episodes = stale(made)
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 9, 14):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        found = flat(gradient_of(made, episodes))
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
        order = np.random.default_rng(budget).permutation(len(episodes))
        shuffled = flat(gradient_of(made, [episodes[i] for i in order]))
        assert (shuffled - expected).abs().max() <= 1e-11 * expected.abs().max()


def copied(state: LearnerState) -> LearnerState:
    values = json.loads(json.dumps(dict(state.values)))
    return LearnerState(tensors={n: t.clone() for n, t in state.tensors.items()}, values=values)


@both
@trunks
@pytest.mark.parametrize("anew", [False, True])
def test_a_fresh_learner_with_the_state_of_another_goes_on_bit_for_bit(
    name: str, trunk: str, anew: bool
) -> None:
    more: dict[str, Any] = {}
    if name == "archer" and anew:
        more = {"value_actions": "policy", "actor_states": "replay", "baseline": "token",
                "draws": 3, "replay": ReplayOptions(capacity=5)}  # fmt: skip
    one = made_of(name, trunk, **more)
    episodes = mixed_batch(one.lm)
    one.update(episodes, seed=0)
    one.update(episodes[:3], seed=1)
    saved = copied(one.state())
    two = made_of(name, trunk, **more)
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    for made in (one, two):
        made.update(episodes[2:], seed=2)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))
    targets = [n for n in saved.tensors if n.startswith("target_critic.")]
    assert bool(targets) == (trunk != "frozen")


@both
def test_the_critic_learns_alone_while_it_warms_up_and_steps_are_counted(name: str) -> None:
    made = made_of(name, warmup_updates=2, critic_updates=3, actor_updates=2)
    episodes, start, total = mixed_batch(made.lm), weights(made), 0
    for number in range(4):
        before = weights(made)
        total += made.update(episodes, seed=number).num_optimiser_steps
        moved = {n for n, t in weights(made).items() if not torch.equal(t, before.get(n, t))}
        actor = {n for n in moved if n.startswith("policy.") and "q_heads" not in n}
        assert bool(actor) == (number >= 2)
        assert total == made.options.num_optimiser_steps(number + 1) == made.core.version
    assert start.keys() <= weights(made).keys()


def test_memory_is_what_the_critic_learns_from_and_forgets_the_oldest() -> None:
    made = made_of("archer", replay=ReplayOptions(capacity=4))
    episodes = mixed_batch(made.lm)
    seen: list[Any] = []
    learn = made.critic.learn
    made.critic.learn = lambda drawn, *a, **k: seen.append(drawn) or learn(drawn, *a, **k)
    made.update(episodes, seed=0)
    assert len(made.memory.replay) == 4
    assert {id(e) for drawn in seen for e in drawn} <= {id(e) for e in episodes[2:]}
    assert seen[0] != seen[1]
    made.update(episodes[:1], seed=1)
    assert {id(e) for e in made.memory.replay.episodes} == {
        id(e) for e in [*episodes[3:], episodes[0]]
    }


def test_age_is_counted_up_to_where_the_update_began() -> None:
    """Steps of the critic must not age the episodes that it is learning from."""
    made = made_of("archer", critic_updates=5, replay=ReplayOptions(max_age=1))
    made.update(mixed_batch(made.lm), seed=0)
    fresh = [replace(e, policy_version=made.core.version) for e in mixed_batch(made.lm)]
    seen: list[Any] = []
    learn = made.critic.learn
    made.critic.learn = lambda drawn, *a, **k: seen.append(drawn) or learn(drawn, *a, **k)
    made.update(fresh, seed=1)
    assert len(seen) == 5
    assert {e.policy_version for drawn in seen for e in drawn} == {fresh[0].policy_version}


@both
def test_an_ungraded_episode_is_left_out_and_a_step_of_none_changes_nothing(name: str) -> None:
    made = made_of(name)
    before = weights(made)
    update = made.update([written(made.lm, [([END], [0, END], None)])], seed=0)
    assert update.num_optimiser_steps == 0
    assert same_bits(before, weights(made))


@both
@pytest.mark.parametrize("reward", [1e200, 0.5])
def test_a_loss_that_is_not_finite_is_refused_and_changes_nothing(name: str, reward: float) -> None:
    made = made_of(name)
    before = weights(made)
    bad = written(made.lm, [([END], [0, END], reward)], end=EndReason.TRUNCATED)
    if reward < 1:
        with torch.no_grad():
            made.critic.heads.q[0].project.bias.fill_(float("nan"))
        before = weights(made)
    update = made.update([bad], seed=0)
    assert len(update.skipped) == 1
    assert update.num_optimiser_steps == 0
    now = weights(made)
    for key, tensor in before.items():
        if key.startswith(("policy.", "target.")):
            assert torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(now[key]))


def test_a_sampler_that_disagrees_with_the_trainer_is_fatal_online() -> None:
    made = made_of("archer", actor_updates=1)
    fatal = made.update(shifted(mixed_batch(made.lm), 0.5), seed=0).fatal
    assert fatal is not None
    made = made_of("archer", actor_updates=1)
    assert made.update(mixed_batch(made.lm), seed=0).fatal is None


@both
def test_trunks_that_do_not_fit_the_model_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"model\.lora"):
        made_of(name, "adapter", lm=tiny_lm())
    with pytest.raises(ModelError, match="copy"):
        made_of(name, "copy", lm=tiny_lm(lora=LoraOptions(rank=2)))


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("archer", {"target_rate": 0.0}, "target_rate"),
        ("archer", {"gamma_turn": 1.5}, "gamma_turn"),
        ("archer", {"critic_updates": 0}, "critic_updates"),
        ("archer", {"warmup_updates": -1}, "warmup_updates"),
        ("archer", {"replay": ReplayOptions(sampling="prioritised")}, "prioritised"),
        ("archer", {"replay": ReplayOptions(capacity=0), "draws": 3}, "draws"),
        ("offline_archer", {"tau": 1.0}, "tau"),
        ("offline_archer", {"advantage_weight": -1.0}, "advantage_weight"),
        ("offline_archer", {"max_weight": 0.0}, "max_weight"),
        ("offline_archer", {"actor_updates": 0}, "actor_updates"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    name: str, options: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        RECORDS[name](**options)


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_what_is_saved_is_the_policy_without_its_critic(
    tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    more = {"lora": lora, "trunk": "adapter"} if lora else {"trunk": "copy"}
    agent = sayso.ArCHer(
        "tiny", "sayso/TinyLang-v0", tiny={"tokens": "ab", "width": 16, "layers": 1},
        max_new_tokens=3, tasks_per_step=1, group_size=8, warmup_updates=1, critic_updates=2,
        draws=4, lr=1e-2, **more,
    )  # fmt: skip
    agent.learn(32, run=tmp_path / "run", progress_bar=False)
    agent.save(tmp_path / "policy")
    if lora:
        assert sorted(p.name for p in (tmp_path / "policy/adapter").iterdir()) == [
            "adapter_config.json", "adapter_model.safetensors"]  # fmt: skip
        kept = load_file(tmp_path / "policy/adapter/adapter_model.safetensors")
        assert not any("critic" in key for key in kept)
    again = sayso.Agent.load(tmp_path / "policy")
    assert isinstance(again, sayso.ArCHer)
    for prompt in ("", "a"):
        assert again.predict(prompt, seed=3) == agent.predict(prompt, seed=3)
    with torch.no_grad():
        ids = torch.tensor([[END, 0, 1, 0]])
        one, other = (a.lm.network(input_ids=ids).logits for a in (agent, again))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("trunk", "lora"),
    [("frozen", None), ("frozen", {"rank": 2}), ("copy", None), ("adapter", {"rank": 2})],
)
def test_a_loaded_critic_reads_what_it_learnt_from_or_begins_anew(
    tmp_path: Path, trunk: Any, lora: dict[str, Any] | None
) -> None:
    options: dict[str, Any] = {
        "max_new_tokens": 3, "tasks_per_step": 1, "group_size": 8, "warmup_updates": 1,
        "critic_updates": 5, "draws": 8, "lr": 3e-2, "critic_lr": 3e-2, "trunk": trunk,
    }  # fmt: skip
    agent = sayso.ArCHer(
        "tiny", "sayso/TinyLang-v0", tiny={"tokens": "ab", "width": 16, "layers": 1}, lora=lora,
        **options,
    )  # fmt: skip
    agent.learn(32, run=tmp_path / "run", progress_bar=False).save(tmp_path / "saved")
    episode = sentence(agent.lm, "abE")

    def value(made: Any) -> float:
        return float(made.learner.action_values(episode).values[-1])

    card = (tmp_path / "saved/README.md").read_text()
    assert ("critic that advised while training is not saved" in card) == (trunk != "frozen")
    assert abs(value(agent)) > 1e-3
    loaded = sayso.Agent.load(tmp_path / "saved")
    kept = value(agent) if trunk == "frozen" else 0.0
    assert value(loaded) == pytest.approx(kept, abs=1e-6)
    if lora is None:  # another agent over these weights: nothing that was learnt is about them
        over = sayso.ArCHer(tmp_path / "saved", "sayso/TinyLang-v0", **options)
        assert value(over) == 0
