"""What a first-time user gets wrong, and the one line that answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_llama

import sayso
from sayso.errors import EnvContractError, ModelError, OptionValueError

LANGUAGE = "sayso/TinyLang-v0"
TINY: dict[str, Any] = {
    "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2},
    "max_new_tokens": 3,
}


@pytest.mark.parametrize(
    ("made_of", "says"),
    [
        (lambda model, tokenizer: model, "got a LlamaForCausalLM, which brings no tokenizer"),
        (lambda model, tokenizer: tokenizer, "got a PreTrainedTokenizerFast|TokenizersBackend"),
        (lambda model, tokenizer: (model,), "got a tuple"),
        (lambda model, tokenizer: (model, None), "got a pair of LlamaForCausalLM and NoneType"),
        (lambda model, tokenizer: (tokenizer, model), "and LlamaForCausalLM"),
        (lambda model, tokenizer: None, "got a NoneType"),
    ],
)
def test_what_is_no_model_and_tokenizer_is_refused(made_of: Callable[..., Any], says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        sayso.GRPO(made_of(*tiny_llama()), LANGUAGE)
    assert "one pair: (model, tokenizer)" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_an_environment_without_text_is_refused_before_a_model_is_looked_for() -> None:
    with pytest.raises(EnvContractError, match=r"CartPole-v1, observation_space: .* is not text"):
        sayso.GRPO("no-such-model", "CartPole-v1")


def test_predict_takes_text_and_messages_alike() -> None:
    agent = sayso.RLOO("tiny", LANGUAGE, **TINY)
    said = {
        agent.predict(form, seed=4)
        for form in (
            "ab",
            [{"role": "user", "content": "ab"}],
            (sayso.Message("user", "ab"),),
        )
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    "wrong", [3, None, [], [3], [{"role": "user"}], [{"role": "me", "content": "a"}], ["a", "b"],
              [{"role": "user", "content": None}]]
)  # fmt: skip
def test_predict_refuses_what_is_neither(wrong: Any) -> None:
    agent = sayso.RLOO("tiny", LANGUAGE, **TINY)
    with pytest.raises(OptionValueError, match="neither text nor a list of messages"):
        agent.predict(wrong)


def test_other_arguments_of_the_wrong_kind_are_named(tmp_path: Path) -> None:
    agent = sayso.RLOO("tiny", LANGUAGE, **TINY)
    for wrong in (3, [print], sayso.Callback):
        with pytest.raises(OptionValueError, match=r"learn, callback: got .* no sayso.Callback"):
            agent.learn(8, callback=wrong, run=tmp_path / "run", progress_bar=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionValueError, match="evaluate: got 'smollm2', which is no agent"):
        sayso.evaluate("smollm2")  # type: ignore[arg-type]
    with pytest.raises(OptionValueError, match="num_episodes: got 0"):
        agent.evaluate(split="train", num_episodes=0)


def test_episodes_that_make_no_whole_steps_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told(total: int, run: str) -> list[str]:
        caplog.clear()
        agent = sayso.RLOO("tiny", LANGUAGE, group_size=8, tasks_per_step=4, **TINY)
        agent.learn(total, run=tmp_path / run, progress_bar=False)
        assert agent.last_result.progress.num_episodes == -(-total // 8) * 8
        return [r.getMessage() for r in caplog.records if "total_episodes" in r.getMessage()]

    (said,) = told(12, "run")
    assert said == (
        "total_episodes is 12, a step takes 8 (tasks times attempts: 1 * 8): 2 steps, "
        "so 16 episodes, will be run."
    )
    assert told(20, "run") == []  # it goes on
    assert told(16, "whole") == []
