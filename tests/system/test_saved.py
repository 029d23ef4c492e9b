"""What is saved, loaded, gone on with and opened by the command line: base, adapter, names."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sayso
from sayso.cli import chat, evaluate, export, train
from sayso.cli.restore import restore
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import RunError, UnknownNameError
from sayso.models.lm import LanguageModel
from sayso.runs.interrupt import Interrupted

pytestmark = pytest.mark.medium

SMALL: dict[str, Any] = {
    "max_new_tokens": 3, "tasks_per_step": 1, "group_size": 8, "lr": 3e-2, "kl": {"coef": 0.05},
}  # fmt: skip
TINY: dict[str, Any] = {
    **SMALL,
    "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2},
}
LORA = {"lora": {"rank": 2}}


def agent(env: Any = "sayso/TinyLang-v0", **options: Any) -> sayso.Agent:
    return sayso.RLOO("tiny", env, **{**TINY, **options})


def of_a_pair(env: Any = "sayso/TinyLang-v0", **options: Any) -> sayso.Agent:
    base = agent()
    return sayso.RLOO((base.lm.causal_lm, base.lm.tokenizer), env, **{**SMALL, **options})


def logits(lm: LanguageModel) -> torch.Tensor:
    ids = torch.tensor([[2, 0, 1, 1]])
    with torch.no_grad():
        hidden = lm.hidden(ids, torch.arange(4)[None], torch.ones(4, 4).tril().bool()[None])
        return lm.logits(hidden)


def reference_logits(lm: LanguageModel) -> torch.Tensor:
    with lm.reference():
        return logits(lm)


@pytest.mark.parametrize("options", [LORA, {}], ids=["lora", "full"])
def test_the_reference_survives_saving_and_so_does_the_name_of_the_base(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = agent(**options).learn(24, run=tmp_path / "run", progress_bar=False)
    assert not torch.allclose(logits(model.lm), reference_logits(model.lm), atol=1e-3)
    model.save(tmp_path / "one")
    with caplog.at_level(logging.WARNING):
        loaded = sayso.Agent.load(tmp_path / "one")
    assert "not at hand" not in caplog.text
    torch.testing.assert_close(logits(loaded.lm), logits(model.lm), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reference_logits(loaded.lm), reference_logits(model.lm))
    assert loaded.lm.trainable().keys() == model.lm.trainable().keys()
    loaded.learn(32, run=tmp_path / "run", progress_bar=False)  # and goes on in its run
    assert loaded.last_result.progress.num_episodes == 32
    loaded.learn(8, run=tmp_path / "more", progress_bar=False)
    loaded.save(tmp_path / "two")
    assert "| base model | tiny |" in (tmp_path / "two/README.md").read_text()
    again = sayso.Agent.load(tmp_path / "two")
    torch.testing.assert_close(reference_logits(again.lm), reference_logits(model.lm))
    torch.testing.assert_close(logits(again.lm), logits(loaded.lm), rtol=1e-4, atol=1e-5)
    for run, of in (("run", None), ("more", loaded)):
        _, learner, _ = restore(tmp_path / run, "last")  # the command line finds the base as well
        lm = learner.lm  # type: ignore[attr-defined]
        torch.testing.assert_close(reference_logits(lm), reference_logits(model.lm))
        if of is not None:
            torch.testing.assert_close(logits(lm), logits(of.lm))


def test_the_adapter_lies_beside_the_merged_weights_as_peft_writes_it(tmp_path: Path) -> None:
    from peft import PeftModel

    model = agent(**LORA).learn(16, run=tmp_path / "run", progress_bar=False)
    model.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out/adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    with warnings.catch_warnings():
        # peft asks transformers a question by the name it had before 5.20.
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        with_peft = PeftModel.from_pretrained(agent().lm.causal_lm, tmp_path / "out/adapter")
    ids = torch.tensor([[2, 0, 1, 1]])
    with torch.no_grad():
        torch.testing.assert_close(with_peft(ids).logits, logits(model.lm), rtol=1e-4, atol=1e-5)
    agent().save(tmp_path / "out")  # one without adapters leaves none behind
    assert not (tmp_path / "out/adapter").exists()


@pytest.mark.parametrize("options", [LORA, {}], ids=["lora", "full"])
def test_a_base_that_is_not_at_hand_is_told_and_the_saved_weights_stand_in(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent().save(tmp_path / "base")
    make = {k: v for k, v in {**TINY, **options}.items() if k != "tiny"}
    model = sayso.RLOO(str(tmp_path / "base"), "sayso/TinyLang-v0", **make)
    model.learn(24, run=tmp_path / "run", progress_bar=False)
    model.save(tmp_path / "out")
    shutil.rmtree(tmp_path / "base")
    with caplog.at_level(logging.WARNING):
        loaded = sayso.Agent.load(tmp_path / "out")
    (told,) = [r.getMessage() for r in caplog.records if "not at hand" in r.getMessage()]
    assert "it was not found" in told
    torch.testing.assert_close(logits(loaded.lm), logits(model.lm), rtol=1e-4, atol=1e-5)
    with pytest.raises(RunError, match=r"model\.name was"):  # its adapters would be added twice
        loaded.learn(32, run=tmp_path / "run", progress_bar=False)
    loaded.save(tmp_path / "next")
    assert f"| base model | {tmp_path / 'base'} |" in (tmp_path / "next/README.md").read_text()


def test_a_model_saved_over_its_own_base_is_not_taken_for_that_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent().save(tmp_path / "it")
    make = {k: v for k, v in {**TINY, **LORA}.items() if k != "tiny"}
    model = sayso.RLOO(str(tmp_path / "it"), "sayso/TinyLang-v0", **make)
    model.learn(24, run=tmp_path / "run", progress_bar=False).save(tmp_path / "it")
    loaded = sayso.Agent.load(tmp_path / "it")
    assert "is not at hand" in caplog.text
    torch.testing.assert_close(logits(loaded.lm), logits(model.lm), rtol=1e-4, atol=1e-5)


def test_a_directory_called_like_a_known_model_is_loaded_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = agent().learn(16, run="run", progress_bar=False)
    model.save("tiny")
    loaded = sayso.Agent.load("tiny")
    assert torch.equal(logits(loaded.lm), logits(model.lm))


def test_the_card_tells_of_the_checkpoint_that_is_exported(tmp_path: Path) -> None:
    evals = {"eval_every": 1, "eval_split": "train", "eval_episodes": 4, "checkpoint_every": 1}
    model = agent().learn(16, run=tmp_path / "first", progress_bar=False, **evals)
    model.learn(16, run=tmp_path / "second", progress_bar=False, **evals)
    before = {"first": "| return |", "second": None}  # the second began with trained weights
    for run, table in before.items():
        export.run(tmp_path / run, tmp_path / f"{run}-base", checkpoint="base")
        card = (tmp_path / f"{run}-base/README.md").read_text()
        assert "| trained | nothing yet |" in card
        assert "untrained" in card
        assert ("| return |" in card) == (table is not None)
    export.run(tmp_path / "second", tmp_path / "last", checkpoint="last")
    assert "| trained | all weights |" in (tmp_path / "last/README.md").read_text()
    assert torch.equal(logits(sayso.Agent.load(tmp_path / "last").lm), logits(model.lm))
    for report in (tmp_path / "second/eval").glob("*.json"):
        report.unlink()
    export.run(tmp_path / "second", tmp_path / "unmeasured", checkpoint="last")
    assert "## Evaluation" not in (tmp_path / "unmeasured/README.md").read_text()


def test_an_agent_that_never_learned_is_saved_as_untrained(tmp_path: Path) -> None:
    agent().save(tmp_path)
    assert "| trained | nothing yet |" in (tmp_path / "README.md").read_text()


def test_an_evaluation_in_the_agents_own_environment_is_on_the_card(tmp_path: Path) -> None:
    model = agent()
    sayso.evaluate(model, "sayso/TinyLang-v0", split="train", num_episodes=4)
    assert model.last_report is not None
    model.last_report = None
    sayso.evaluate(model, "sayso/Maze-v0", split="train", num_episodes=1)
    assert model.last_report is None


def test_an_interrupted_call_can_go_on_and_leaves_no_stale_evaluation(
    tmp_path: Path,
) -> None:
    model = agent().learn(8, run=tmp_path / "first", progress_bar=False)
    model.evaluate(split="train", num_episodes=4)

    def stop(context: Any, report: Any) -> bool:
        raise Interrupted(2)

    with pytest.raises(KeyboardInterrupt, match="can go on"):
        model.learn(32, stop, run=tmp_path / "second", progress_bar=False)
    assert model.last_report is None
    model.learn(32, run=tmp_path / "second", progress_bar=False)
    assert model.last_result.progress.num_episodes == 32


def test_a_loaded_agent_goes_on_in_its_second_run_and_starts_others_with_new_draws(
    tmp_path: Path,
) -> None:
    model = agent().learn(8, run=tmp_path / "first", progress_bar=False)
    model.learn(8, run=tmp_path / "second", progress_bar=False).save(tmp_path / "saved")
    loaded = sayso.Agent.load(tmp_path / "saved")
    loaded.learn(16, run=tmp_path / "second", progress_bar=False)
    loaded.learn(8, run=tmp_path / "third", progress_bar=False)
    seeds = {
        (tmp_path / run / "config.toml").read_text().split("seed = ")[1].split("\n")[0]
        for run in ("first", "second", "third")
    }
    assert len(seeds) == 3


def prompts() -> sayso.PromptEnv:
    return sayso.PromptEnv(prompts=["a", "b", "ab"], reward=lambda p, c: float(len(c)), held_out=[])


def test_an_environment_made_in_python_is_said_to_be_missing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = agent(prompts()).learn(8, run=run, progress_bar=False)
    for refused in (
        lambda: evaluate.run(
            run,
            split=None,
            episodes=1,
            checkpoint="last",
            seed=0,
            beta=None,
            decode=None,
            audit=0,
            as_json=False,
        ),
        lambda: train.run(
            None, overrides=(), resume=run, path=None, seed=None, tensorboard=False, as_json=False
        ),
    ):
        with pytest.raises(RunError, match=r"environment was made in Python.*Agent\.load"):
            refused()
    export.run(run, tmp_path / "exported", checkpoint="last")  # needs no environment
    model.save(tmp_path / "saved")
    for directory in (tmp_path / "saved", tmp_path / "exported"):
        with pytest.raises(UnknownNameError, match=r"PromptEnv.*Agent\.load\(.*env=\.\.\."):
            sayso.Agent.load(directory)
        loaded = sayso.Agent.load(directory, env=prompts())
        loaded.learn(16, run=run, progress_bar=False)
        assert loaded.last_result.progress.num_episodes == 16


def test_a_pair_made_in_python_is_said_to_be_missing(tmp_path: Path) -> None:
    model = of_a_pair(kl={}).learn(8, run=tmp_path / "run", progress_bar=False)
    for refused in (
        lambda: restore(tmp_path / "run", "last"),
        lambda: chat.run(tmp_path / "run", checkpoint="last", seed=0, max_new_tokens=None),
    ):
        with pytest.raises(RunError, match=r"\(model, tokenizer\) pair was made in Python"):
            refused()
    model.save(tmp_path / "saved")
    loaded = sayso.Agent.load(tmp_path / "saved")
    assert torch.equal(logits(loaded.lm), logits(model.lm))
    loaded.learn(16, run=tmp_path / "run", progress_bar=False)
    loaded.learn(8, run=tmp_path / "next", progress_bar=False)  # a directory is a name
    _, learner, _ = restore(tmp_path / "next", "last")
    assert torch.equal(logits(learner.lm), logits(loaded.lm))  # type: ignore[attr-defined]


def test_adapters_of_a_pair_are_loaded_merged_and_do_not_go_on_in_the_same_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = of_a_pair(**LORA).learn(8, run=tmp_path / "run", progress_bar=False)
    model.save(tmp_path / "saved")
    loaded = sayso.Agent.load(tmp_path / "saved")
    assert "pair), so new adapters and the reference start from" in caplog.text
    torch.testing.assert_close(logits(loaded.lm), logits(model.lm), rtol=1e-4, atol=1e-5)
    with pytest.raises(RunError, match=r"model\.name was"):
        loaded.learn(16, run=tmp_path / "run", progress_bar=False)


def test_a_class_of_a_module_is_a_name_that_the_command_line_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent(TinyLangEnv).learn(8, run=tmp_path / "run", progress_bar=False)
    evaluate.run(
        tmp_path / "run",
        split="train",
        episodes=2,
        checkpoint="last",
        seed=0,
        beta=None,
        decode=None,
        audit=0,
        as_json=True,
    )
    assert json.loads(capsys.readouterr().out)["mean"]["n"] == 2


def test_an_agent_loaded_for_another_environment_says_so_in_its_runs(tmp_path: Path) -> None:
    agent(prompts()).save(tmp_path / "saved")
    loaded = sayso.Agent.load(tmp_path / "saved", env="sayso/TinyLang-v0")
    loaded.learn(8, run=tmp_path / "run", progress_bar=False)
    assert 'id = "sayso/TinyLang-v0"' in (tmp_path / "run/config.toml").read_text()
    restore(tmp_path / "run", "last")


def test_a_critic_comes_back_with_its_base(tmp_path: Path) -> None:
    model = sayso.PPO("tiny", "sayso/TinyLang-v0", **{**TINY, **LORA})
    model.learn(16, run=tmp_path / "run", progress_bar=False).save(tmp_path / "saved")
    loaded = sayso.PPO.load(tmp_path / "saved")
    saved = load_file(tmp_path / "saved/value_head.safetensors")
    assert loaded.lm.value_head is not None
    state = loaded.lm.value_head.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
    assert any(bool(tensor.any()) for tensor in saved.values())
