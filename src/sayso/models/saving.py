"""A policy as a plain Hugging Face directory that any tool can load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from sayso.models.lm import LanguageModel

VALUE_HEAD = "value_head.safetensors"


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


def save(lm: LanguageModel, directory: Path, *, card: CardData) -> None:
    """Write weights (adapters merged into a copy), tokenizer, generation config and model card.

    ``AutoModelForCausalLM.from_pretrained`` loads the directory. A value head lies beside the
    weights. The live model is left bit for bit as it is.
    """
    directory.mkdir(parents=True, exist_ok=True)
    network = lm.network
    if lm.has_adapter:
        network = copy.deepcopy(network).merge_and_unload()
    network.save_pretrained(directory)
    lm.tokenizer.save_pretrained(directory)
    if lm.value_head is not None:
        tensors = {n: t.detach().contiguous() for n, t in lm.value_head.state_dict().items()}
        save_file(tensors, directory / VALUE_HEAD)
    (directory / "README.md").write_text(model_card(lm, card), encoding="utf-8")


def model_card(lm: LanguageModel, card: CardData) -> str:
    """Markdown with the front matter that model hubs read."""
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [sayso, reinforcement-learning]",
        f"base_model: {card.base_model}",
        "---",
        "",
        f"# {card.base_model}, trained on {card.env}",
        "",
        f"A causal language model trained by reinforcement learning with sayso: algorithm "
        f"`{card.algorithm}`, environment `{card.env}`.",
        "",
        "| | |",
        "|---|---|",
        f"| base model | {card.base_model} |",
        f"| environment | {card.env} |",
        f"| algorithm | {card.algorithm} |",
        f"| trained | {'low-rank adapters, merged here' if lm.has_adapter else 'all weights'} |",
    ]
    if card.reward:
        lines.append(f"| reward | {card.reward} |")
    if card.run:
        lines.append(f"| run | {card.run} |")
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
        f"| return | {mean['mean']:.4f} | {mean['low']:.4f} | {mean['high']:.4f} |",
    ]
    for name, part in report.get("parts", {}).items():
        lines.append(f"| {name} | {part['mean']:.4f} | {part['low']:.4f} | {part['high']:.4f} |")
    return lines
