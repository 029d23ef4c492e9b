"""How the tokens of a packed row hang together: prompts, and branches that continue them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours in a row that are computed together: a prompt, or branches of one length."""

    is_prompt: bool
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class Forest:
    """How the tokens of a packed row hang together.

    Attributes:
        trees: For each tree, in the order of the row: tokens of the prompt, tokens of each branch.
            A branch continues the prompt and sees no other branch.
    """

    trees: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def num_tokens(self) -> int:
        """Length of the row."""
        return sum(prompt + sum(branches) for prompt, branches in self.trees)

    def runs(self) -> list[Run]:
        """The row from left to right; every prompt before its branches, an empty one too."""
        found = []
        for prompt, branches in self.trees:
            found.append(Run(is_prompt=True, count=1, length=prompt))
            lengths = itertools.groupby(branches)
            found += [Run(is_prompt=False, count=len([*g]), length=n) for n, g in lengths]
        return found

    def mask(self, device: torch.device | str = "cpu") -> Bool[Tensor, "t t"]:
        """Entry [i, j]: token i may look at token j: itself, or earlier in the same text."""
        sizes = [[prompt, *branches] for prompt, branches in self.trees]
        tree = [n for n, parts in enumerate(sizes) for _ in range(sum(parts))]
        branch = [n for parts in sizes for n, part in enumerate(parts) for _ in range(part)]
        of_tree, of_branch = (torch.tensor(x, device=device) for x in (tree, branch))
        order = torch.arange(len(tree), device=device)
        same_text = (of_branch == 0) | (of_branch[:, None] == of_branch)
        return (of_tree[:, None] == of_tree) & same_text & (order[:, None] >= order)
