"""A saved policy is a plain Hugging Face directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sayso.errors import ModelError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions
from sayso.models.saving import ADAPTER, VALUE_HEAD, CardData, adopt, model_card, save

CARD = CardData(base_model="some/model", env="sayso/Writing-v0", algorithm="grpo")
LORA = ModelOptions(lora=LoraOptions(rank=4))
IDS = torch.tensor([[5, 9, 2, 77, 31, 256, 8]])
BUILDERS = {**tiny_models.ARCHITECTURES, "chat": tiny_models.tiny_chat}


def moved(lm: LanguageModel) -> LanguageModel:
    """As after training: every trainable weight is somewhere else."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in lm.trainable().values():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return lm


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=IDS, use_cache=False).logits
    return found


@pytest.mark.parametrize("options", [ModelOptions(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("kind", list(BUILDERS))
def test_transformers_loads_what_was_saved_with_the_same_logits(
    kind: str, options: ModelOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = moved(load(BUILDERS[kind](), options))
    before = {name: p.clone() for name, p in lm.network.named_parameters()}
    capsys.readouterr()
    save(lm, tmp_path / "out", card=CARD)
    assert capsys.readouterr() == ("", "")  # no progress bar
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    if options.lora is None:
        assert torch.equal(logits(plain), logits(lm.network))
    else:
        torch.testing.assert_close(logits(plain), logits(lm.network), rtol=1e-5, atol=1e-4)
        with lm.reference():
            assert (logits(plain) - logits(lm.network)).abs().max() > 0.1
    after = dict(lm.network.named_parameters())
    assert before.keys() == after.keys()
    assert all(
        torch.equal(before[name], after[name]) for name in before
    )  # the live one is untouched
    assert all(after[name].requires_grad for name in lm.trainable())


def test_tokenizer_template_and_generation_config_are_saved(tmp_path: Path) -> None:
    lm = load(tiny_models.tiny_chat())
    save(lm, tmp_path, card=CARD)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == tiny_models.CHATML
    ids = lm.chat.prompt("Hi there")
    messages = [{"role": "user", "content": "Hi there"}]
    again = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert tuple(again["input_ids"]) == ids
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == tokenizer.eos_token_id
    assert not list(tmp_path.rglob("*.bin"))
    assert load(tmp_path).chat.prompt("Hi there") == ids


def test_the_value_head_lies_beside_and_comes_back(tmp_path: Path) -> None:
    lm = load("tiny")
    lm.add_value_head(seed=1, inner=8)
    moved(lm)
    save(lm, tmp_path, card=CARD)
    assert (tmp_path / VALUE_HEAD).is_file()
    again = load(tmp_path)
    assert again.value_head is None
    state = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    head = again.add_value_head(inner=8)
    assert lm.value_head is not None
    assert torch.equal(head(state), lm.value_head(state))
    other = load(tmp_path).add_value_head()  # another shape starts at zero
    assert torch.equal(other(state), torch.zeros(3))


def test_saving_over_an_older_model_leaves_none_of_its_weights(tmp_path: Path) -> None:
    older = load("tiny")
    older.add_value_head()
    save(older, tmp_path, card=CARD)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    newer = moved(load("tiny", seed=1))
    save(newer, tmp_path, card=CARD)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == ["model.safetensors"]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert torch.equal(logits(load(tmp_path).network), logits(newer.network))


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    lm = load("tiny")
    save(lm, target, card=CARD)
    before = {p.name: p.read_bytes() for p in target.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        save(moved(lm), target, card=CARD)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_card_tells_base_environment_algorithm_reward_and_evaluation() -> None:
    interval = {"mean": 0.98, "low": 0.97, "high": 0.99, "n": 64}
    card = CardData(
        base_model="smollm2", env="sayso/Writing-v0", algorithm="grpo",
        reward="words | lines\nand endings", run="writing-1",
        report={"split": "held_out", "mean": interval, "parts": {"length": interval}},
    )  # fmt: skip
    text = model_card(load("tiny"), card)
    front = text.split("---\n")[1]
    assert 'base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"' in front
    assert "license: apache-2.0" in front
    assert "library_name: transformers" in front
    for line in (
        "| environment | sayso/Writing-v0 |",
        "| algorithm | grpo |",
        "| reward | words \\| lines and endings |",
        "| run | writing-1 |",
        "Split `held_out`, 64 episodes, 64 tasks; 95 % intervals.",
        "| return | 0.9800 | 0.9700 | 0.9900 | 64 |",
        "| length | 0.9800 | 0.9700 | 0.9900 | 64 |",
    ):
        assert line in text.splitlines()


def test_the_card_of_a_random_model_names_no_base_on_the_hub() -> None:
    card = CardData(base_model="tiny", env="sayso/Maze-v0", algorithm="ppo")
    front = model_card(load("tiny"), card).split("---\n")[1]
    assert "base_model" not in front
    assert "license" not in front


@pytest.mark.parametrize("options", [ModelOptions(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        ({"temperature": 0.3, "do_sample": False}, {}),
        ({"top_p": 0.9, "top_k": 7, "min_p": 0.1, "early_stopping": True, "num_beams": 1}, {}),
        ({"temperature": 0.3, "do_sample": True}, {"temperature": 0.3, "do_sample": True}),
        ({"length_penalty": 2.0, "num_beams": 3}, {"length_penalty": 2.0, "num_beams": 3}),
    ],
)
def test_an_odd_generation_config_does_not_keep_a_model_from_being_saved(
    odd: dict[str, Any], kept: dict[str, Any], options: ModelOptions, tmp_path: Path
) -> None:
    lm = load(tiny_models.tiny_chat(), options)
    for name, value in odd.items():
        setattr(lm.causal_lm.generation_config, name, value)
    save(lm, tmp_path, card=CARD)
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(saved, name) for name in kept} == kept
    assert saved.eos_token_id == lm.causal_lm.generation_config.eos_token_id
    live = lm.causal_lm.generation_config
    assert {name: getattr(live, name) for name in odd} == odd


def test_a_generation_config_that_is_wrong_is_saved_without_what_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm = load(tiny_models.tiny_chat())
    lm.causal_lm.generation_config.num_return_sequences = 3  # of a greedy decoder
    save(lm, tmp_path, card=CARD)
    assert "num_return_sequences" in caplog.text
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert saved.eos_token_id == lm.causal_lm.generation_config.eos_token_id


def test_the_adapter_names_its_base_and_a_later_model_without_one_removes_it(
    tmp_path: Path,
) -> None:
    lm = moved(load(tiny_models.tiny_chat(), LORA))
    for _ in range(2):  # over an older one as well
        save(lm, tmp_path, card=CARD)
        told = json.loads((tmp_path / ADAPTER / "adapter_config.json").read_text())
        assert told["base_model_name_or_path"] == CARD.base_model
    (tmp_path / "notes").mkdir()
    save(load(tiny_models.tiny_chat()), tmp_path, card=CARD)
    assert not (tmp_path / ADAPTER).exists()
    assert (tmp_path / "notes").is_dir()


def test_adopting_takes_the_trained_weights_or_refuses_another_base(tmp_path: Path) -> None:
    trained = moved(load("tiny", LORA))
    save(trained, tmp_path, card=CARD)
    base = load("tiny", LORA)
    adopt(base, load(tmp_path), tmp_path)
    assert torch.equal(logits(base.network), logits(trained.network))
    with pytest.raises(ModelError, match=r"is not what .* was trained from"):
        adopt(load("tiny", LORA, seed=1), load(tmp_path), tmp_path)
    with pytest.raises(ModelError, match="no adapters of this model's shape"):
        adopt(load("tiny", ModelOptions(lora=LoraOptions(rank=2))), load(tmp_path), tmp_path)


def test_the_card_of_a_base_says_that_nothing_was_trained() -> None:
    card = CardData(base_model="tiny", env="sayso/Maze-v0", algorithm="ppo", is_trained=False)
    text = model_card(load("tiny"), card)
    assert "| trained | nothing yet |" in text
    assert "trained by reinforcement learning" not in text


def test_the_card_tells_how_many_episodes_a_number_comes_from() -> None:
    one = {"mean": 0.5, "low": None, "high": None, "n": 1}
    report = {
        "split": "held_out",
        "mean": {**one, "low": 0.25, "high": 1, "n": 4},
        "parts": {"x": one},
    }
    card = CardData(base_model="tiny", env="sayso/Maze-v0", algorithm="ppo", report=report)
    text = model_card(load("tiny"), card)
    assert "| return | 0.5000 | 0.2500 | 1.0000 | 4 |" in text
    assert "| x | 0.5000 |  |  | 1 |" in text
