"""The façade: Stable-Baselines3's verbs on a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import sayso
from sayso.algorithms.options.optim import OptimOptions
from sayso.app import sweep
from sayso.app.opening import require_playable
from sayso.config.load import load_toml
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import (
    ConfigError,
    ModelMissingError,
    OptionValueError,
    RunError,
    UnknownOptionError,
)
from sayso.kernels.library import library

TINY: dict[str, Any] = {
    "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2},
    "max_new_tokens": 3,
    "tasks_per_step": 1,
    "group_size": 8,
    "lr": 3e-3,
}


def agent(**options: Any) -> sayso.Agent:
    return sayso.RLOO("tiny", "sayso/TinyLang-v0", **{**TINY, **options})


def weights(model: sayso.Agent) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.lm.trainable().items()}


HISTOGRAM = {"returns": "histogram", "optim": {"lr": OptimOptions().lr}}
KINDS: dict[str, dict[str, Any]] = {
    "GRPO": {}, "RLOO": {}, "Reinforce": {}, "ReinforcePP": {}, "A2C": {}, "PPO": {}, "SoftQ": {},
    "QSharp": HISTOGRAM,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_algorithm_learns_saves_and_loads(kind: str, tmp_path: Path) -> None:
    model = getattr(sayso, kind)("tiny", "sayso/TinyLang-v0", **{**TINY, **KINDS[kind]})
    before = weights(model)
    returned = model.learn(32, run=tmp_path / "run", progress_bar=False)
    assert returned is model
    assert any(not torch.equal(before[n], t) for n, t in weights(model).items())
    model.save(tmp_path / "saved")
    loaded = getattr(sayso, kind).load(tmp_path / "saved")
    assert loaded.predict("", deterministic=True) == model.predict("", deterministic=True)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").config.vocab_size == 3


@pytest.mark.parametrize("mode", ["pcl", "td"])
def test_a_run_with_a_memory_goes_on_where_it_stopped_and_ends_like_an_unbroken_one(
    mode: str, tmp_path: Path
) -> None:
    def made() -> sayso.Agent:
        return sayso.SoftQ("tiny", "sayso/TinyLang-v0", mode=mode, updates_per_step=2, **TINY)

    made().learn(16, run=tmp_path / "halves", progress_bar=False)
    again = made()
    again.learn(32, run=tmp_path / "halves", progress_bar=False)
    whole = made().learn(32, run=tmp_path / "whole", progress_bar=False)
    assert whole.learner.memory.replay.num_seen == 32
    for name, tensor in whole.learner.state().tensors.items():
        assert torch.equal(again.learner.state().tensors[name], tensor), name


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_loaded_soft_q_is_measured_against_the_model_it_began_as(
    lora: dict[str, int] | None, tmp_path: Path
) -> None:
    more = {} if lora is None else {"lora": lora}
    model = sayso.SoftQ("tiny", "sayso/TinyLang-v0", **TINY, **more)
    ids = torch.tensor([[2, 0]])

    def reference(of: sayso.Agent) -> torch.Tensor:
        with of.lm.reference():
            position = torch.tensor([[0, 1]])
            visible = torch.ones(1, 2, 2, dtype=torch.bool).tril()
            return of.lm.logits(of.lm.hidden(ids, position, visible)[0])

    before = reference(model)
    model.learn(16, run=tmp_path / "run", progress_bar=False).save(tmp_path / "saved")
    assert torch.equal(reference(model), before)
    torch.testing.assert_close(reference(sayso.Agent.load(tmp_path / "saved")), before)


def test_a_loaded_q_sharp_acts_as_the_saved_one_and_is_more_than_its_model(tmp_path: Path) -> None:
    options = {**TINY, **HISTOGRAM, "critic_lr": 0.3, "beta": 0.05}
    model = sayso.QSharp("tiny", "sayso/TinyLang-v0", **options)
    model.learn(64, run=tmp_path / "run", progress_bar=False).save(tmp_path / "saved")
    loaded = sayso.Agent.load(tmp_path / "saved")
    said = [loaded.predict("", seed=seed) for seed in range(8)]
    assert said == [model.predict("", seed=seed) for seed in range(8)]
    head = dict(model.learner.head.state_dict())
    assert all(torch.equal(t, head[n]) for n, t in loaded.learner.head.state_dict().items())
    assert any(t.abs().max() > 0.1 for t in head.values())


def test_a_run_goes_on_where_it_stopped_and_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    halves = agent()
    halves.learn(16, run=tmp_path / "halves", progress_bar=False)
    again = agent()
    again.learn(32, run=tmp_path / "halves", progress_bar=False)
    whole = agent().learn(32, run=tmp_path / "whole", progress_bar=False)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(again)[name], tensor)


def test_the_same_object_goes_on_in_its_run_and_in_a_second_one(tmp_path: Path) -> None:
    model = agent()
    for run in ("first", "second"):
        for total in (8, 16):
            model.learn(total, run=tmp_path / run, progress_bar=False)
            assert model.last_result.progress.num_episodes == total
    seeds = [(tmp_path / run / "config.toml").read_text() for run in ("first", "second")]
    assert seeds[0] != seeds[1]  # a second run of one object draws other samples
    with pytest.raises(RunError, match="seed was 0 and is 9"):
        agent(seed=9).learn(24, run=tmp_path / "first", progress_bar=False)


def test_a_saved_agent_goes_on_in_its_run(tmp_path: Path) -> None:
    agent().learn(8, run=tmp_path / "run", progress_bar=False).save(tmp_path / "saved")
    loaded = sayso.RLOO.load(tmp_path / "saved")
    loaded.learn(16, run=tmp_path / "run", progress_bar=False)
    assert loaded.last_result.progress.num_episodes == 16


def test_an_agent_is_loaded_by_its_own_class_or_the_general_one(tmp_path: Path) -> None:
    agent().save(tmp_path / "saved")
    with pytest.raises(OptionValueError, match=r"saved by RLOO.*\n?.*sayso\.RLOO\.load"):
        sayso.PPO.load(tmp_path / "saved")
    assert type(sayso.Agent.load(tmp_path / "saved")) is sayso.RLOO


def test_options_of_learn_are_checked_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(UnknownOptionError, match="eval_every"):
        agent().learn(8, run=tmp_path / "a", progress_bar=False, eval_evry=3)
    with pytest.raises(ConfigError, match="eval_every"):
        agent().learn(8, run=tmp_path / "a", progress_bar=False, eval_every="3")
    with pytest.raises(ConfigError, match="total_episodes"):
        agent().learn(0, run=tmp_path / "a", progress_bar=False)
    assert not (tmp_path / "a").exists()


def test_the_card_tells_of_these_weights_or_of_none(tmp_path: Path) -> None:
    model = agent()
    report = sayso.evaluate(model, split="train", num_episodes=4)
    model.save(tmp_path / "before")
    assert f"{report.mean.mean:.3f}" in (tmp_path / "before/README.md").read_text()
    model.learn(8, run=tmp_path / "run", progress_bar=False)
    model.save(tmp_path / "after")
    assert f"{report.mean.mean:.3f}" not in (tmp_path / "after/README.md").read_text()


def test_a_run_with_other_options_is_refused(tmp_path: Path) -> None:
    agent().learn(8, run=tmp_path / "run", progress_bar=False)
    with pytest.raises(RunError, match="other options"):
        agent(lr=1e-3).learn(8, run=tmp_path / "run", progress_bar=False)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match="Did you mean `group_size`"):
        agent(grup_size=3)


def test_limits_of_the_environment_are_options_like_any_other(tmp_path: Path) -> None:
    maze = sayso.PPO(
        "tiny", "sayso/Maze-v0", tasks_per_step=2, max_new_tokens=2, max_turns=3, epochs=1
    ).learn(2, run=tmp_path / "run", progress_bar=False)
    report = maze.evaluate(split="held_out", num_episodes=2)
    assert report.num_truncated == 2
    assert report.mean.mean == -12.0


def test_a_function_stops_training_by_returning_false(tmp_path: Path) -> None:
    seen: list[int] = []

    def callback(context: Any, report: Any) -> bool:
        seen.append(report.step)
        return report.step < 2

    model = agent().learn(800, callback, run=tmp_path / "run", progress_bar=False)
    assert seen == [1, 2]
    assert model.last_result.stopped_by == "callback"


def test_stop_on_reward_and_its_order_of_calls(tmp_path: Path) -> None:
    calls: list[str] = []

    class Spy(sayso.Callback):
        def on_training_start(self, context: Any) -> None:
            calls.append("start")

        def on_rollout_end(self, context: Any, episodes: Any) -> None:
            calls.append(f"rollout {len(episodes)}")

        def on_evaluation(self, context: Any, report: Any) -> None:
            calls.append("evaluation")

        def on_training_end(self, context: Any) -> None:
            calls.append("end")

    agent().learn(
        800,
        [Spy(), sayso.StopOnReward(-1.0)],
        run=tmp_path / "run",
        progress_bar=False,
        eval_every=2,
        eval_split="train",
        eval_episodes=4,
    )
    assert calls == ["start", "evaluation", "end"]


def make_env() -> TinyLangEnv:
    return TinyLangEnv()


@pytest.mark.parametrize("env", [TinyLangEnv, TinyLangEnv(), make_env])
def test_environments_come_as_class_object_or_function(env: Any, tmp_path: Path) -> None:
    model = sayso.GRPO("tiny", env, **TINY)
    model.learn(8, run=tmp_path / "run", progress_bar=False)
    assert model.evaluate(split="train", num_episodes=4).mean.n == 4


def test_a_model_and_tokenizer_of_ones_own(tmp_path: Path) -> None:
    base = agent()
    pair = (base.lm.causal_lm, base.lm.tokenizer)
    model = sayso.RLOO(pair, "sayso/TinyLang-v0", **{k: v for k, v in TINY.items() if k != "tiny"})
    model.learn(8, run=tmp_path / "run", progress_bar=False)
    assert model.predict("", deterministic=True) is not None


def test_loading_what_was_not_saved_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"holds no sayso\.json"):
        sayso.Agent.load(tmp_path)


def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from sayso.training.callbacks import TensorBoard

    agent().learn(16, TensorBoard(), run=tmp_path / "run", progress_bar=False)
    assert list((tmp_path / "run/tensorboard").glob("events*"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_pair_is_written_down_in_the_precision_that_it_keeps(tmp_path: Path, dtype: Any) -> None:
    base = sayso.RLOO("tiny", "sayso/TinyLang-v0", **TINY, dtype=dtype)
    rest = {k: v for k, v in TINY.items() if k != "tiny"}
    made = sayso.RLOO((base.lm.causal_lm, base.lm.tokenizer), "sayso/TinyLang-v0", **rest)
    made.learn(8, run=tmp_path / "run", progress_bar=False)
    assert str(made.lm.dtype) == f"torch.{dtype}"
    assert load_toml(tmp_path / "run" / "config.toml")["model"]["dtype"] == dtype
    made.learn(16, run=tmp_path / "run", progress_bar=False)  # the same options
    made.save(tmp_path / "saved")
    assert sayso.Agent.load(tmp_path / "saved").lm.dtype == made.lm.dtype


def test_a_run_may_lie_in_a_directory_that_was_made_for_it(tmp_path: Path) -> None:
    agent().learn(8, run=tmp_path, progress_bar=False)
    assert (tmp_path / "meta.json").is_file()
    agent().learn(16, run=tmp_path, progress_bar=False)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_options_of_an_evaluation_may_be_set_before_learn_says_how_often(tmp_path: Path) -> None:
    made = sayso.RLOO("tiny", "sayso/TinyLang-v0", **TINY, eval_split="train", eval_episodes=4)
    made.learn(8, run=tmp_path / "run", progress_bar=False, eval_every=1)
    assert list((tmp_path / "run" / "eval").iterdir())
    with pytest.raises(ConfigError, match=r"train\.eval_episodes"):
        made.learn(16, run=tmp_path / "other", progress_bar=False)


def test_what_is_odd_in_a_run_that_is_there_is_told_and_does_not_stop_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = sayso.RLOO("tiny", "sayso/TinyLang-v0", **TINY, eval_episodes=4)
    with pytest.raises(ConfigError, match=r"train\.eval_episodes"):
        require_playable(made.config, made.source)
    with caplog.at_level("WARNING", logger="sayso"):
        require_playable(made.config, made.source, is_new=False)
    assert "goes on as it was started" in caplog.text


@pytest.mark.skipif(not library().has_int8, reason="this processor multiplies no bytes")
def test_every_prediction_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sayso.RLOO("tiny", "sayso/TinyLang-v0", **TINY, precision="int8")
    asked: list[str] = []
    plain = sweep.make_engine

    def note(lm: Any, options: Any) -> Any:
        asked.append(options.precision)
        return plain(lm, options)

    monkeypatch.setattr(sweep, "make_engine", note)
    made.predict("x", deterministic=True)
    assert asked == ["exact"]
    assert "float32" in made.learner.policy().engine.path
