"""Models that see by themselves: read as ids, a picture is what their own forward makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from media_models import ColourEnv, idefics, llava, picture, shown
from PIL import Image
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

import sayso
from sayso.envs.scripted import play_many, scripted
from sayso.errors import ModelError
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.media_own import let_see
from sayso.models.options import LoraOptions, ModelOptions
from sayso.models.saving import CardData, save

IN_PARTS = (
    "{% for m in messages %}[{{ m['role'] }}]{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}"
)
"""How models that see write their templates: a string for content shows nothing."""


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """Network and processor."""
    return llava()


@pytest.fixture(scope="module")
def lm(pair: tuple[Any, Any]) -> LanguageModel:
    """The policy."""
    return load(pair)


def hidden(lm: LanguageModel, ids: tuple[int, ...]) -> torch.Tensor:
    """Of one text."""
    position = torch.arange(len(ids))[None]
    return lm.hidden(torch.tensor([ids]), position, Forest(((len(ids), ()),)))[0]


def test_two_pictures_in_a_text_give_the_log_probabilities_of_its_own_forward(
    lm: LanguageModel, pair: tuple[Any, Any]
) -> None:
    network, processor = pair
    pictures = [picture(1, 30, 50), picture(2, 24, 24)]
    ids = lm.chat.prompt(shown("ab<image>c<image>d", *pictures))
    own = processor(
        text=["ab<image>c<image>d\n"], images=[Image.fromarray(m.data) for m in pictures],
        return_tensors="pt", add_special_tokens=False,
    )  # fmt: skip
    begin = torch.tensor([[lm.tokenizer.bos_token_id]])
    plain = torch.cat([begin, own["input_ids"]], dim=1)
    expected = network(input_ids=plain, pixel_values=own["pixel_values"]).logits[0]
    assert len(ids) == plain.shape[1] == 24
    with torch.no_grad():
        assert torch.allclose(lm.logits(hidden(lm, ids)), expected, atol=1e-5)


def test_a_template_in_parts_shows_text_and_pictures_where_they_stand(
    pair: tuple[Any, Any],
) -> None:
    network, processor = llava()
    processor.tokenizer.chat_template = IN_PARTS
    model = load((network, processor))
    ids = model.chat.prompt(shown("ab<image>c", picture()))
    is_row = [token >= 32 for token in ids]
    assert sum(is_row) == 9
    assert is_row.index(True) == len(ids) - 10
    assert max(model.chat.prompt("a<image>")) < 32  # a user's own words show nothing


@pytest.mark.medium
def test_saved_and_loaded_by_its_directory_it_says_the_same(
    lm: LanguageModel, tmp_path: Path
) -> None:
    ids = lm.chat.prompt(shown("ab<image>", picture(3)))
    save(lm, tmp_path / "m", card=CardData(base_model="x", env="none", algorithm="bc"))
    back = load(tmp_path / "m", ModelOptions(name="m", lora=LoraOptions(rank=2)))
    assert back.chat.prompt(shown("ab<image>", picture(3))) == ids
    assert torch.allclose(hidden(back, ids), hidden(lm, ids), atol=1e-5)
    names = back.trainable()
    assert names
    assert all("language_model" in name for name in names)  # its sight stays as it is


def test_words_that_its_processor_puts_around_a_picture_are_kept() -> None:
    model = load(idefics())  # compared with its own forward on the way
    name = model.tokenizer.convert_tokens_to_ids
    fake, whole = name("<fake_token_around_image>"), name("<global-img>")
    ids = model.chat.prompt(shown("a<image>b", picture()))
    assert [token if token < 32 else -1 for token in ids[2:-2]] == [fake, whole, *[-1] * 4, fake]


def test_a_processor_of_another_model_is_refused() -> None:
    network, processor = llava()
    processor.patch_size = 6
    with pytest.raises(ModelError, match="makes 16 tokens of a picture, its encoder 9 features"):
        load((network, processor))


def test_rotary_positions_in_several_dimensions_are_refused_with_the_reason(
    lm: LanguageModel,
) -> None:
    text = {
        "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    }  # fmt: skip
    vision = {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 32}
    config = Qwen2VLConfig(text_config=text, vision_config=vision)
    network = Qwen2VLForConditionalGeneration(config)
    model = LanguageModel(network, lm.tokenizer, name="qwen")
    with pytest.raises(ModelError, match="M-RoPE"):
        let_see(model, lm.processor)


@pytest.mark.medium
def test_imitation_moves_the_decoder_of_a_model_that_sees_and_leaves_its_sight(
    tmp_path: Path,
) -> None:
    network, processor = llava()
    env = ColourEnv()
    games = play_many(env, scripted(env, "oracle").act, split="train", num_games=8, seed=0)
    agent = sayso.BC((network, processor), data=games, lr=1e-3, batch_episodes=4)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    agent.learn(16, run=tmp_path / "run", progress_bar=False)
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert "lm_head.weight" in moved
    assert not any("vision_tower" in n or "multi_modal_projector" in n for n in moved)
