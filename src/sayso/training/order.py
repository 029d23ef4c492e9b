"""Which tasks a step works on: a fresh derived permutation every epoch, nothing carried."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sayso.errors import EnvContractError
from sayso.seeds import generator
from sayso.types import Task


class TaskOrder:
    """Blocks of different tasks, decided by the run's seed and the block's number alone.

    An epoch is ``len(tasks) // block_size`` blocks of one permutation; the few tasks left over
    are met in later epochs. So no block holds a task twice and a resumed run meets the tasks
    that an unbroken one meets.

    Attributes:
        block_size: Tasks per block, at most ``len(tasks)``.
    """

    def __init__(self, tasks: Sequence[Task], block_size: int, *, seed: int) -> None:
        if not tasks:
            raise EnvContractError(
                where="tasks to train on", problem="the split is empty.", fix="Name another split."
            )
        self.tasks, self.seed = tasks, seed
        self.block_size = min(block_size, len(tasks))
        self._blocks_per_epoch = len(tasks) // self.block_size

    def block(self, index: int, *, but: Collection[str] = ()) -> list[Task]:
        """Tasks of block ``index``, all different, without those whose ids are in ``but``."""
        epoch, place = divmod(index, self._blocks_per_epoch)
        order = generator(self.seed, "task order", epoch).permutation(len(self.tasks))
        start = place * self.block_size
        chosen = [self.tasks[int(i)] for i in order[start : start + self.block_size]]
        return [task for task in chosen if task.id not in but]
