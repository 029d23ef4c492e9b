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

from safetensors.torch import save_file

from sayso.models.lm import LanguageModel
from sayso.models.smollm2 import HUB_ID

VALUE_HEAD = "value_head.safetensors"
_SAMPLING_ONLY = (
    "temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
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
    """

    base_model: str
    env: str
    algorithm: str
    reward: str = ""
    report: Mapping[str, Any] | None = None
    run: str = ""


def save(lm: LanguageModel, directory: str | Path, *, card: CardData) -> None:
    """Write weights (adapters merged into a copy), tokenizer, generation config and model card.

    ``AutoModelForCausalLM.from_pretrained`` loads the directory. A value head lies beside the
    weights. The live model is left bit for bit as it is. Everything is written elsewhere first, so
    a full disk leaves what was there; weights of an earlier model in the directory are removed,
    other files stay.

    Raises:
        OSError: If it cannot be written.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        _write(lm, staging, card)
        _move(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(lm: LanguageModel, directory: Path, card: CardData) -> None:
    network = lm.network
    if lm.has_adapter:
        network = copy.deepcopy(network).merge_and_unload()
    with _valid_generation(network):
        network.save_pretrained(directory)
    lm.tokenizer.save_pretrained(directory)
    if lm.value_head is not None:
        tensors = {n: t.detach().contiguous() for n, t in lm.value_head.state_dict().items()}
        save_file(tensors, directory / VALUE_HEAD)
    (directory / "README.md").write_text(model_card(lm, card), encoding="utf-8")


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


def _move(staging: Path, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    written = {file.name for file in staging.iterdir()}
    # The configuration last: without it no tool takes the directory for a model.
    for name in sorted(written, key=lambda name: (name == "config.json", name)):
        (staging / name).replace(directory / name)
    for pattern in _WEIGHTS:
        for old in directory.glob(pattern):
            if old.name not in written:
                old.unlink()


def model_card(lm: LanguageModel, card: CardData) -> str:
    """Markdown with the front matter that model hubs read."""
    base = HUB_ID if card.base_model == "smollm2" else card.base_model
    front = ["library_name: transformers", "pipeline_tag: text-generation"]
    front.append("tags: [sayso, reinforcement-learning]")
    if base != "tiny":
        front.append(f"base_model: {json.dumps(base)}")
    if base == HUB_ID:
        front.append("license: apache-2.0")
    trained = "low-rank adapters, merged here" if lm.has_adapter else "all weights"
    rows = {
        "base model": base,
        "environment": card.env,
        "algorithm": card.algorithm,
        "reward": card.reward,
        "trained": trained,
        "run": card.run,
    }
    lines = ["---", *front, "---", "", f"# {_cell(base)}, trained on {_cell(card.env)}", ""]
    lines += ["A causal language model trained by reinforcement learning with sayso.", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
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


def _evaluation_table(report: Mapping[str, Any]) -> list[str]:
    mean = report["mean"]
    lines = [
        f"Split `{report['split']}`, {mean['n']} episodes; 95 % intervals.",
        "",
        "| measure | mean | low | high |",
        "|---|---|---|---|",
    ]
    for name, part in {"return": mean, **report.get("parts", {})}.items():
        numbers = " | ".join(f"{part[key]:.4f}" for key in ("mean", "low", "high"))
        lines.append(f"| {_cell(name)} | {numbers} |")
    return lines


def _cell(text: str) -> str:
    """Text that cannot leave its table cell."""
    return " ".join(str(text).split()).replace("|", "\\|")
