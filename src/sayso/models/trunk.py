"""A decoder's hidden states with little kept for the way back: our own pass over its layers.

Between the matrix products of a layer PyTorch runs some thirty small operators, and keeps what most
of them gave. Here each stretch between two products is one compiled loop, and what it gave is made
again going back: about half of the memory, for numbers that agree to rounding. For float32 on a
CPU and the families of ``families.py`` with rotary positions; anything else runs its own forward.

Dimensions: t = positions of a row, d = width, n = outputs of a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # everybody's name for it
from jaxtyping import Float, Int
from torch import Tensor

from sayso.kernels.library import CompileError, library
from sayso.models import tree_attention
from sayso.models.adapters import low_rank
from sayso.models.families import FAMILIES, Family, find, why_no_family
from sayso.models.forest import Forest

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_no_trunk(network: Any, max_context: int) -> str | None:
    """The reason why ``hidden`` cannot stand for this causal LM's own forward; ``None``: it can.

    Asked before each pass, which costs a small part of it: adapters, hooks, precision and device
    may change between two.
    """
    reason = why_no_family(network, max_context)
    return reason or _why_not_now(network, FAMILIES[network.config.model_type])


def _why_not_now(network: Any, family: Family) -> str | None:
    body = find(network, family.body)
    try:
        library()
    except CompileError as error:
        return str(error)
    layers = find(body, family.layers)
    paths = (*family.qkv, *family.up, family.down)
    linears = ((path, find(layer, path)) for layer in layers for path in paths)
    odd = (p for p, m in linears if hasattr(m, "base_layer") and not _is_plain_lora(m))
    is_other = not family.rotary or len(family.up) != 2
    hooks = (getattr(module, name) for module in body.modules() for name in _HOOKS)
    faults = {
        f"the layers of {network.config.model_type!r} are of another kind": is_other,
        "this PyTorch has no attention for a CPU": not tree_attention.IS_HERE,
        "autocast is on": torch.is_autocast_enabled("cpu"),
        "a hook waits in its forward": any(hooks),
    }
    fault = next((fault for fault, is_so in faults.items() if is_so), None)
    if fault is None and (path := next(odd, None)) is not None:
        fault = f"its adapter in {path} is no plain LoRA"
    return fault


def _is_plain_lora(module: Any) -> bool:
    is_lora = type(module).__module__ == "peft.tuners.lora.layer"
    extras = [*getattr(module, "lora_variant", {}).values(), *module.lora_bias.values()]
    return is_lora and not any(extras)


def hidden(
    network: Any, ids: Int[Tensor, " t"], position: Int[Tensor, " t"], forest: Forest
) -> Float[Tensor, "t d"]:
    """Last hidden states of a packed row, for a network without a ``why_no_trunk``.

    Tests:
        tests/unit/test_trunk.py: against the model's own forward, values and gradients.
    """
    family = FAMILIES[network.config.model_type]
    body = find(network, family.body)
    x: Tensor = find(body, family.embedding)(ids)
    angles = find(body, family.rotary)(x[None], position[None])
    cosine, sine = (table[0].float().contiguous() for table in angles)
    for layer in find(body, family.layers):
        x = x + _attention(layer, family, x, (cosine, sine), forest)
        gate, up = _normed_linears(
            x, find(layer, family.before_mlp), [find(layer, path) for path in family.up]
        )
        x = x + _call(_GatedLinear, gate, up, *_factors(find(layer, family.down)))
    return _normed(x, find(body, family.final_norm))


def _attention(
    layer: Any, family: Family, x: Tensor, angles: tuple[Tensor, Tensor], forest: Forest
) -> Tensor:
    """What a layer's attention adds to its input."""
    module = find(layer, family.attention)
    width = module.head_dim
    parts = _normed_linears(
        x, find(layer, family.before_attention), [find(layer, path) for path in family.qkv]
    )
    query, key, value = (part.view(len(x), -1, width) for part in parts)
    norms = [find(layer, path) for path in (family.query_norm, family.key_norm)]
    query, key = (
        heads if norm is None else _normed(heads, norm)
        for heads, norm in zip((query, key), norms, strict=True)
    )
    if getattr(module, "use_rope", True):
        query, key = (_call(_Rotated, heads, *angles) for heads in (query, key))
    mixed = tree_attention.tree_attention(query, key, value, forest, module.scaling)
    out: Tensor = find(layer, family.out)(mixed.flatten(1))
    return out


def _normed_linears(x: Tensor, norm: Any, modules: Sequence[Any]) -> tuple[Tensor, ...]:
    """Linear layers that read the same norm of x."""
    factors = [tensor for module in modules for tensor in _factors(module)]
    found: tuple[Tensor, ...] = _call(
        _NormedLinears, x, norm.weight, norm.variance_epsilon, *factors
    )
    return found


def _normed(x: Tensor, norm: Any) -> Tensor:
    out: Tensor = _call(_Normed, x, norm.weight, norm.variance_epsilon)
    return out


def _factors(module: Any) -> tuple[Tensor | None, ...]:
    """Weight, bias and low-rank factors of a linear layer."""
    base = getattr(module, "base_layer", module)
    down, up = low_rank(module) or (None, None)
    return base.weight, base.bias, down, up


_PER_LINEAR = 4
"""Tensors of ``_factors``."""


def _call(function: Any, *arguments: Any) -> Any:
    return function.apply(*arguments)


class _Normed(torch.autograd.Function):
    """RMS norm over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        x = x.contiguous()
        out, inverse = _norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, inverse = ctx.saved_tensors
        return *_norm_back(grads[0], x, weight, inverse, ctx.needs_input_grad), None


class _NormedLinears(torch.autograd.Function):
    """Linear layers over an RMS norm; the norm's result is made again going back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, epsilon: float, *factors: Tensor | None
    ) -> tuple[Tensor, ...]:
        x = x.contiguous()
        normed, inverse = _norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse, *factors)
        ctx.epsilon = epsilon
        return tuple(_linear(normed, part) for part in _by_linear(factors))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, inverse, *factors = ctx.saved_tensors
        normed, _ = _norm(x, weight, ctx.epsilon)
        grad_normed = torch.zeros_like(x)
        back: list[Tensor | None] = []
        needs = _by_linear(ctx.needs_input_grad[3:])
        for grad, part, need in zip(grads, _by_linear(factors), needs, strict=True):
            back += _linear_back(grad, normed, part, need, grad_normed)
        return *_norm_back(grad_normed, x, weight, inverse, ctx.needs_input_grad), None, *back


class _GatedLinear(torch.autograd.Function):
    """A linear layer over SiLU(gate) * up (SwiGLU: Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, *factors: Tensor | None) -> Tensor:
        ctx.save_for_backward(gate, up, *factors)
        return _linear(_gated(gate, up), factors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gate, up, *factors = ctx.saved_tensors
        grad = torch.zeros_like(gate)
        back = _linear_back(grads[0], _gated(gate, up), factors, ctx.needs_input_grad[2:], grad)
        grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
        library().calls.sayso_gate_back(
            *_at(grad, gate, up), gate.numel(), *_at(grad_gate, grad_up), torch.get_num_threads()
        )
        return grad_gate, grad_up, *back


class _Rotated(torch.autograd.Function):
    """Heads turned by their positions (rotary: Su et al. 2021, arXiv:2104.09864, eq. 34)."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(heads, cosine, sine, is_back=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _rotated(grads[0], *ctx.saved_tensors, is_back=True), None, None


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The norm, and one over the root mean square of each row."""
    out, width = torch.empty_like(x), x.shape[-1]
    inverse = x.new_empty(x.shape[:-1])
    library().calls.sayso_norm(
        *_at(x, weight), inverse.numel(), width, epsilon, *_at(out, inverse),
        torch.get_num_threads(),
    )  # fmt: skip
    return out, inverse


def _norm_back(
    grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x and of the weight, where they are needed."""
    grad = grad.contiguous()
    into = [
        torch.empty_like(tensor) if need else None
        for tensor, need in zip((x, weight), needs, strict=False)
    ]
    library().calls.sayso_norm_back(
        *_at(grad, x, weight, inverse), inverse.numel(), x.shape[-1],
        *(None if tensor is None else tensor.data_ptr() for tensor in into),
        torch.get_num_threads(),
    )  # fmt: skip
    return into[0], into[1]


def _rotated(heads: Tensor, cosine: Tensor, sine: Tensor, *, is_back: bool) -> Tensor:
    heads = heads.contiguous()
    out = torch.empty_like(heads)
    library().calls.sayso_rotate(
        *_at(heads, cosine, sine), *heads.shape, is_back, out.data_ptr(), torch.get_num_threads()
    )
    return out


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    out = torch.empty_like(gate)
    library().calls.sayso_gate(
        *_at(gate, up), gate.numel(), out.data_ptr(), torch.get_num_threads()
    )
    return out


def _linear(x: Tensor, factors: Sequence[Any]) -> Tensor:
    weight, bias, down, up = factors
    out = F.linear(x, weight, bias)
    if down is not None and up is not None:
        out.addmm_(x @ down.T, up.T)
    return out


def _linear_back(
    grad: Tensor, x: Tensor, factors: Sequence[Any], needs: Sequence[bool], into: Tensor
) -> list[Tensor | None]:
    """Gradients of a linear layer's factors; that of its input is added to ``into``."""
    weight, _, down, up = factors
    needs_weight, needs_bias, *_ = needs
    grad = grad.contiguous()
    into.addmm_(grad, weight)
    back = [grad.T @ x if needs_weight else None, grad.sum(0) if needs_bias else None, None, None]
    if down is not None and up is not None:
        low = grad @ up
        into.addmm_(low, down)
        back[2:] = low.T @ x, grad.T @ (x @ down.T)
    return back


def _by_linear(flat: Sequence[Any]) -> list[Sequence[Any]]:
    """Cut into the parts of each linear layer."""
    return [flat[i : i + _PER_LINEAR] for i in range(0, len(flat), _PER_LINEAR)]


def _at(*tensors: Tensor) -> tuple[int, ...]:
    """Where contiguous tensors lie."""
    return tuple(tensor.data_ptr() for tensor in tensors)
