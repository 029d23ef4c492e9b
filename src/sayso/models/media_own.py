"""Models that see by themselves (``AutoModelForImageTextToText``) as policies.

Their encoder and projector give the features, their processor says where these stand in the text,
and their decoder reads both through the same ids as any other model. Their own forward, pixels and
all, is what they are compared with when they are loaded.

Dimensions: n = rows of an item, d = width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sayso.envs.extras import extra_module
from sayso.envs.media import Media
from sayso.errors import ModelError
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.media import ROW, MediaTable
from sayso.models.media_embedding import MediaEmbedding
from sayso.models.media_encoders import MediaEncoder

KEEP_BYTES = 256 << 20
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
_COARSE_TOLERANCE = 0.25
_FIX = (
    "Use a model whose decoder reads image features like words: of the LLaVA, Idefics3 or SmolVLM "
    "type; or give a model of text an encoder with [model.media]."
)


class OwnEncoder(MediaEncoder):
    """Encoder and projector of the model itself.

    Args:
        network: The model, without wrappers.
        processor: Its processor.
    """

    def __init__(self, network: Any, processor: Any) -> None:
        super().__init__()
        # In a tuple: the network holds this module, and no module may hold its holder.
        self._held = (network, processor)
        self.width = int(network.get_input_embeddings().weight.shape[1])
        self._images = extra_module("PIL.Image", extra="vision", where="pictures")

    @property
    def is_frozen(self) -> bool:
        """Whether nothing outside the decoder trains."""
        return not any(p.requires_grad for p in sight(self._held[0]))

    def layout(self, media: Media) -> tuple[int, ...]:
        """What the processor makes of the model's word for a picture."""
        image = image_token_id(*self._held)
        (ids,) = self._processed(media)["input_ids"].tolist()
        return tuple(ROW if token == image else token for token in ids)

    def prepare(self, media: Media) -> dict[str, Tensor]:
        """Pixels, and whatever else the encoder is told of them."""
        taken = inspect.signature(self._held[0].get_image_features).parameters
        processed = self._processed(media)
        return {name: value for name, value in processed.items() if name in taken}

    def encode(self, prepared: Sequence[dict[str, Tensor]]) -> list[Float[Tensor, "n d"]]:
        """One picture at a time: they differ in shape."""
        network = self._held[0]
        found = []
        for inputs in prepared:
            sent = {n: _sent(value, network) for n, value in inputs.items()}
            features = network.get_image_features(**sent, return_dict=True).pooler_output
            parts = [features] if isinstance(features, Tensor) else list(features)
            found.append(torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]))
        return found

    def _processed(self, media: Media) -> dict[str, Tensor]:
        processor = self._held[1]
        images = self._images
        processed: dict[str, Tensor] = dict(
            processor(
                text=[processor.image_token], images=[images.fromarray(media.data)],
                return_tensors="pt", add_special_tokens=False,
            )
        )  # fmt: skip
        return processed


def _sent(value: Tensor, network: Any) -> Tensor:
    dtype = network.dtype if value.is_floating_point() else value.dtype
    return value.to(network.device, dtype)


def sees_by_itself(config: Any) -> bool:
    """Whether a configuration is that of a model of pictures and text, and of no causal LM."""
    from transformers.models.auto import modeling_auto as auto

    sees = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return config.model_type in sees and config.model_type not in (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )


def tokenizer_of(processor: Any) -> Any:
    """A processor's tokenizer, with the chat template that lies at either."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None)
    if template and not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = template
    return tokenizer


def sight(network: Any) -> list[Any]:
    """Parameters outside the decoder and the head: what makes features of pixels."""
    read = {id(p) for p in network.get_decoder().parameters()}
    read |= {id(p) for p in network.get_output_embeddings().parameters()}
    return [p for p in network.parameters() if id(p) not in read]


def let_see(lm: LanguageModel, processor: Any) -> None:
    """Let a model that sees by itself take pictures; its encoder and projector stay as they are.

    Args:
        lm: Around the whole model; changed in place.
        processor: The model's own.

    Raises:
        ModelError: If its decoder does more with a picture than read its features, with the reason.
        ExtraMissingError: If pillow is not installed.
    """
    network = lm.causal_lm
    if reason := _why_not(network, processor):
        raise ModelError(
            where=lm.name, problem=f"cannot be a policy that sees: {reason}.", fix=_FIX
        )
    for parameter in sight(network):
        parameter.requires_grad_(requires_grad=False)
    inner = network.get_input_embeddings()
    table = MediaTable(
        max(len(inner.weight), lm.vocabulary), keep_bytes=KEEP_BYTES,
        marker=processor.image_token,
    )  # fmt: skip
    encoder = OwnEncoder(network, processor)
    embedding = MediaEmbedding(inner, table, {"image": encoder}, {}, keep_bytes=KEEP_BYTES)
    network.set_input_embeddings(embedding.eval())
    lm.processor = processor
    lm.take_media(table)
    _refuse_other_forward(lm, table, encoder)


def _why_not(network: Any, processor: Any) -> str | None:
    """A reason that can be read off the model."""
    config = network.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    faults = {
        "it has no get_image_features": not hasattr(network, "get_image_features"),
        "its processor has no image_token": not getattr(processor, "image_token", None),
        "its decoder has rotary positions in several dimensions (M-RoPE), which depend on where "
        "pictures stand": "mrope_section" in rope or hasattr(network.base_model, "get_rope_index"),
        "its decoder attends in both directions among the tokens of a picture": "token_type_ids"
        in inspect.signature(network.forward).parameters,
        "its decoder reads pictures by cross-attention": bool(
            getattr(config, "cross_attention_layers", None)
        ),
    }
    return next((fault for fault, is_so in faults.items() if is_so), None)


def _refuse_other_forward(lm: LanguageModel, table: MediaTable, encoder: OwnEncoder) -> None:
    """Compare with the model's own forward over pixels.

    Raises:
        ModelError: If features and tokens differ in number, or the log-probabilities do.
    """
    network, generator = lm.causal_lm, np.random.default_rng(0)
    media = Media("image", generator.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    layout = encoder.layout(media)
    text = [token % 7 for token in range(3)]
    ids = [*text, *table.expand(media), *text]
    image = image_token_id(network, encoder._held[1])  # noqa: SLF001  # of this file
    theirs = [*text, *(image if token == ROW else token for token in layout), *text]
    if len(ids) > lm.max_context:
        raise ModelError(
            where=lm.name,
            problem=f"a picture becomes {len(layout)} tokens, its context holds {lm.max_context}.",
            fix="Let its processor make smaller pictures.",
        )
    asked = torch.tensor([ids], device=lm.device)
    position = torch.arange(len(ids), device=lm.device)[None]
    with torch.no_grad():
        count = len(encoder.encode([encoder.prepare(media)])[0])
        if count != layout.count(ROW):
            raise ModelError(
                where=lm.name,
                problem=f"its processor makes {layout.count(ROW)} tokens of a picture, its encoder "
                f"{count} features.",
                fix="Load model and processor from the same place.",
            )
        ours = lm.logits(lm.hidden(asked, position, Forest(((len(ids), ()),)))[0])
        inputs = {n: _sent(v, network) for n, v in encoder.prepare(media).items()}
        plain = torch.tensor([theirs], device=lm.device)
        output = network(
            input_ids=plain, attention_mask=torch.ones_like(plain), use_cache=False, **inputs
        )
    gap = (ours.double().log_softmax(-1) - output.logits[0].double().log_softmax(-1)).abs().max()
    if not float(gap) <= _TOLERANCE.get(lm.dtype, _COARSE_TOLERANCE):
        raise ModelError(
            where=lm.name,
            problem=f"cannot be a policy that sees: read as words, a picture gives other "
            f"log-probabilities than its own forward (by {float(gap):.2g} nats).",
            fix=_FIX,
        )


def image_token_id(network: Any, processor: Any) -> int:
    """The id that stands for a row of features in the model's own prompts."""
    found = getattr(processor, "image_token_id", None)
    if found is None:
        found = getattr(network.config, "image_token_id", None)
    if found is None:
        found = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    return int(found)
