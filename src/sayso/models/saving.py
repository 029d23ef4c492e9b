"""A policy as a plain Hugging Face directory that any tool can load."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sayso.errors import ModelError
from sayso.models.adapters import POLICY_ADAPTER
from sayso.models.lm import LanguageModel
from sayso.models.media_embedding import plain_embedding
from sayso.models.media_join import OPTIONS, load_state, save_media, state_of
from sayso.models.quiet import without_bars
from sayso.models.smollm2 import HUB_ID

VALUE_HEAD, Q_HEADS, ADAPTER = "value_head.safetensors", "q_heads.safetensors", "adapter"
_SAMPLING_ONLY = (
    "temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
_STEERED = (
    f"The policy that was trained is this model **steered by values**, which lie in `{Q_HEADS}`:",
    "`sayso.Agent.load` acts with them. `transformers` loads the model alone: the policy that the",
    "values start from, without what they add. The evaluation is of the steered policy.",
)
_BEAMS_ONLY = ("early_stopping", "length_penalty")
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_log = logging.getLogger("sayso")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardData:
    """What a model card tells.

    Attributes:
        base_model: Where the weights came from.
        env: What it was trained on.
        algorithm: With what.
        reward: What was rewarded, in words.
        report: An evaluation as JSON (``EvalReport.to_json``), if there is one.
        run: The run directory's name.
        is_trained: False for a base model as it was before training.
        is_steered: The policy is this model steered by values, which lie beside it.
        keeps_critic: Heads are saved; else they read a trunk that is not, and stay behind.
    """

    base_model: str
    env: str
    algorithm: str
    reward: str = ""
    report: Mapping[str, Any] | None = None
    run: str = ""
    is_trained: bool = True
    is_steered: bool = False
    keeps_critic: bool = True


def save(lm: LanguageModel, directory: str | Path, *, card: CardData) -> None:
    """Write weights (adapters merged into a copy), tokenizer, generation config and model card.

    ``AutoModelForCausalLM.from_pretrained`` loads the directory. Adapters lie beside the weights in
    ``adapter/``, as peft writes them, and a value head in a file of its own. The live model is left
    bit for bit as it is. Everything is written elsewhere first, so a full disk leaves what was
    there; weights and adapters of an earlier model in the directory are removed, other files stay.

    Raises:
        OSError: If it cannot be written.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        _write(lm, staging, card)
        move_into(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(lm: LanguageModel, directory: Path, card: CardData) -> None:
    network = _merged(lm)
    with plain_embedding(network), _valid_generation(network), without_bars():
        network.save_pretrained(directory)
    (lm.processor or lm.tokenizer).save_pretrained(directory)
    save_media(lm, directory)
    q_heads = lm.q_heads if card.keeps_critic else None
    for head, name in ((lm.value_head, VALUE_HEAD), (q_heads, Q_HEADS)):
        if head is not None:
            # Clones: the trunk of a critic of its own may hold one weight under two names.
            tensors = {n: t.detach().clone() for n, t in head.state_dict().items()}
            save_file(tensors, directory / name)
    if lm.has_adapter:
        _write_adapter(lm, directory / ADAPTER, base=_public_name(card.base_model))
    (directory / "README.md").write_text(model_card(lm, card), encoding="utf-8")


def _merged(lm: LanguageModel) -> Any:
    """The network with its adapters in the weights; a copy if there are any."""
    return copy.deepcopy(lm.network).merge_and_unload() if lm.has_adapter else lm.network


def _write_adapter(lm: LanguageModel, directory: Path, *, base: str) -> None:
    # Without the second argument peft asks the hub whether the vocabulary has grown. A critic's
    # adapters are no part of the policy.
    lm.network.save_pretrained(
        directory, save_embedding_layers=False, selected_adapters=[POLICY_ADAPTER]
    )
    path = directory / "adapter_config.json"
    options = {**json.loads(path.read_text()), "base_model_name_or_path": base}
    path.write_text(json.dumps(options, indent=1, sort_keys=True))
    (directory / "README.md").unlink(missing_ok=True)  # peft's empty form


def adopt(lm: LanguageModel, trained: LanguageModel, directory: Path) -> None:
    """Give a model the trained weights that ``save`` wrote, over the base it already is.

    Args:
        lm: The base, with fresh adapters if the trained model had some.
        trained: What was saved, adapters merged.
        directory: Where it lies.

    Raises:
        ModelError: If the base is another than the one that was trained.
    """
    own, saved = _weights(lm.network), _weights(trained.network)
    if lm.has_adapter:
        _read_adapter(lm, directory / ADAPTER)
        own = _weights(_merged(lm))
    shapes = {name: tensor.shape for name, tensor in own.items()}
    fits = shapes == {name: tensor.shape for name, tensor in saved.items()}
    if fits and lm.has_adapter:
        near = 4 * torch.finfo(lm.dtype).eps
        fits = all(
            torch.allclose(own[name], saved[name], rtol=near, atol=min(near, 1e-3)) for name in own
        )
    if not fits:
        raise ModelError(
            where=f"model {lm.name}",
            problem=f"is not what {directory} was trained from.",
            fix="Put that model back.",
        )
    if not lm.has_adapter:
        with plain_embedding(lm.network):
            lm.network.load_state_dict(saved)
    if lm.media is not None:
        load_state(lm, state_of(trained), where=str(directory))
    lm.saved_value_head, lm.saved_q_heads = trained.saved_value_head, trained.saved_q_heads


def _weights(network: Any) -> dict[str, Any]:
    """By the names they are saved by; what sees and hears is not among them."""
    with plain_embedding(network):
        state: dict[str, Any] = network.state_dict()
    return state


def _read_adapter(lm: LanguageModel, directory: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    path = directory / "adapter_model.safetensors"
    saved = load_file(path) if path.is_file() else {}
    own = get_peft_model_state_dict(lm.network, save_embedding_layers=False)
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in saved.items()}:
        raise ModelError(
            where=str(directory),
            problem="holds no adapters of this model's shape.",
            fix="Load it with the options it was saved with.",
        )
    set_peft_model_state_dict(lm.network, saved)


@contextmanager
def _valid_generation(network: Any) -> Iterator[None]:
    """Inside, the generation config holds nothing that has no effect, which may not be saved.

    A temperature without ``do_sample`` is an example; what ``generate`` does stays the same.
    """
    own = getattr(network, "generation_config", None)
    if own is None:
        yield
        return
    network.generation_config = copy.deepcopy(own)
    try:
        _drop_unused(network.generation_config)
        yield
    finally:
        network.generation_config = own


def _drop_unused(config: Any) -> None:
    default = type(config)()
    unused = [] if config.do_sample is True else list(_SAMPLING_ONLY)
    if config.num_beams in (None, 1):
        unused += _BEAMS_ONLY
    for name in unused:
        if hasattr(config, name):
            setattr(config, name, getattr(default, name, None))
    try:
        config.validate(strict=True)
    except ValueError as error:
        ends = {key: getattr(config, key) for key in _TOKENS}
        _log.warning(
            "The model's generation config cannot be saved (%s); only its tokens are.",
            str(error).strip().split("\n")[0],
        )
        config.__dict__.update({**default.__dict__, **ends})


def move_into(staging: Path, directory: Path) -> None:
    """Put what was written elsewhere into its directory, without weights of an earlier model."""
    directory.mkdir(exist_ok=True)
    written = {file.name for file in staging.iterdir()}
    # The configuration last: without it no tool takes the directory for a model.
    for name in sorted(written, key=lambda name: (name == "config.json", name)):
        if name == ADAPTER:
            shutil.rmtree(directory / name, ignore_errors=True)
        (staging / name).replace(directory / name)
    if ADAPTER not in written and (directory / ADAPTER / "adapter_config.json").is_file():
        shutil.rmtree(directory / ADAPTER)
    if OPTIONS not in written:
        (directory / OPTIONS).unlink(missing_ok=True)
    for pattern in _WEIGHTS:
        for old in directory.glob(pattern):
            if old.name not in written:
                old.unlink()


def model_card(lm: LanguageModel, card: CardData) -> str:
    """Markdown with the front matter that model hubs read."""
    base = _public_name(card.base_model)
    front = ["library_name: transformers", "pipeline_tag: text-generation"]
    front.append("tags: [sayso, reinforcement-learning]")
    if base != "tiny":
        front.append(f"base_model: {json.dumps(base)}")
    if base == HUB_ID:
        front.append("license: apache-2.0")
    trained = "low-rank adapters, merged here" if lm.has_adapter else "all weights"
    if not card.is_trained:
        trained = "nothing yet"
    when = "trained" if card.is_trained else "before training"
    about = (
        "A causal language model trained by reinforcement learning with sayso."
        if card.is_trained
        else "What a run of sayso began with: the base model, untrained."
    )
    rows = {
        "base model": base,
        "environment": card.env,
        "algorithm": card.algorithm,
        "reward": card.reward,
        "trained": trained,
        "run": card.run,
    }
    lines = [
        "---",
        *front,
        "---",
        "",
        f"# {_cell(base)}, {when} on {_cell(card.env)}",
        "",
        about,
        "",
    ]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    if card.is_steered:
        lines += ["", *_STEERED]
    if not card.keeps_critic:
        lines += ["", "The critic that advised while training is not saved."]
    if card.report is not None:
        lines += ["", "## Evaluation", "", *_evaluation_table(card.report)]
    lines += [
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        'model = AutoModelForCausalLM.from_pretrained("this directory")',
        'tokenizer = AutoTokenizer.from_pretrained("this directory")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _public_name(base_model: str) -> str:
    return HUB_ID if base_model == "smollm2" else base_model


def _evaluation_table(report: Mapping[str, Any]) -> list[str]:
    mean = report["mean"]
    num_episodes, num_tasks = (report.get(f"num_{x}", mean["n"]) for x in ("episodes", "tasks"))
    lines = [
        f"Split `{report['split']}`, {num_episodes} episodes, {num_tasks} tasks; 95 % intervals.",
        "",
        "| measure | mean | low | high | n |",
        "|---|---|---|---|---|",
    ]
    for name, part in {"return": mean, **report.get("parts", {})}.items():
        numbers = [part[key] for key in ("mean", "low", "high")]
        shown = " | ".join("" if x is None else f"{x:.4f}" for x in numbers)
        lines.append(f"| {_cell(name)} | {shown} | {part['n']} |")
    return lines


def _cell(text: str) -> str:
    """Text that cannot leave its table cell."""
    return " ".join(str(text).split()).replace("|", "\\|")
