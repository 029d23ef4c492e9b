"""A network that gives a text one number: any language model or encoder with a linear head.

Dimensions: n = texts, t = positions, d = width.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sayso.envs.base import Observation
from sayso.errors import ModelError, ModelMissingError
from sayso.models.adapters import add_lora
from sayso.models.chat import ChatFormat
from sayso.models.lm_rewards import MAX_CHARS, read_encoder, whole
from sayso.models.load import load
from sayso.models.options import ModelOptions
from sayso.models.place import device_named
from sayso.models.quiet import without_bars
from sayso.models.saving import move_into
from sayso.seeds import derive

ABOUT, HEAD = "reward.json", "reward_head.safetensors"
Pooling = Literal["last", "mean", "cls"]
Text = tuple[Observation, str]
"""A prompt and an answer to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelOptions:
    """What a reward model reads and what its loss is; written under ``[reward_model]``.

    Attributes:
        pooling: ``"last"``: a causal LM, read at an answer's last token; ``"mean"`` or ``"cls"``:
            an encoder, read at the mean of all tokens or at the first.
        trains: ``"all"``: the weights (adapters, with ``model.lora``) and the head; ``"head"``: the
            head alone, over states that are computed once.
        head_lr: Learning rate of the head.
        centre_coef: Weight of the term that holds rewards near 0; about 0.01 where they drift.
        use_margins: The data say by how much a text was better (``margin``): ask for as much.
        max_tokens: Longest text that is read, prompt included; of a longer one the end.
    """

    pooling: Pooling = "last"
    trains: Literal["all", "head"] = "all"
    head_lr: float = 1e-3
    centre_coef: float = 0.0
    use_margins: bool = False
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.head_lr < float("inf"):
            raise ValueError(f"head_lr must be positive, got {self.head_lr}")
        if not 0 <= self.centre_coef < float("inf"):
            raise ValueError(f"centre_coef must be at least 0 and finite, got {self.centre_coef}")
        if self.max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2, got {self.max_tokens}")


class RewardNetwork:
    """A trunk, a linear head without bias on one of its states, and how text gets there.

    The network is always in evaluation mode, as ``LanguageModel`` is. A fresh head says 0.

    Attributes:
        network: Causal LM, sequence classifier or encoder; a peft model with adapters.
        head: From a state to a reward.
        tokenizer: The network's.
        name: What the user called it.
        pooling: See ``RewardModelOptions``.
        max_tokens: See there.
        mean, std: Of the rewards of the texts it was trained on: its scale.
    """

    def __init__(
        self, network: Any, tokenizer: Any, *, name: str, pooling: Pooling, max_tokens: int,
        chat: ChatFormat | None = None, head: nn.Linear | None = None,
    ) -> None:  # fmt: skip
        self.network, self.tokenizer, self.name = network.eval(), tokenizer, name
        self.pooling, self.max_tokens, self._chat = pooling, max_tokens, chat
        first = next(self.trunk.parameters())
        width = int(self.trunk.config.get_text_config().hidden_size)
        if head is None:
            head = nn.Linear(width, 1, bias=False)
            nn.init.zeros_(head.weight)
        dtype = torch.float32 if first.dtype in (torch.bfloat16, torch.float16) else first.dtype
        self.head = head.to(first.device, dtype)
        self.mean, self.std = 0.0, 1.0

    @property
    def trunk(self) -> Any:
        """What turns tokens into states."""
        inner = self.network
        if hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        return inner.base_model if self.pooling == "last" else inner

    def freeze(self, *, but_head: bool = False) -> None:
        """Let nothing train; with ``but_head`` nothing but the head."""
        self.network.requires_grad_(requires_grad=False)
        self.head.requires_grad_(requires_grad=but_head)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that train, by name; the head's begin with ``head.``."""
        # Of a causal LM the output layer reads nothing here, and would take no gradient.
        own = {id(p) for p in self.trunk.parameters()}
        found = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        found = {f"network.{n}": p for n, p in found.items() if id(p) in own}
        heads = {f"head.{n}": p for n, p in self.head.named_parameters() if p.requires_grad}
        return found | heads

    def ids(self, prompt: Observation, text: str) -> list[int]:
        """Tokens of an answer behind its prompt: its end is read, and as much before as fits."""
        if self._chat is not None:
            found = (*self._chat.prompt(prompt), *self._chat.action(text[:MAX_CHARS]))
            return list(found[-self.max_tokens :])
        asked = prompt if isinstance(prompt, str) else "\n".join(m.content for m in prompt)
        self.tokenizer.truncation_side = "left"
        ids: list[int] = self.tokenizer(
            whole(asked), whole(text[:MAX_CHARS]), truncation="longest_first",
            max_length=self.max_tokens,
        )["input_ids"]  # fmt: skip
        return ids

    def states(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
        """The state of each text that the head reads."""
        device, longest = self.head.weight.device, max(map(len, rows))
        filler = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(rows), longest), filler, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        mask = mask.to(device)
        more: dict[str, Any] = {"use_cache": False} if self.pooling == "last" else {}
        hidden: Tensor = self.trunk(
            input_ids=ids.to(device), attention_mask=mask, **more
        ).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "mean":
            weight = mask.to(hidden.dtype)
            return (hidden * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
        return hidden[torch.arange(len(rows), device=device), mask.sum(1) - 1]

    def rewards(self, states: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Rewards of texts whose states are known; raw, in nats of odds."""
        found: Tensor = self.head(states.to(self.head.weight.dtype))
        return found[:, 0]

    @torch.no_grad()
    def score(self, texts: Sequence[Text], *, max_tokens: int = 4_096) -> list[float]:
        """Raw rewards of texts; 1.0 more means e times better odds to be preferred.

        Args:
            texts: Prompts with answers.
            max_tokens: Of one forward, padding included; changes memory alone.
        """
        rows = [self.ids(prompt, text) for prompt, text in texts]
        found: list[float] = []
        for part in parts_of([len(row) for row in rows], max_tokens):
            found += self.rewards(self.states([rows[i] for i in part])).tolist()
        return found

    def save(self, directory: str | Path, *, card: str = "") -> None:
        """Write a plain Hugging Face directory, adapters merged.

        ``AutoModelForSequenceClassification`` loads one of a causal LM, with one label; of an
        encoder ``AutoModel`` loads the trunk, and the head lies beside it.
        """
        directory = Path(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
        try:
            network, tokenizer = self._merged(), copy.deepcopy(self.tokenizer)
            if self.pooling == "last":
                network = _classifier(network, self.head)
                padding = _padding(tokenizer, self._chat)
                network.config.pad_token_id = padding
                if padding is not None:
                    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
            else:
                save_file({"weight": self.head.weight.detach().clone()}, staging / HEAD)
            with without_bars():
                network.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            (staging / ABOUT).write_text(json.dumps(self._about(), indent=1, sort_keys=True))
            (staging / "README.md").write_text(card or f"# Reward model over {self.name}\n")
            move_into(staging, directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _about(self) -> dict[str, Any]:
        return {
            "pooling": self.pooling, "max_tokens": self.max_tokens, "base": self.name,
            "mean": self.mean, "std": self.std,
            "stop_ids": None if self._chat is None else sorted(self._chat.stop_ids),
        }  # fmt: skip

    def _merged(self) -> Any:
        if not hasattr(self.network, "get_base_model"):
            return self.network
        return copy.deepcopy(self.network).merge_and_unload()


def fresh_network(
    model: ModelOptions, options: RewardModelOptions, *, seed: int, given: Any = None
) -> RewardNetwork:
    """A reward network that has learned nothing yet.

    Args:
        model: Which language model or encoder (``"minilm"``: all-MiniLM-L6-v2, from its package).
        options: How it is read.
        seed: Decides random weights.
        given: Instead of ``model.name``: a ``(model, tokenizer)`` pair, a causal LM.

    Raises:
        ModelError: If it is no model of the kind that the pooling reads.
    """
    if options.pooling == "last":
        if model.name == "minilm" and given is None:
            raise ModelError(
                where="reward_model.pooling",
                problem="is 'last', which reads a causal LM, and minilm is an encoder.",
                fix="Use mean or cls.",
            )
        lm = load(given or model.name, model, seed=seed)
        made = RewardNetwork(
            lm.network, lm.tokenizer, name=lm.name, pooling="last", chat=lm.chat,
            max_tokens=min(options.max_tokens, lm.max_context),
        )  # fmt: skip
    else:
        network, tokenizer = read_encoder(model.name)
        network = network.to(device_named(model.device), getattr(torch, model.dtype))
        longest = int(getattr(network.config, "max_position_embeddings", options.max_tokens))
        if model.lora is not None:
            network = add_lora(
                network, model.lora, seed=derive(seed, "lora weights"), task="FEATURE_EXTRACTION"
            )
        made = RewardNetwork(
            network, tokenizer, name=model.name, pooling=options.pooling,
            max_tokens=min(options.max_tokens, longest),
        )  # fmt: skip
    if options.trains == "head":
        made.freeze(but_head=True)
    return made


def load_network(directory: str | Path, *, device: str = "auto") -> RewardNetwork:
    """A frozen reward network that ``save`` wrote; or the one of a run of a reward model.

    Raises:
        ModelMissingError: If there is none.
    """
    folder = Path(directory)
    if not (folder / ABOUT).is_file() and (folder / "model" / ABOUT).is_file():
        folder = folder / "model"
    if not (folder / ABOUT).is_file():
        is_run = (folder / "config.toml").is_file()
        raise ModelMissingError(
            where=f"reward model {directory}",
            problem="its run has not come to an end yet." if is_run else "there is none.",
            fix=f"Go on: sayso train --resume {directory}" if is_run
            else "Train one: sayso train persona_rm; then name its run, or a directory it was "
            "saved to.",
        )  # fmt: skip
    about: Mapping[str, Any] = json.loads((folder / ABOUT).read_text())
    pooling: Pooling = about["pooling"]
    chat = head = None
    if pooling == "last":
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        models: Any = AutoModelForSequenceClassification
        with without_bars():
            network = models.from_pretrained(folder, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        head, chat = network.score, ChatFormat(tokenizer, about.get("stop_ids"))
    else:
        network, tokenizer = read_encoder(str(folder))
        weight = load_file(folder / HEAD)["weight"]
        head = nn.Linear(weight.shape[1], 1, bias=False)
        head.load_state_dict({"weight": weight})
    made = RewardNetwork(
        network.to(device_named(device)), tokenizer, name=str(about["base"]), pooling=pooling,
        max_tokens=int(about["max_tokens"]), chat=chat, head=head,
    )  # fmt: skip
    made.mean, made.std = float(about["mean"]), float(about["std"])
    made.freeze()
    return made


def parts_of(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Places of texts that go through one forward: padded, they hold ``max_tokens`` or are one."""
    found: list[list[int]] = []
    longest = 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if not found or longest * (len(found[-1]) + 1) > max_tokens:
            found.append([])
            longest = length
        found[-1].append(place)
    return found


def _classifier(network: Any, head: nn.Linear) -> Any:
    """A causal LM's trunk and a head as Hugging Face's classifier with one label."""
    from transformers import AutoModelForSequenceClassification

    if hasattr(network, "score"):
        return network
    config = copy.deepcopy(network.config)
    config.num_labels, config.architectures = 1, None
    models: Any = AutoModelForSequenceClassification
    with torch.device("meta"):  # the shape alone: the weights are there already
        made = models.from_config(config)
    setattr(made, made.base_model_prefix, network.base_model)
    made.score = head
    return made


def _padding(tokenizer: Any, chat: ChatFormat | None) -> int | None:
    """A token that no answer ends with: the classifier reads at the last one that is none."""
    stops = frozenset() if chat is None else chat.stop_ids
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id]
    return next((i for i in special if i is not None and i not in stops), None)
