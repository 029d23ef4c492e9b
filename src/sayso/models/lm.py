"""A causal language model with what reinforcement learning needs around it.

Dimensions: b = packed rows, t = positions, n = chosen positions, d = width, v = vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sayso.errors import ModelError
from sayso.models.chat import ChatFormat
from sayso.models.heads import ValueHead


class LanguageModel:
    """Network, tokenizer, chat format and heads.

    The network is always in evaluation mode: dropout would make the policy that is scored another
    one than the policy that sampled (peers call it "ratio is not 1 on the first step").

    Attributes:
        network: The causal LM; a peft model when it has an adapter.
        tokenizer: Its tokenizer.
        chat: Text to ids and back.
        name: What the user called it.
        stop_ids: Tokens that end an action.
        max_context: Most tokens of a context.
        value_head: Critic, if an algorithm added one.
    """

    def __init__(self, network: Any, tokenizer: Any, *, name: str) -> None:
        self.network, self.tokenizer, self.name = network.eval(), tokenizer, name
        self.stop_ids = stop_ids(network, tokenizer)
        self.chat = ChatFormat(tokenizer, self.stop_ids)
        self.max_context = max_context(self.causal_lm.config)
        self.value_head: ValueHead | None = None
        self._frozen_copy: Any = None
        self._in_reference = False

    @property
    def causal_lm(self) -> Any:
        """The Hugging Face model itself, without a peft wrapper (adapter layers stay inside)."""
        return self.network.get_base_model() if self.has_adapter else self.network

    @property
    def has_adapter(self) -> bool:
        """True when low-rank adapters train instead of the weights."""
        return hasattr(self.network, "peft_config")

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
        visible: Bool[Tensor, "b t t"],
    ) -> Float[Tensor, "b t d"]:
        """Last hidden states, ready for a head.

        Args:
            ids: Token ids.
            position: Position of each token in its own text, from 0; several texts may share a row.
            visible: Entry [i, j] is True where token i may look at token j (itself included).
        """
        trunk = self._active_lm().base_model
        output = trunk(
            input_ids=ids,
            position_ids=position,
            attention_mask=visible[:, None],
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """Next-token logits, with the scaling that the architecture asks for."""
        active = self._active_lm()
        logits: Tensor = active.get_output_embeddings()(hidden)
        scale = getattr(active.config, "logit_scale", None)
        if scale is not None:
            logits = logits * scale
        divisor = getattr(active.config, "logits_scaling", None)
        if divisor is not None:
            logits = logits / divisor
        cap = getattr(active.config, "final_logit_softcapping", None)
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

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

    def add_value_head(self) -> None:
        """Add a critic that predicts 0 everywhere, unless there is one."""
        if self.value_head is None:
            width = self.causal_lm.get_output_embeddings().weight.shape[1]
            self.value_head = ValueHead(width, dtype=self.dtype, device=self.device)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that train, by name; a value head's begin with ``value_head.``.

        Raises:
            ModelError: If nothing trains: such a run would end as it began, without a word.
        """
        own = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        if not own:
            raise ModelError(
                where=self.name,
                problem="has 0 trainable parameters.",
                fix="Leave requires_grad on for some weights, or add model.lora.",
            )
        if self.value_head is not None:
            own |= {f"value_head.{n}": p for n, p in self.value_head.named_parameters()}
        return own

    def freeze_reference(self) -> None:
        """Keep a copy of the weights as they are now; needed for KL without an adapter."""
        if not self.has_adapter and self._frozen_copy is None:
            self._frozen_copy = copy.deepcopy(self.network).requires_grad_(requires_grad=False)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, ``hidden`` and ``logits`` are those of the reference policy, without gradient.

        The reference is the base model with its adapter off, or the frozen copy.

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
        return self._frozen_copy if self._in_reference else self.causal_lm


def stop_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer: of the tokenizer, of the model, of its generation config."""
    found: set[int] = set()
    generation = getattr(network, "generation_config", None)
    for ids in (
        tokenizer.eos_token_id,
        getattr(network.config, "eos_token_id", None),
        getattr(generation, "eos_token_id", None),
    ):
        found.update(ids if isinstance(ids, list | tuple) else [ids] if ids is not None else [])
    for name in ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>"):
        if name in tokenizer.get_added_vocab():
            found.add(tokenizer.convert_tokens_to_ids(name))
    return tuple(sorted(found))


def max_context(config: Any) -> int:
    """Most tokens that the network's positions allow; a sliding window is never exceeded."""
    limits = [
        getattr(config, name, None)
        for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    ]
    if getattr(config, "use_sliding_window", True):
        limits.append(getattr(config, "sliding_window", None))
    known = [int(limit) for limit in limits if limit]
    if not known:
        raise ModelError(
            where=type(config).__name__,
            problem="does not say how long a context may be.",
            fix="Set config.max_position_embeddings.",
        )
    return min(known)
