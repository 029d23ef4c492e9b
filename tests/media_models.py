"""Small models that see and hear, and what they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from sayso.envs.base import Observation
from sayso.envs.media import Media
from sayso.envs.one_turn import Graded, OneTurnEnv
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Chat, Message
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import MediaOptions, ModelOptions
from sayso.models.seeding import seeded
from sayso.models.tiny import tiny_tokenizer
from sayso.types import Task

BOTH = MediaOptions(image="patches", audio="log-mel", grid=2, size=16)


def picture(seed: int = 0, height: int = 12, width: int = 10) -> Media:
    """Noise."""
    numbers = np.random.default_rng(seed)
    return Media("image", numbers.integers(0, 256, (height, width, 3), dtype=np.uint8))


def sound(seed: int = 0, samples: int = 5000) -> Media:
    """Noise."""
    numbers = np.random.default_rng(seed)
    return Media("audio", numbers.uniform(-1, 1, samples).astype(np.float32))


def shown(text: str, *media: Media) -> tuple[Message, ...]:
    """What a user shows."""
    return (Message("user", text, media),)


def seeing(media: MediaOptions = BOTH, **options: Any) -> LanguageModel:
    """The tiny model with encoders in front, in float64."""
    given = {"name": "tiny", "dtype": "float64", "media": media} | options
    return load("tiny", ModelOptions(**given))


def llava() -> tuple[Any, Any]:
    """A random model of the LLaVA type, with its processor."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    tokenizer = tiny_tokenizer("abcdefghir :.\n", context=256)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    pixels = {"height": 24, "width": 24}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=pixels),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=24, patch_size=8, projection_dim=16,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.25, bos_token_id=0, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        image_seq_length=9,
    )  # fmt: skip
    with seeded(0):
        network = LlavaForConditionalGeneration(config)
    return network, processor


class ColourEnv(OneTurnEnv):
    """A small picture of one colour, a little noisy: which is it? Right: 1, else 0."""

    env_id = "Colour"
    observation_space = Chat(media=True)
    reward_low, reward_high = 0.0, 1.0
    scripted = MappingProxyType(
        {
            "oracle": Scripted(
                act=lambda env, draws: env.task.payload["colour"], about="knows", is_oracle=True
            ),
            "random": Scripted(
                act=lambda env, draws: str(draws.choice(list("rgb"))), about="draws"
            ),
        }
    )

    def tasks(self, split: str) -> list[Task]:
        """Every third number for evaluation."""
        numbers = {"train": range(96), "held_out": range(96, 144)}.get(split, ())
        return [
            Task(id=f"{n}", env="Colour", split=split, payload={"colour": "rgb"[n % 3], "n": n})
            for n in numbers
        ]

    def show(self, payload: Mapping[str, Any]) -> Observation:
        """The same words for every picture."""
        draws = np.random.default_rng(payload["n"])
        pixels = draws.integers(0, 90, (8, 8, 3))
        pixels[..., "rgb".index(payload["colour"])] += 150
        return shown("<image>", Media("image", pixels.astype(np.uint8)))

    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """Exactness."""
        return float(action == payload["colour"]), {}


def idefics() -> tuple[Any, Any]:
    """A random model of the Idefics3 type: its processor puts words around a picture."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = tiny_tokenizer("abcdefghir :.\n", context=256)
    marks = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    pixels = Idefics3ImageProcessorPil(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    processor = Idefics3Processor(image_processor=pixels, tokenizer=tokenizer, image_seq_len=4)
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "initializer_range": 0.25, "bos_token_id": 0,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None,
    }  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=image, scale_factor=2
    )
    with seeded(0):
        network = Idefics3ForConditionalGeneration(config)
    return network, processor
