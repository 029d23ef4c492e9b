"""What the training loop needs from an algorithm, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Policy
from sayso.types import Episode


@runtime_checkable
class Selective(Protocol):
    """A learner that does not learn from all of a stored data set."""

    def select(self, stored: Sequence[Episode]) -> Sequence[Episode]:
        """The stored episodes to learn from.

        Asked whenever a run starts or goes on, so the data alone may decide.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """What one update needs from the environment.

    Attributes:
        tasks_per_step: Different tasks (prompts) per update.
        group_size: Attempts at each.
        max_resample_rounds: Dynamic sampling (DAPO): how many more rounds of fresh tasks may
            replace groups whose rewards are all equal; 0 keeps such groups.
        stored_together: Stored episodes that belong together, side by side in the data, such as
            the two of a preference: a batch holds all or none of them.
    """

    tasks_per_step: int
    group_size: int
    max_resample_rounds: int = 0
    stored_together: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An optimiser step that was not taken because a number was not finite."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """A finding that must stop the run, for example a sampler that disagrees with the trainer.

    Attributes:
        problem: What was found, with the values.
        fix: What to do.
    """

    problem: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one ``Learner.update`` did.

    Attributes:
        metrics: Exact partial means, keyed ``"<group>/<name>_<unit>"``.
        num_optimiser_steps: Steps taken.
        skipped: Steps refused by the finite guard; weights and optimiser are bit-unchanged by
            each of them.
        warnings: Sentences for the user about things that would otherwise pass in silence.
        fatal: Why the run must stop, if it must.
    """

    metrics: Mapping[str, Mean]
    num_optimiser_steps: int
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    fatal: Fatal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerState:
    """Everything ``load_state`` needs to go on as if never stopped. No pickle: two plain forms.

    Attributes:
        tensors: Weights that are trained, optimiser moments, heads. Saved as safetensors.
        values: Step counts, controllers, baselines. JSON values only.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionValues:
    """What a critic expects at the decisions of one episode.

    Attributes:
        values: One number per action token, in reward units; NaN where it says nothing. A critic
            of whole utterances speaks at their last tokens.
        kind: ``"q"``: value of the token taken, once it is; ``"v"``: of the context before it.
        gamma_token: Discount that the values are about, between tokens of a turn.
        gamma_turn: The same, between turns.
    """

    values: NDArray[np.float64]
    kind: Literal["q", "v"]
    gamma_token: float = 1.0
    gamma_turn: float = 1.0


@runtime_checkable
class HasValues(Protocol):
    """A learner with a critic that can be asked, and so audited: see ``evaluation.audit``."""

    def action_values(self, episode: Episode) -> ActionValues:
        """What the critic expects at each action token. It changes nothing."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Turns episodes into parameter updates. No learner owns a loop."""

    lm: LanguageModel
    plan: RolloutPlan

    def sampler(self) -> Policy:
        """Who acts while training: exploration included."""
        ...

    def policy(self) -> Policy:
        """Who acts when it counts: what evaluation and deployment use."""
        ...

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Learn from new episodes (valid ones only) and whatever the learner remembers."""
        ...

    def state(self) -> LearnerState:
        """Everything ``load_state`` needs. Tensors are the live ones: read them, keep none."""
        ...

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        ...
