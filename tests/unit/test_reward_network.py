"""Text to one number: batches, adapters, encoders, and what Hugging Face makes of a saved one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sayso.errors import ModelError, ModelMissingError, OptionValueError
from sayso.models.model_reward import ModelReward
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.reward_network import (
    RewardModelOptions,
    RewardNetwork,
    fresh_network,
    load_network,
    parts_of,
)
from sayso.models.seeding import seeded

TEXTS: list[Any] = [("ab", "a"), ("abab", "bbba"), ("a", "b")]
TINY = TinyOptions(tokens="ab", width=16, layers=1, heads=2, context=32)


def causal(**model: Any) -> RewardNetwork:
    made = fresh_network(
        ModelOptions(name="tiny", tiny=TINY, **model), RewardModelOptions(), seed=0
    )
    shake(made)
    return made


def shake(made: RewardNetwork) -> None:
    with seeded(3), torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(torch.randn(parameter.shape, dtype=parameter.dtype), alpha=0.3)


def encoder(folder: Path, **options: Any) -> RewardNetwork:
    """A tiny random BERT, saved as any encoder is."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"])}
    backend = Tokenizer(models.WordLevel(words, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    fast: Any = PreTrainedTokenizerFast
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep")}
    fast(tokenizer_object=backend, **marks).save_pretrained(folder)
    with seeded(0):
        BertModel(
            BertConfig(vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=32, max_position_embeddings=12)
        ).save_pretrained(folder)  # fmt: skip
    lora = options.pop("lora", None)
    made = fresh_network(
        ModelOptions(name=str(folder), lora=lora), RewardModelOptions(**options), seed=0
    )
    shake(made)
    return made


def test_texts_of_one_batch_do_not_know_each_other_and_a_fresh_head_says_nothing() -> None:
    fresh = fresh_network(ModelOptions(name="tiny", tiny=TINY), RewardModelOptions(), seed=0)
    assert fresh.score(TEXTS) == [0.0, 0.0, 0.0]
    made = causal()
    one_by_one = [made.score([text])[0] for text in TEXTS]
    assert made.score(TEXTS) == pytest.approx(one_by_one, abs=1e-6)
    assert made.score(TEXTS, max_tokens=1) == one_by_one
    assert len({round(r, 4) for r in one_by_one}) == 3


def test_the_state_is_that_of_the_last_token_of_the_plain_forward() -> None:
    made = causal()
    ids = made.ids(*TEXTS[1])
    hidden = made.network(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[
        -1
    ][0, -1]
    assert made.score(TEXTS[1:2])[0] == pytest.approx(made.head(hidden).item(), abs=1e-6)


def test_a_saved_one_is_a_classifier_of_hugging_face_and_scores_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    made = causal(lora=LoraOptions(rank=2, alpha=4.0))
    made.mean, made.std = 0.5, 2.0
    made.save(tmp_path / "rm")
    again = load_network(tmp_path / "rm", device="cpu")
    assert again.score(TEXTS) == pytest.approx(made.score(TEXTS), abs=1e-5)
    assert (again.mean, again.std, again.trainable()) == (0.5, 2.0, {})
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    said = [plain(torch.tensor([made.ids(*text)])).logits.item() for text in TEXTS]
    assert said == pytest.approx(made.score(TEXTS), abs=1e-5)
    assert hasattr(made.network, "get_base_model")  # the live one keeps its adapters
    assert again.score(TEXTS[:1]) == pytest.approx(said[:1], abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_encoder_reads_prompt_and_answer_and_is_saved(pooling: str, tmp_path: Path) -> None:
    made = encoder(tmp_path / "bert", pooling=pooling, lora=LoraOptions(rank=2, alpha=4.0))
    one_by_one = [made.score([text])[0] for text in TEXTS]
    assert made.score(TEXTS) == pytest.approx(one_by_one, abs=1e-6)
    long = made.ids("a" * 30, "bab")
    assert len(long) == 12
    assert long[-4:] == [5, 4, 5, 3]  # the end is read: the answer, and as much before as fits
    made.save(tmp_path / "rm")
    assert load_network(tmp_path / "rm", device="cpu").score(TEXTS) == pytest.approx(
        one_by_one, abs=1e-5
    )


def test_as_a_reward_it_is_scaled_cut_and_frozen(tmp_path: Path) -> None:
    made = causal()
    with pytest.raises(OptionValueError, match="trains"):
        ModelReward(made)
    made.freeze()
    raw = made.score([("ab", "b a")])[0]
    made.mean, made.std = raw - 1.0, 0.5
    assert ModelReward(made)("ab", "b a") == pytest.approx(2.0, abs=1e-4)
    assert ModelReward(made)([{"role": "user", "content": "ab"}], "b a") == pytest.approx(2.0)
    assert ModelReward(made)("ab", " .") == -5.0
    made.std = 1e-6
    assert ModelReward(made)("ab", "b a") == 5.0
    with pytest.raises(ModelMissingError, match="sayso train"):
        load_network(tmp_path)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="encoder"):
        fresh_network(ModelOptions(name="minilm"), RewardModelOptions(), seed=0)
    with pytest.raises(ModelError, match="cannot be loaded"):
        fresh_network(ModelOptions(name=str(tmp_path)), RewardModelOptions(pooling="mean"), seed=0)
    head = fresh_network(
        ModelOptions(name="tiny", tiny=TINY), RewardModelOptions(trains="head"), seed=0
    )
    assert list(head.trainable()) == ["head.weight"]


def test_parts_hold_the_budget_with_their_padding() -> None:
    assert parts_of([3, 3, 5, 1], 10) == [[0, 1], [2, 3]]
    assert parts_of([30, 1], 10) == [[0], [1]]
    assert parts_of([], 10) == []


def test_what_is_saved_says_what_it_is(tmp_path: Path) -> None:
    causal().save(tmp_path / "rm")
    about = json.loads((tmp_path / "rm" / "reward.json").read_text())
    assert about["pooling"] == "last"
    assert about["base"] == "tiny"
