"""Options that are impossible, or that nothing would feel, are refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import RunConfig, load_config
from sayso.app.opening import create_run, require_playable
from sayso.app.refusals import refuse_unused
from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import ConfigError, OptionValueError, UnusedOptionError

ENTROPY = ["grpo", "rloo", "reinforce", "reinforce_pp", "a2c", "ppo"]
CLIPPED = ["grpo", "reinforce_pp", "ppo"]
CRITIC = ["a2c", "ppo"]
SOFT = ["soft_q", "q_sharp"]


def config(**sections: Any) -> RunConfig:
    return load_config({"env": {"id": "sayso/TinyLang-v0"}, **sections}, source="run.toml")


@pytest.mark.parametrize(
    ("type_", "options", "says"),
    [
        *[(name, {"entropy_coef": -1.0}, "entropy_coef must be at least 0") for name in ENTROPY],
        *[(name, {"group_size": 0}, "group_size") for name in ENTROPY],
        *[(name, {"group_size": -2, "tasks_per_step": -3}, "group_size") for name in ENTROPY],
        *[(name, {"clip_low": 5.0}, r"clip_low must be in \(0, 1\]") for name in CLIPPED],
        *[(name, {"clip_low": 0.0}, r"clip_low must be in \(0, 1\]") for name in CLIPPED],
        *[(name, {"clip_high": -3.0}, "clip_high must be positive") for name in CLIPPED],
        *[(name, {"critic_lr": 0.0}, "critic_lr must be positive") for name in CRITIC],
        *[(name, {"value_coef": -0.5}, "value_coef must be at least 0") for name in CRITIC],
        *[(name, {"beta": 0.0}, "beta must be positive") for name in SOFT],
        *[(name, {"updates_per_step": 0}, "updates_per_step must be positive") for name in SOFT],
        *[(name, {"critic_lr": 0.0}, "critic_lr must be positive") for name in SOFT],
        *[(name, {"group_size": 0}, "group_size") for name in SOFT],
        ("soft_q", {"alpha": -0.1}, "alpha must be at least 0"),
        ("soft_q", {"value_coef": -0.5}, "value_coef must be at least 0"),
        ("soft_q", {"gamma_turn": 0.9}, "gamma_turn has no place in mode 'pcl'.*use mode 'td'"),
        ("soft_q", {"mode": "trajectory", "target_rate": 0.5}, "target_rate has no place"),
        ("soft_q", {"mode": "td", "gamma_turn": 1.5}, r"gamma_turn must be in \[0, 1\]"),
        ("soft_q", {"mode": "td", "target_rate": 0.0}, "target_rate must be positive"),
        ("q_sharp", {"bins": 5}, "bins has no effect with returns = 'success'"),
        ("q_sharp", {"returns": "histogram", "bins": 1}, "bins must be at least 2"),
        ("q_sharp", {"returns": "histogram", "low": 1.0}, "low must be below high"),
        ("q_sharp", {"num_weighed": 0}, "num_weighed must be positive"),
        ("q_sharp", {"replay": {"sampling": "success"}}, "replay.sampling must be 'uniform'"),
        ("filtered_bc", {"replay": {"capacity": 0}, "draws": 3}, "draws has no effect"),
        ("filtered_bc", {"replay": {"capacity": 0}, "updates_per_step": 2}, "updates_per_step has"),
        ("grpo", {"resample_rounds": -1}, "resample_rounds must be at least 0"),
        ("ppo", {"epochs": 1, "target_kl": 0.1}, "target_kl has no effect"),
        ("ppo", {"epochs": 1, "value_clip": 0.1}, "value_clip has no effect"),
        ("reinforce", {"baseline": "none", "decay": 0.5}, "decay has no effect.*moving_average"),
        ("reinforce", {"baseline": "batch_mean", "decay": 0.5}, "decay has no effect"),
    ],
)
def test_an_algorithm_refuses_what_it_cannot_use(
    type_: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        config(algorithm={"type": type_, **options})


@pytest.mark.parametrize(
    ("section", "options", "says"),
    [
        ("optim", {"beta1": 2.0}, r"beta1 must be in \[0, 1\)"),
        ("optim", {"beta2": 1.0}, r"beta2 must be in \[0, 1\)"),
        ("optim", {"eps": -1.0}, "eps must be positive"),
        ("optim", {"schedule": "linear", "total_steps": 0}, "total_steps must be positive"),
        ("kl", {"coef": 0.1, "horizon": 5}, "horizon has no effect.*target"),
    ],
)
def test_a_section_refuses_what_it_cannot_use(
    section: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        config(**{section: options})


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_is_in_the_range_that_everything_random_takes(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be in"):
        config(seed=seed)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"kl": {"target": 0.1}}, r"kl\.target.*kl\.coef"),
        ({"train": {"eval_episodes": 5}}, r"train\.eval_episodes.*train\.eval_every"),
        ({"train": {"eval_split": "unseen"}}, r"train\.eval_split.*train\.eval_every"),
        (
            {"train": {"failure_budget": 0.5}, "env": {"id": "x", "strict": True}},
            r"train\.failure_budget.*env\.strict",
        ),
        *[
            ({"algorithm": {"type": name}, "kl": {"coef": 0.1}}, r"kl\.coef.*algorithm\.beta")
            for name in SOFT
        ],
        ({"algorithm": {"type": "q_sharp"}, "optim": {"lr": 0.1}}, r"optim\.lr.*critic_lr"),
        *[
            ({"algorithm": {"type": name, "epochs": 1, clip: 0.1}}, rf"{clip}.*epochs or .*above 1")
            for name in CLIPPED
            for clip in ("clip_low", "clip_high")
        ],
        (
            {"algorithm": {"type": "grpo", "variant": "cispo", "clip_low": 0.5, "clip_high": 2.0}},
            r"clip_low, algorithm\.clip_high",
        ),
    ],
)
def test_options_that_need_another_section_are_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(UnusedOptionError, match=says):
        refuse_unused(config(**sections))


PARTS = {"train": {"part_weights": {"right": 1.0}}}
STORED = {"data": {"path": "a.jsonl"}}


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"algorithm": {"type": "bc"}, **STORED}, "needs no reward"),
        ({"algorithm": {"type": "filtered_bc"}, **STORED}, "by the reward itself"),
        *[({"algorithm": {"type": n}}, r"replay\.capacity") for n in ("filtered_bc", "soft_q")],
        ({"algorithm": {"type": "archer", "replay": {"capacity": 50}}}, r"replay\.capacity"),
    ],
)
def test_weights_of_parts_are_refused_where_they_teach_nothing_or_two_scales(
    sections: dict[str, Any], says: str
) -> None:
    with pytest.raises(OptionValueError, match=rf"train\.part_weights.*{says}"):
        refuse_unused(config(**sections, **PARTS))


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"algorithm": {"type": "awr"}, **STORED},
        {"algorithm": {"type": "ilql"}, **STORED},
        {"algorithm": {"type": "soft_q", "replay": {"capacity": 0}}},
        {"algorithm": {"type": "archer", "replay": {"capacity": 0}}},
    ],
)
def test_weights_of_parts_are_taken_where_they_teach(sections: dict[str, Any]) -> None:
    refuse_unused(config(**sections, **PARTS))


@pytest.mark.parametrize(
    "sections",
    [
        {"kl": {"coef": 0.1, "target": 0.1, "horizon": 5}},
        {"train": {"eval_every": 5, "eval_episodes": 5, "eval_split": "train"}},
        {"algorithm": {"type": "reinforce", "decay": 0.5}},
        {"algorithm": {"type": "ppo", "target_kl": 0.1, "value_clip": 0.1, "entropy_coef": 0.0}},
        {"algorithm": {"type": "grpo", "variant": "cispo", "clip_high": 3.0, "epochs": 2}},
        {"algorithm": {"type": "reinforce_pp", "clip_low": 0.1, "minibatches": 2}},
        {"algorithm": {"type": "ppo", "clip_low": 0.1}},
        {"kl": {"coef": 0.1}, "sampling": {"temperature": 0.7}},
        {"sampling": {"top_k": 5, "top_p": 0.9, "min_p": 0.1}},
        {"algorithm": {"type": "grpo", "variant": "gspo"}},
        {"seed": 2**63 - 1},
    ],
)
def test_options_that_count_are_taken(sections: dict[str, Any]) -> None:
    refuse_unused(config(**sections))


@pytest.mark.parametrize("filter_", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_a_divergence_from_a_reference_that_filters_is_refused(filter_: dict[str, float]) -> None:
    (name,) = filter_
    with pytest.raises(OptionValueError, match=rf"sampling\.{name}.*infinite.*kl\.coef = 0"):
        refuse_unused(config(kl={"coef": 0.1}, sampling=filter_))


def told(
    options: dict[str, Any], precision: str, path: Path, caplog: pytest.LogCaptureFixture
) -> str:
    """What is said when a run of TinyLang begins, and when it is gone on with."""
    tiny = {"name": "tiny", "tiny": {"tokens": "ab", "width": 8, "layers": 1, "heads": 2}}
    found = config(
        model=tiny, algorithm={"type": "grpo", "tasks_per_step": 1, "group_size": 2, **options},
        sampling={"max_new_tokens": 3, "precision": precision}, train={"total_episodes": 4},
    )  # fmt: skip
    learner = build_learner(found, build_lm(found))
    run = create_run(found, path / "run")
    caplog.clear()
    with caplog.at_level("WARNING", logger="sayso"):
        assemble(found, run, learner=learner)
    return caplog.text


@pytest.mark.parametrize(("variant", "same"), [("gspo", "grpo"), ("cispo", "dapo")])
def test_a_variant_that_is_another_on_a_single_step_is_told_of(
    variant: str, same: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = told({"variant": variant}, "exact", tmp_path / "one", caplog)
    assert f"'{variant}'" in said
    assert f"the same as {same}" in said
    for number, (options, precision) in enumerate(
        [
            ({"variant": variant, "epochs": 2}, "exact"),
            ({"variant": variant, "minibatches": 2}, "exact"),
            ({"variant": same}, "exact"),
        ]
    ):
        assert "the same as" not in told(options, precision, tmp_path / str(number), caplog)


def test_what_makes_no_sense_together_is_refused_before_a_model_is_loaded() -> None:
    with pytest.raises(OptionValueError, match=r"sampling\.top_p.*kl\.coef"):
        sayso.RLOO("no/such-model", "sayso/TinyLang-v0", kl={"coef": 0.1}, top_p=0.9)


class WithTimeout(TinyLangEnv):
    """An environment that asks for a process of its own."""

    timeout_s = 30.0


@pytest.mark.medium
@pytest.mark.parametrize("env", [TinyLangEnv, WithTimeout])
def test_workers_are_refused_where_the_environment_runs_in_this_process(env: type[TextEnv]) -> None:
    options = {"id": "x", "num_workers": 2}
    found = config(env=options, train={"eval_every": 0})
    if env is WithTimeout:
        require_playable(found, source(env))
        return
    with pytest.raises(UnusedOptionError, match=r"env\.num_workers.*env\.timeout_s"):
        require_playable(found, source(env))


def test_a_section_with_several_values_out_of_range_tells_of_each() -> None:
    table = {"optim": {"lr": -1.0, "beta1": 2.0, "warmup_steps": -3}}
    with pytest.raises(ConfigError) as caught:
        load_config(table, source="run.toml")
    for name in ("optim.lr", "optim.beta1", "optim.warmup_steps"):
        assert str(caught.value).count(name) == 1


def test_soft_q_refuses_filters_under_which_its_divergence_is_infinite() -> None:
    sections = {"algorithm": {"type": "soft_q"}, "sampling": {"top_k": 5}}
    with pytest.raises(OptionValueError, match=r"sampling\.top_k"):
        refuse_unused(config(**sections))
    refuse_unused(config(algorithm={"type": "q_sharp"}, sampling={"top_k": 5}))
