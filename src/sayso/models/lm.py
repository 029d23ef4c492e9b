"""A causal language model with what reinforcement learning needs around it.

Dimensions: b = packed rows, t = positions, n = chosen positions, d = width, v = vocabulary.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sayso.errors import ModelError
from sayso.models.attention import attending, can_attend
from sayso.models.chat import ChatFormat
from sayso.models.forest import Forest
from sayso.models.heads import ValueHead
from sayso.models.limits import max_context, stop_ids
from sayso.models.media import MediaTable
from sayso.models.media_embedding import media_of
from sayso.models.options import MediaOptions
from sayso.models.trunk import hidden as trunk_hidden
from sayso.models.trunk import why_no_trunk

_log = logging.getLogger("sayso")


class LanguageModel:
    """Network, tokenizer, chat format and heads.

    The network is always in evaluation mode, while it trains as well: dropout would make the
    policy that is scored another one than the policy that sampled, and the ratio of the two would
    not be 1 on the first step. Gradients flow in this mode as in the other.

    Attributes:
        network: The causal LM; a peft model when it has an adapter.
        tokenizer: Its tokenizer.
        chat: Text to ids and back.
        name: What the user called it.
        stop_ids: Tokens that end an action.
        max_context: Most tokens of a context.
        media: What ids of pictures and sounds mean; ``None``: it reads text only.
        media_options: The encoders that were put in front of it, if some were.
        processor: That of a model that sees by itself.
        value_head: Critic, if an algorithm added one.
        saved_value_head: Weights of a critic that lay beside the model; the next value head of
            this shape starts from them.
        q_heads: Heads of a value-based algorithm, if it added some: they are part of the policy.
        saved_q_heads: Weights of such heads that lay beside the model, as above.
        num_read_tokens: Tokens that ``hidden`` has read: a forward counts once, the backward that
            a gradient takes twice. Sampling engines decode by themselves and are not in it.
    """

    def __init__(self, network: Any, tokenizer: Any, *, name: str) -> None:
        self.network, self.tokenizer, self.name = network.eval(), tokenizer, name
        self.stop_ids = stop_ids(network, tokenizer)
        self.chat = ChatFormat(tokenizer, self.stop_ids)
        self.max_context = max_context(self.causal_lm.config.get_text_config())
        self.media: MediaTable | None = None
        self.media_options: MediaOptions | None = None
        self.processor: Any = None
        if (embedding := media_of(self.causal_lm)) is not None:
            self.take_media(embedding.table)
        self.value_head: ValueHead | None = None
        self.saved_value_head: Mapping[str, Tensor] = {}
        self.q_heads: nn.Module | None = None
        self.saved_q_heads: Mapping[str, Tensor] = {}
        self._frozen_copy: Any = None
        self._copies: dict[str, Any] = {}
        self._reading = ""
        self._has_reference = self._in_reference = False
        self.num_read_tokens = 0

    @property
    def causal_lm(self) -> Any:
        """The Hugging Face model itself, without a peft wrapper (adapter layers stay inside)."""
        return _unwrapped(self.network)

    @property
    def _config(self) -> Any:
        """Of the decoder: a model that sees keeps it beside that of its encoder."""
        return self._active_lm().config.get_text_config()

    def take_media(self, table: MediaTable) -> None:
        """Let observations hold what the table has encoders for."""
        self.media = self.chat.media = table

    @property
    def has_adapter(self) -> bool:
        """True when low-rank adapters train instead of the weights."""
        return hasattr(self.network, "get_base_model")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.causal_lm.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        dtype: torch.dtype = next(self.causal_lm.parameters()).dtype
        return dtype

    def hidden(
        self,
        ids: Int[Tensor, "b t"],
        position: Int[Tensor, "b t"],
        visible: Bool[Tensor, "b t t"] | Forest,
    ) -> Float[Tensor, "b t d"]:
        """Last hidden states, ready for a head.

        Args:
            ids: Token ids.
            position: Position of each token in its own text, from 0; several texts may share a row.
            visible: Entry [i, j] is True where token i may look at token j. Every token must see
                at least itself, padding included. Or the forest of a single row.

        Raises:
            ModelError: If a position lies outside the model's context, or a row holds an item that
                is not whole.
        """
        if self.media is not None:
            for number, row in enumerate(ids.tolist()):
                self.media.check_row(row, where=f"row {number}")
        found = self._hidden(ids, position, visible)
        self.num_read_tokens += ids.numel() * (3 if found.requires_grad else 1)
        return found

    def _hidden(self, ids: Tensor, position: Tensor, visible: Tensor | Forest) -> Tensor:
        active = self._active_lm()
        if active.training:
            active.eval()
        if ids.numel() and int(position.max()) >= self.max_context:
            raise ModelError(
                where=self.name,
                problem=f"position {int(position.max())}, its context holds {self.max_context}.",
                fix="Lower env.max_context_tokens or sampling.max_new_tokens.",
            )
        if isinstance(visible, Forest):
            if len(ids) == 1 and why_no_trunk(active, self.max_context) is None:
                return trunk_hidden(active, ids[0], position[0], visible)[None]
            if can_attend(active.config):
                with attending(active.config, visible) as mask:
                    return _last_hidden(active, ids, position, mask)
            visible = visible.mask(ids.device)[None]
        mask = visible[:, None]
        if active.config._attn_implementation != "sdpa":  # noqa: SLF001  # no public name for it
            # Eager attention adds the mask, and adding True would let everything through.
            mask = torch.zeros_like(mask, dtype=active.dtype).masked_fill_(
                ~mask, torch.finfo(active.dtype).min
            )
        return _last_hidden(active, ids, position, mask)

    def logits(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """Next-token logits, with the scaling that the architecture asks for."""
        active = self._active_lm()
        logits: Tensor = active.get_output_embeddings()(hidden)
        config = self._config
        scale = getattr(config, "logit_scale", None)
        if scale is not None:
            logits = logits * scale
        divisor = getattr(config, "logits_scaling", None)
        if divisor is not None:
            logits = logits / divisor
        cap = getattr(config, "final_logit_softcapping", None)
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def plain_head(self) -> Float[Tensor, "v d"] | None:
        """The head's weight, if logits are ``hidden @ weight.T`` in fp32 or fp64, else ``None``."""
        active = self._active_lm()
        head = active.get_output_embeddings()
        names = ("logit_scale", "logits_scaling", "final_logit_softcapping")
        is_scaled = any(getattr(self._config, name, None) is not None for name in names)
        has_bias = getattr(head, "bias", None) is not None
        # A hook may change what the head gives, and is only called when the head is.
        is_hooked = bool(head._forward_hooks or head._forward_pre_hooks)  # noqa: SLF001
        if type(head) is not nn.Linear or has_bias or is_scaled or is_hooked:
            return None
        weight: Tensor = head.weight
        return weight if weight.dtype in (torch.float32, torch.float64) else None

    def values(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Values of contexts.

        Raises:
            ModelError: If no value head was added.
        """
        if self.value_head is None:
            raise ModelError(
                where=self.name, problem="has no value head.", fix="Call add_value_head() first."
            )
        value: Tensor = self.value_head(hidden)
        return value

    def add_value_head(self, seed: int = 0, *, inner: int = 0) -> ValueHead:
        """Add a critic, unless there is one.

        It predicts 0 everywhere, or what the critic saved beside this model predicted.

        Args:
            seed: Decides the first weights of an inner layer.
            inner: Size of that layer; 0: the head is linear.
        """
        if self.value_head is None:
            head = ValueHead(
                self.width, inner=inner, seed=seed, dtype=self.dtype, device=self.device
            )
            _load_if_alike(head, self.saved_value_head, name=self.name)
            self.value_head = head
        return self.value_head

    def add_q_heads(self, heads: nn.Module) -> None:
        """Add the heads of a value-based algorithm; saved ones of the same shapes are taken up."""
        _load_if_alike(heads, self.saved_q_heads, name=self.name)
        self.q_heads = heads

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.causal_lm.get_output_embeddings().weight.shape[1])

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return int(self.causal_lm.get_output_embeddings().weight.shape[0])

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that train, by name; those of heads begin with ``value_head.``, ``q_heads.``.

        Raises:
            ModelError: If nothing trains: such a run would end as it began, without a word.
        """
        own = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        if self.q_heads is not None:
            heads = self.q_heads.named_parameters()
            own |= {f"q_heads.{n}": p for n, p in heads if p.requires_grad}
        if not own:
            raise ModelError(
                where=self.name,
                problem="has 0 trainable parameters.",
                fix="Leave requires_grad on for some weights, or add model.lora.",
            )
        for name, network in self._copies.items():
            own |= {f"{name}.{n}": p for n, p in network.named_parameters() if p.requires_grad}
        if self.value_head is not None:
            own |= {f"value_head.{n}": p for n, p in self.value_head.named_parameters()}
        return own

    def freeze_network(self) -> None:
        """Let only heads train; adapters and weights stay as they are."""
        for parameter in self.network.parameters():
            parameter.requires_grad_(requires_grad=False)

    def add_copy(self, name: str, *, trains: bool) -> None:
        """A copy of the network as it is now, for a critic to read; a second call changes nothing.

        Args:
            name: What ``trainable`` names its weights by.
            trains: Whether it learns; the policy does not change with it.
        """
        if name not in self._copies:
            copied = copy.deepcopy(self.network).requires_grad_(requires_grad=trains)
            self._copies[name] = copied.eval()

    def copy_weights(self, name: str) -> dict[str, nn.Parameter]:
        """The weights of a copy."""
        return dict(self._copies[name].named_parameters())

    @contextmanager
    def reading_copy(self, name: str) -> Iterator[None]:
        """Inside, ``hidden`` is that of a copy, and gradients are its own."""
        self._reading = name
        try:
            yield
        finally:
            self._reading = ""

    def freeze_reference(self) -> None:
        """Make the policy as it is now the reference.

        With a fresh adapter that is the base model with the adapter off, and nothing is copied.
        Otherwise the weights are. A second call changes nothing.
        """
        if self._has_reference:
            return
        self._has_reference = True
        # Switching an adapter off leaves what sees and hears as it has become since.
        if not self._has_fresh_adapter() or self._media_trains():
            frozen = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
            self._frozen_copy = frozen.eval()

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, ``hidden`` and ``logits`` are those of the reference policy, without gradient.

        The reference is the frozen copy if there is one, else the base model, adapter off.

        Raises:
            ModelError: If there is neither.
        """
        if not self.has_adapter and self._frozen_copy is None:
            raise ModelError(
                where=self.name,
                problem="has no reference: no adapter to switch off and no frozen copy.",
                fix="Call freeze_reference() before training.",
            )
        with torch.no_grad():
            if self._frozen_copy is None:
                with self.network.disable_adapter():
                    yield
                return
            self._in_reference = True
            try:
                yield
            finally:
                self._in_reference = False

    def _active_lm(self) -> Any:
        if self._reading:
            return _unwrapped(self._copies[self._reading])
        return _unwrapped(self._frozen_copy) if self._in_reference else self.causal_lm

    def _media_trains(self) -> bool:
        embedding = media_of(self.causal_lm)
        own = embedding.named_parameters() if embedding is not None else ()
        return any(p.requires_grad for n, p in own if not n.startswith("inner."))

    def _has_fresh_adapter(self) -> bool:
        """True while every adapter still adds zero (LoRA starts with B = 0)."""
        if not self.has_adapter:
            return False
        outer = [p for n, p in self.network.named_parameters() if ".lora_B." in n]
        return bool(outer) and not any(bool(p.any()) for p in outer)


def _unwrapped(network: Any) -> Any:
    """The causal LM inside a peft model; adapter layers live inside it and stay."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def _load_if_alike(head: nn.Module, saved: Mapping[str, Tensor], *, name: str) -> None:
    shapes = {part: weight.shape for part, weight in head.state_dict().items()}
    if shapes == {part: weight.shape for part, weight in saved.items()}:
        head.load_state_dict(dict(saved))
    elif saved:
        _log.warning(
            "%s: the heads saved beside it are of other shapes than those of this algorithm, which "
            "begin anew. If they should be taken up, set the options they were trained with.", name,
        )  # fmt: skip


def _last_hidden(network: Any, ids: Tensor, position: Tensor, mask: Tensor) -> Tensor:
    output = network.base_model(
        input_ids=ids, position_ids=position, attention_mask=mask, use_cache=False
    )
    hidden: Tensor = output.last_hidden_state
    return hidden
