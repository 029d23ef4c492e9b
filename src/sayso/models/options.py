"""Options of the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Twins = Literal["one", "average", "min"]
"""How many heads a critic has, and what becomes of two: ``"one"``, the mean, the smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOptions:
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685); written under ``[model.lora]``.

    There is no dropout: a policy that is scored with dropout is not the one that sampled.

    Attributes:
        rank: Rank r of each update.
        alpha: The update is scaled by ``alpha / rank``.
        target_modules: Which linear layers; ``"all-linear"`` is all but the head.
    """

    rank: int = 16
    alpha: float = 32.0
    target_modules: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be positive, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyOptions:
    """A small random Llama for tests, games and proofs; written under ``[model.tiny]``.

    Attributes:
        tokens: The vocabulary: an alphabet (one string, a token per character) or a list of
            symbols, longest match first. Empty: all 256 bytes. One end symbol is added; it also
            begins every prompt and pads.
        width: Hidden size; a multiple of ``2 * heads``.
        layers: Decoder blocks.
        heads: Attention heads.
        kv_heads: Heads of keys and values (grouped queries); 0: as many as ``heads``.
        context: Most tokens of a context.
    """

    tokens: str | tuple[str, ...] = ()
    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 0
    context: int = 1024

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 * heads, got {self.width} and {self.heads} heads"
            )
        if self.kv_heads < 0 or self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"kv_heads must divide heads ({self.heads}), got {self.kv_heads}")
        if "" in tuple(self.tokens) or len(set(self.tokens)) != len(self.tokens):
            raise ValueError("tokens must be different, non-empty strings")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOptions:
    """How a language model of text sees and hears; written under ``[model.media]``.

    Each kind gets an encoder and a projector into the model's width, and both keep what they learn
    beside the model. A model that sees by itself (``AutoModelForImageTextToText``) needs none.

    Attributes:
        image: ``"patches"``: a small convolutional encoder that learns from the task;
            ``"efficientnet-lite0"``: an ImageNet encoder from its package, frozen (the extra
            ``vision``). Empty: pictures are refused.
        audio: ``"log-mel"``: a log-mel spectrogram and a small convolutional encoder that learns.
            Empty: sounds are refused.
        grid: A picture becomes ``grid`` times ``grid`` tokens.
        size: Pixels of a side that ``"patches"`` looks at; a multiple of 8.
        cache_mb: Memory for what is computed once per item, and as much for the items themselves;
            beyond it they are computed, or read from the run's ``media/``, again.
    """

    image: Literal["", "patches", "efficientnet-lite0"] = ""
    audio: Literal["", "log-mel"] = ""
    grid: int = 4
    size: int = 64
    cache_mb: int = 256

    def __post_init__(self) -> None:
        if not self.image and not self.audio:
            raise ValueError("media names no encoder: set image or audio")
        if self.size < 8 or self.size % 8:  # three halvings
            raise ValueError(f"size must be a positive multiple of 8, got {self.size}")
        cells = self.size // 8 if self.image == "patches" else 7
        if not 1 <= self.grid <= cells:
            raise ValueError(f"grid must be in [1, {cells}] here, got {self.grid}")
        if self.cache_mb < 1:
            raise ValueError(f"cache_mb must be positive, got {self.cache_mb}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which language model, and what of it trains; written in a run file under ``[model]``.

    Attributes:
        name: ``"smollm2"``, ``"tiny"``, a hub id or a directory with safetensors weights.
        dtype: Precision of weights and training; ``"bfloat16"`` weights are stepped through float32
            masters. A ``(model, tokenizer)`` pair keeps its own.
        device: ``"auto"`` (a GPU that PyTorch sees, else the CPU), ``"cpu"``, ``"cuda"``,
            ``"cuda:1"``, ``"mps"``, .... A ``(model, tokenizer)`` pair stays where it lies.
        lora: Train low-rank adapters; unset trains every weight.
        tiny: The shape of ``name = "tiny"``.
        media: How a model of text sees and hears; unset: as the model was saved, if at all.
    """

    name: str = "smollm2"
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    device: str = "auto"
    lora: LoraOptions | None = None
    tiny: TinyOptions | None = None
    media: MediaOptions | None = None

    def __post_init__(self) -> None:
        if self.tiny is not None and self.name != "tiny":
            raise ValueError(f"tiny has no effect for name = {self.name!r}")
