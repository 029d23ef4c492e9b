"""``sayso/Desk-v0``: customer service, with a simulated customer, orders and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sayso.envs.base import Observation, TextEnv
from sayso.envs.desk_acts import ACTS, PLAYERS, acts, by_the_book, names_of
from sayso.envs.desk_customer import FALSE, MOST_FALSE, WEIGHTS, WRONG, Talk
from sayso.envs.desk_state import STATE, state_of
from sayso.envs.desk_tasks import ENV_ID, GOALS, customer, tasks
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Chat, Message
from sayso.errors import EnvContractError
from sayso.seeds import generator
from sayso.types import Task

PROMPT = (
    "You answer the customers of a shop. In each turn write one line: a polite sentence to the "
    "customer, or a command.\n"
    "LOOKUP number, or LOOKUP name: shows the order.\n"
    "{card}\n"
    "DECLINE number: when its rule forbids what the customer wants.\n"
    "CLOSE: at the end, when the customer knows the outcome.\n"
    "Customer: {opening}"
)
NEXT = "System: closed.\n\nThe next customer. The rules now:\n{card}\nCustomer: {opening}"
"""What follows an example of a talk."""
EXAMPLE = customer(
    "cancel",
    {
        "order": 1234,
        "item": "chair",
        "name": "Tom Hill",
        "status": "packed",
        "days": 0,
        "price": 20,
        "times_paid": 1,
    },
    rules={"refund": 30, "cancel": 0, "late": 10},
    opening="Please cancel the chair.",
)


@lru_cache(maxsize=1)
def example() -> tuple[Message, ...]:
    """A talk by the book, as messages that end with ``CLOSE``: one example in the context."""
    talk, rng = Talk(EXAMPLE), generator(0, ENV_ID, "example")
    shown = PROMPT.format(card=talk.card(), opening=talk.opening(rng))
    found = []
    while not talk.ended:
        said = acts(talk)[by_the_book(talk)]
        found += [Message("user", shown), Message("assistant", said)]
        shown, _ = talk.step(said, rng)
    return tuple(found)


class DeskEnv(TextEnv):
    """Find out what a customer wants and do what the rules allow: ask, look up, resolve, tell.

    A turn is one line: speech to the customer, or a command to the order system. What the
    customer knows is told when asked for; what the rules need stands in the order's record. The
    system carries out whatever it is told, right or wrong, once. The episode ends with ``CLOSE``,
    or when the customer leaves: out of patience, or after 12 turns; all of these are real ends.

    The reward is the sum of its parts, from -0.6 to 1; over an episode:

    - ``progress``: 0.05 when the customer tells what the order can be found by, 0.10 when its
      record is first shown.
    - ``resolved``: 0.45 for the outcome that the rules ask for, -0.30 for any other, -0.20 for
      none at the end.
    - ``told``: 0.10 when the customer also knows it.
    - ``turns``, ``polite``, ``fluent``: up to 0.10 each, at ``CLOSE``, if all of that was done: the
      turns beyond the fewest possible; the means over the agent's speech. Words after a command
      change nothing, but count as a line of no fluency.
    - ``consistent``: -0.10 for each line with a claim that the record contradicts or nothing
      supports, and for words put into another's mouth; at most -0.30.

    ``info["choices"]`` lists dialogue acts, as ``desk_acts.acts`` words them.

    Args:
        remind: Each observation ends with the names of the commands.
        list_choices: Give ``info["choices"]``.
        with_example: Observations are messages, and the first shows a talk by the book before
            the customer's own. A small model writes commands from the start when it has seen some.
    """

    parts_are_summed = True
    reward_low, reward_high = WRONG + MOST_FALSE * FALSE, 1.0
    part_low, part_high = min(WRONG, MOST_FALSE * FALSE), WEIGHTS["right"]
    scripted: Mapping[str, Scripted] = PLAYERS
    act_names: Sequence[str] = ACTS
    """Every act that ``info["choices"]`` may list, in its order."""
    state_names: Sequence[str] = STATE
    """What ``state_of`` gives."""

    def __init__(
        self, *, remind: bool = True, list_choices: bool = True, with_example: bool = False
    ) -> None:
        self.remind, self.list_choices, self.with_example = remind, list_choices, with_example
        if with_example:
            self.observation_space = Chat()
        self._talk: Talk | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """Customers; those of ``unseen`` want what nobody in ``train`` does."""
        return tasks(split)

    @property
    def talk(self) -> Talk:
        """The conversation in progress; what an oracle may see."""
        if self._talk is None:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came before reset.", fix="Call reset first."
            )
        return self._talk

    def names_of(self, listed: Sequence[str]) -> list[str]:
        """Which of ``act_names`` the choices of one moment are."""
        return names_of(listed)

    def state_of(self, conversation: str, listed: Sequence[str]) -> list[float]:
        """The dialogue state as numbers; see ``desk_state.state_of``."""
        return state_of(conversation, listed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A customer writes."""
        super().reset(seed=seed)
        talk = self._talk = Talk(self.choose(seed, options).payload)
        opening = talk.opening(self.np_random)
        before = example() if self.with_example else ()
        shown = (NEXT if before else PROMPT).format(card=talk.card(), opening=opening)
        return self._shown(f"{shown}{self._reminder()}", before), self._info()

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Say or do something; the customer or the system answers."""
        talk = self.talk
        if talk.ended:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came after the end.", fix="Call reset first."
            )
        reply, parts = talk.step(action, self.np_random)
        info, is_over = {**self._info(), "reward_parts": parts}, bool(self.talk.ended)
        shown = reply if is_over else f"{reply}{self._reminder()}"
        return self._shown(shown), sum(parts.values()), is_over, False, info

    def _shown(self, text: str, before: tuple[Message, ...] = ()) -> Observation:
        return (*before, Message("user", text)) if self.with_example else text

    def _reminder(self) -> str:
        if not self.remind:
            return ""
        tools = [GOALS[name].tool for name, _ in self.talk.facts["rules"]]
        commands = ", ".join(["LOOKUP", *tools, "DECLINE"])
        return f"\n(A sentence to the customer, or {commands} or CLOSE.)"

    def _info(self) -> dict[str, Any]:
        return {"choices": list(acts(self.talk).values())} if self.list_choices else {}
