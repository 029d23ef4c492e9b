"""Which tasks or stored episodes a step works on: derived permutations, nothing carried."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sayso.errors import EnvContractError
from sayso.seeds import generator
from sayso.types import Episode, Task


class EpisodeOrder:
    """Batches of stored episodes, decided by the run's seed and the batch's number alone.

    The epochs, each a permutation of its own, follow each other without a gap, and a batch is the
    next piece of that row: all are full, and every episode is met as often as any other.

    Attributes:
        batch_size: Episodes per batch; more than there are is fine, some then come twice.
        together: Episodes side by side that stay so; batch size and data are multiples of it.
    """

    def __init__(
        self, episodes: Sequence[Episode], batch_size: int, *, seed: int, together: int = 1
    ) -> None:
        if batch_size % together or len(episodes) % together:
            raise ValueError(
                f"batches of {batch_size} out of {len(episodes)} episodes tear apart what belongs "
                f"together by {together}"
            )
        self.episodes, self.batch_size, self.seed = episodes, batch_size, seed
        self.together = together

    def batch(self, index: int) -> list[Episode]:
        """Episodes of batch ``index``."""
        places = order_of(
            index, self.batch_size // self.together, len(self.episodes) // self.together,
            seed=self.seed,
        )  # fmt: skip
        each = range(self.together)
        return [self.episodes[place * self.together + i] for place in places for i in each]

    def epoch(self, num_batches: int) -> float:
        """Times that the data has been met after so many batches."""
        return num_batches * self.batch_size / len(self.episodes)


def order_of(index: int, batch_size: int, num: int, *, seed: int) -> list[int]:
    """Places of batch ``index`` out of ``num`` things: permutation after permutation of them."""
    found: list[int] = []
    place = index * batch_size
    while len(found) < batch_size:
        epoch, start = divmod(place + len(found), num)
        order = generator(seed, "episode order", epoch).permutation(num)
        found += [int(i) for i in order[start : start + batch_size - len(found)]]
    return found


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
