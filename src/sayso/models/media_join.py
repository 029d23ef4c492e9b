"""A language model of text learns to see and hear: encoders and projectors in front of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sayso.errors import ModelError
from sayso.models.lm import LanguageModel
from sayso.models.media import MediaTable
from sayso.models.media_embedding import MediaEmbedding, media_of
from sayso.models.media_encoders import ENCODERS, Projector
from sayso.models.options import MediaOptions
from sayso.models.seeding import seeded
from sayso.seeds import derive

WEIGHTS, OPTIONS = "media.safetensors", "media.json"


def join(lm: LanguageModel, options: MediaOptions, *, seed: int = 0) -> LanguageModel:
    """Put encoders of pictures and sounds in front of a language model, in place.

    What they and their projectors hold trains with whatever else trains, the packaged encoder
    excepted. Call it after adapters were added.

    Args:
        lm: A model of text.
        options: Which encoders.
        seed: Decides the first weights.

    Returns:
        The same model.

    Raises:
        ModelError: If it sees or hears already.
        ExtraMissingError: If a packaged encoder is not installed.
    """
    network = lm.causal_lm
    if media_of(network) is not None:
        raise ModelError(
            where=lm.name, problem="sees or hears already.", fix="Leave [model.media] out."
        )
    inner = network.get_input_embeddings()
    keep_bytes = options.cache_mb << 20
    table = MediaTable(max(len(inner.weight), lm.vocabulary), keep_bytes=keep_bytes)
    size = float(inner.weight.detach().float().square().mean().sqrt())
    with seeded(derive(seed, "media weights")):
        encoders = {
            kind: ENCODERS[name](options)
            for kind, name in (("image", options.image), ("audio", options.audio))
            if name
        }
        width = int(inner.weight.shape[1])
        projectors = {k: Projector(e.width, width, size=size) for k, e in encoders.items()}
    embedding = MediaEmbedding(inner, table, encoders, projectors, keep_bytes=keep_bytes)
    for module in (embedding.encoders, embedding.projectors):
        module.to(device=lm.device, dtype=lm.dtype)
    network.set_input_embeddings(embedding.eval())
    lm.media_options = options
    lm.take_media(table)
    return lm


def state_of(lm: LanguageModel) -> dict[str, Tensor]:
    """What trains in front of the model, by name: no weights that a package holds."""
    embedding = media_of(lm.causal_lm)
    if embedding is None:
        return {}
    parts: dict[str, nn.Module] = {f"projectors.{k}": p for k, p in embedding.projectors.items()}
    for kind, encoder in embedding.encoders.items():
        if not encoder.is_packaged:
            parts[f"encoders.{kind}"] = encoder
    return {f"{n}.{m}": t for n, part in parts.items() for m, t in part.state_dict().items()}


def load_state(lm: LanguageModel, saved: dict[str, Tensor], *, where: str) -> None:
    """Undo ``state_of``.

    Raises:
        ModelError: If the weights are of other encoders.
    """
    own = state_of(lm)
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in saved.items()}:
        raise ModelError(
            where=where,
            problem="holds encoders of another shape.",
            fix=f"Load it with the [model.media] it was saved with; see {OPTIONS} there.",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
    if (embedding := media_of(lm.causal_lm)) is not None:
        embedding.forget()


def save_media(lm: LanguageModel, directory: Path) -> None:
    """Write options and weights beside a saved model; nothing for one of text."""
    if lm.media_options is None:
        return
    tensors = {name: t.detach().cpu().clone() for name, t in state_of(lm).items()}
    save_file(tensors, directory / WEIGHTS)
    (directory / OPTIONS).write_text(json.dumps(dataclasses.asdict(lm.media_options), indent=1))


def saved_options(directory: Path) -> MediaOptions | None:
    """What a saved model sees and hears with.

    Raises:
        ModelError: If it cannot be read.
    """
    path = directory / OPTIONS
    if not path.is_file():
        return None
    try:
        return MediaOptions(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ModelError(
            where=str(path), problem=f"is not what save() wrote: {error}.", fix="Save it again."
        ) from error


def join_or_load(
    lm: LanguageModel, asked: MediaOptions | None, directory: Path | None, *, seed: int
) -> None:
    """Let a model that was loaded see and hear, as asked or as it was saved.

    Raises:
        ModelError: If it was saved with other encoders than those asked for.
    """
    saved = None if directory is None else saved_options(directory)
    if asked is not None and saved is not None:
        same = dataclasses.replace(saved, cache_mb=asked.cache_mb)
        if same != asked:
            raise ModelError(
                where=f"model {lm.name}, model.media",
                problem=f"asks for {asked}, and it was saved with {saved}.",
                fix="Leave model.media out.",
            )
    options = asked or saved
    if options is None:
        return
    join(lm, options, seed=seed)
    if saved is not None and directory is not None:
        load_state(lm, load_file(directory / WEIGHTS), where=str(directory))


def join_media(
    lm: LanguageModel, *, image: str = "", audio: str = "", seed: int = 0, **shape: int
) -> LanguageModel:
    """``join`` by names: ``join_media(lm, image="patches", audio="log-mel", grid=3)``.

    Args:
        lm: What ``load`` gives (``sayso.load_lm(...).lm``); changed in place.
        image: See ``MediaOptions``.
        audio: See there.
        seed: Decides the first weights.
        **shape: ``grid``, ``size``, ``cache_mb``; see there.

    Raises:
        ModelError: If there is no such encoder; names those there are.
    """
    known = {"image": ("patches", "efficientnet-lite0"), "audio": ("log-mel",)}
    for kind, name in (("image", image), ("audio", audio)):
        if name and name not in known[kind]:
            raise ModelError(
                where=f"join_media, {kind}",
                problem=f"got {name!r}, which is no encoder.",
                fix=f"Use {' or '.join(known[kind])}.",
            )
    options: MediaOptions = MediaOptions(image=image, audio=audio, **shape)  # type: ignore[arg-type]
    return join(lm, options, seed=seed)
