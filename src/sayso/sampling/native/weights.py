"""A network's weights in the layout of the kernels."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from sayso.kernels import library as lib
from sayso.models.adapters import low_rank
from sayso.models.families import FAMILIES, find

_ROTARY_STEP = 1024
"""Positions of the rotary tables are computed in multiples of this."""

_Seen = tuple[tuple[int, int, bool], ...]
"""Address, version and whether it trains, of each tensor that was packed."""


@dataclass(slots=True, eq=False)
class _Packed:
    """One linear layer of the kernels, made of one or more modules that read the same input."""

    modules: tuple[Any, ...]
    struct: lib.Linear
    held: dict[str, Tensor] = field(default_factory=dict)
    seen: _Seen = ()


class Weights:
    """What ``sayso_step`` needs of a causal LM; ``refresh`` follows the network's weights.

    Embeddings, norms and learned positions are read where they are. Matrices are packed, those
    that have not changed only once: with low-rank adapters the matrices stay, and only the
    adapters are read again.

    Attributes:
        model: The struct that the kernels take.
        is_int8: Whether matrices are packed as bytes.
    """

    def __init__(self, network: Any, *, is_int8: bool) -> None:
        """Args: ``network`` is a causal LM of a known family; ``is_int8`` packs bytes."""
        self._kernels, self.is_int8 = lib.library(), is_int8
        self._family = FAMILIES[network.config.model_type]
        self._body, self._network = find(network, self._family.body), network
        self._layers = list(find(self._body, self._family.layers))
        self._structs = (lib.Layer * len(self._layers))()
        self._linears: list[_Packed] = []
        self._tables: list[Tensor] = []
        self.model = self._sizes()
        family = self._family
        for struct, layer in zip(self._structs, self._layers, strict=True):
            self._add(struct.qkv, [find(layer, path) for path in family.qkv])
            self._add(struct.out, [find(layer, family.out)])
            self._add(struct.up, [find(layer, path) for path in family.up])
            self._add(struct.down, [find(layer, family.down)])
            attention = find(layer, family.attention)
            struct.is_rotary = bool(family.rotary) and bool(getattr(attention, "use_rope", True))
        self._add(self.model.head, [network.get_output_embeddings()])
        self.model.mlp_width = self._structs[0].down.depth

    @property
    def position_floats(self) -> int:
        """Numbers that the keys and values of one position take, all layers together."""
        m = self.model
        lanes = self._kernels.lanes
        return int(2 * m.num_layers * m.key_heads * (-(-m.head_width // lanes) * lanes))

    @torch.no_grad()
    def refresh(self) -> None:
        """Follow the network: pack what may have changed, point at what is read in place."""
        family, model = self._family, self.model
        for struct, layer in zip(self._structs, self._layers, strict=True):
            _point(struct.before_attention, find(layer, family.before_attention))
            _point(struct.before_mlp, find(layer, family.before_mlp))
            _point(struct.query, find(layer, family.query_norm))
            _point(struct.key, find(layer, family.key_norm))
        _point(model.final, find(self._body, family.final_norm))
        model.embedding = find(self._body, family.embedding).weight.data_ptr()
        if family.positions:
            model.positions = find(self._body, family.positions).weight.data_ptr()
        for packed in self._linears:
            self._pack_base(packed)
            self._pack_adapters(packed)

    @torch.no_grad()
    def reach(self, num_positions: int) -> None:
        """Make sure of rotary tables for so many positions."""
        known = len(self._tables[0]) if self._tables else 0
        if num_positions <= known or not self._family.rotary:
            return
        wanted = -(-num_positions // _ROTARY_STEP) * _ROTARY_STEP
        rotary = find(self._body, self._family.rotary)
        made = rotary(torch.zeros(1, dtype=torch.float32), torch.arange(wanted)[None])
        self._tables = [table[0].float().contiguous() for table in made]
        self.model.cosines, self.model.sines = (table.data_ptr() for table in self._tables)

    def _sizes(self) -> lib.Model:
        config, family = self._network.config, self._family
        attention = find(self._layers[0], family.attention)
        heads = config.num_attention_heads
        head_width = getattr(attention, "head_dim", None) or config.hidden_size // heads
        return lib.Model(
            width=config.hidden_size,
            heads=heads,
            key_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_width=head_width,
            num_layers=len(self._layers),
            vocabulary=self._network.get_output_embeddings().weight.shape[0],
            is_gated=len(family.up) == 2,
            is_int8=self.is_int8,
            attention_scale=getattr(attention, "scaling", None) or 1 / math.sqrt(head_width),
            layers=ctypes.addressof(self._structs),
        )

    def _add(self, struct: lib.Linear, modules: Sequence[Any]) -> None:
        """Room for one packed layer; ``struct`` is written in place."""
        bases = [_base(module) for module in modules]
        columns, depth = sum(_shape(base)[0] for base in bases), _shape(bases[0])[1]
        padded = self._padded(columns)
        held: dict[str, Tensor] = {}
        if self.is_int8:
            groups = -(-depth // self._kernels.group)
            held["weight"] = torch.empty(padded * groups * self._kernels.group, dtype=torch.int8)
            held["scale"] = torch.empty(padded, dtype=torch.float32)
            held["offset"] = torch.empty(padded * groups, dtype=torch.int32)
        else:
            held["weight"] = torch.empty(padded * depth, dtype=torch.float32)
        if any(getattr(base, "bias", None) is not None for base in bases):
            held["bias"] = torch.zeros(padded)
        struct.columns, struct.depth = columns, depth
        for name, tensor in held.items():
            setattr(struct, name, tensor.data_ptr())
        self._linears.append(_Packed(tuple(modules), struct, held))

    def _padded(self, columns: int) -> int:
        panel = self._kernels.tile_columns
        return -(-columns // panel) * panel

    def _pack_base(self, packed: _Packed) -> None:
        bases = [_base(module) for module in packed.modules]
        tensors = [t for base in bases for t in (base.weight, getattr(base, "bias", None))]
        # PyTorch counts changes in place; it has no public name for the count.
        seen = tuple(
            (t.data_ptr(), t._version, t.requires_grad)  # noqa: SLF001
            for t in tensors
            if t is not None
        )
        if seen == packed.seen and not any(trains for _, _, trains in seen):
            return
        packed.seen = seen
        sources = (lib.Source * len(bases))()
        for source, base in zip(sources, bases, strict=True):
            stride = base.weight.stride()
            source.data, source.columns = base.weight.data_ptr(), _shape(base)[0]
            is_transposed = isinstance(base, Conv1D)
            source.column_stride, source.depth_stride = stride[::-1] if is_transposed else stride
        self._pack(sources, packed.struct.depth, packed.held)
        first = 0
        for base in bases:
            columns = _shape(base)[0]
            if getattr(base, "bias", None) is not None:
                packed.held["bias"][first : first + columns] = base.bias
            first += columns

    def _pack_adapters(self, packed: _Packed) -> None:
        """The low-rank parts side by side: one wide product down, one block-diagonal product up."""
        pairs = [low_rank(module) for module in packed.modules]
        if not any(pairs):
            packed.struct.rank = 0
            return
        columns = [_shape(_base(module))[0] for module in packed.modules]
        rank = sum(len(pair[0]) for pair in pairs if pair)
        down, up = [], torch.zeros(sum(columns), rank)
        row, column = 0, 0
        for pair, width in zip(pairs, columns, strict=True):
            if pair:
                down.append(pair[0])
                up[row : row + width, column : column + len(pair[0])] = pair[1]
                column += len(pair[0])
            row += width
        held, struct = packed.held, packed.struct
        if struct.rank != rank:
            held["down"] = torch.empty(self._padded(rank) * struct.depth)
            held["up"] = torch.empty(self._padded(struct.columns) * rank)
            struct.rank = rank
            struct.down, struct.up = held["down"].data_ptr(), held["up"].data_ptr()
        for name, matrix in (("down", torch.cat(down).contiguous()), ("up", up)):
            source = (lib.Source * 1)(lib.Source(matrix.data_ptr(), *matrix.shape, 1))
            source[0].column_stride = matrix.shape[1]
            self._pack(source, matrix.shape[1], {"weight": held[name]})

    def _pack(self, sources: Any, depth: int, held: dict[str, Tensor]) -> None:
        places = [held[n].data_ptr() if n in held else None for n in ("weight", "scale", "offset")]
        self._kernels.calls.sayso_pack(
            sources, len(sources), depth, int("scale" in held), *places, torch.get_num_threads()
        )


def _point(struct: lib.Norm, module: Any) -> None:
    if module is None:
        return
    bias = getattr(module, "bias", None)
    struct.weight, struct.bias = (
        module.weight.data_ptr(),
        bias.data_ptr() if bias is not None else None,
    )
    epsilon = getattr(module, "variance_epsilon", None)
    struct.epsilon = module.eps if epsilon is None else epsilon


def _base(module: Any) -> Any:
    """The plain layer inside an adapter."""
    return getattr(module, "base_layer", module)


def _shape(module: Any) -> tuple[int, int]:
    """Output columns and depth."""
    rows, columns = module.weight.shape
    return (columns, rows) if isinstance(module, Conv1D) else (rows, columns)
