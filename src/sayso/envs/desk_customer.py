"""The customer and the order system of ``sayso/Desk-v0``: what they know, say and do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sayso.envs.desk_speech import MOST_QUESTIONS, UNDERSTOOD, Call, Heard, call, hear
from sayso.envs.desk_tasks import GOALS, PATIENCE, TOOLS, is_allowed, phrases, rule_line

MAX_TURNS = 12
"""Turns after which every customer has left."""
SLACK = 5
"""Turns beyond the fewest after which nothing is left of the part ``turns``."""
WEIGHTS: Mapping[str, float] = {
    "asked": 0.05,
    "looked_up": 0.10,
    "right": 0.45,
    "told": 0.10,
    "turns": 0.10,
    "polite": 0.10,
    "fluent": 0.10,
}
"""What is earned; together 1."""
WRONG, UNSETTLED, FALSE, MOST_FALSE = -0.3, -0.2, -0.1, 3
"""What is lost: by the wrong outcome, by none at all, by each line with a false claim and how
often at most."""
OTHER = {"status": "delivered", "days": 400, "price": 20, "times_paid": 1}
"""Record of a customer's other order."""
PARTS = ("progress", "resolved", "told", "turns", "polite", "fluent", "consistent")


@dataclass(slots=True)
class Talk:
    """One conversation; everything that an oracle may see.

    Attributes:
        facts: The task's payload.
        known: Facts that the customer has told, names of ``desk_speech.ASKS``; ``"no_number"``:
            that there is none.
        numbers: Order numbers that the customer has told.
        seen: Orders whose record was shown.
        listed: Orders that the system named, without their record.
        missing: Numbers that the system does not have.
        settled: Verb and number of the command that decided the matter.
        is_right: It was decided as the rules say.
        knows_outcome: The customer was told the true outcome.
        is_identified: The customer told what the order can be found by.
        ended: ``"closed"``, ``"left"`` or empty while it goes on.
    """

    facts: Mapping[str, Any]
    known: set[str] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    listed: dict[int, str] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    settled: tuple[str, int] | None = None
    is_right: bool = False
    knows_outcome: bool = False
    is_identified: bool = False
    ended: str = ""
    patience: int = 0
    num_turns: int = 0
    num_false: int = 0
    has_apologised: bool = False
    has_held: bool = False
    said: list[str] = field(default_factory=list)
    fluency: list[float] = field(default_factory=list)
    manners: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.patience = PATIENCE[self.facts["mood"]]

    @property
    def allowed(self) -> bool:
        """Whether the rules grant the wish."""
        return is_allowed(self.facts)

    @property
    def has_record(self) -> bool:
        """Whether the record of the order in question was shown."""
        return self.facts["order"] in self.seen

    @property
    def fewest_turns(self) -> int:
        """Turns that the matter takes when nothing goes wrong."""
        is_ambiguous = self.facts["memory"] != "right" and self.facts["other"] is not None
        return 4 + bool(GOALS[self.facts["goal"]].tool) + is_ambiguous

    def opening(self, rng: np.random.Generator) -> str:
        """What the customer says first."""
        return f"{_one(rng, phrases()['moods'][self.facts['mood']])} {self._wish()}"

    def _wish(self) -> str:
        opening = self.facts["opening"]
        if isinstance(opening, str):
            return opening
        found = phrases()["openings"][self.facts["goal"]][opening]
        return str(found.format(item=self.facts["item"]))

    def card(self) -> str:
        """The commands and rules that the first observation shows."""
        return "\n".join(rule_line(name, window) for name, window in self.facts["rules"])

    def step(self, text: str, rng: np.random.Generator) -> tuple[str, dict[str, float]]:
        """One turn of the agent: the answer, and the parts of the reward."""
        parts = dict.fromkeys(PARTS, 0.0)
        self.num_turns += 1
        found = call(text)
        if found is not None:
            reply = f"System: {self._execute(found, parts)}"
        else:
            reply = f"Customer: {self._answer(text, parts, rng)}"
        if not self.ended and (self.patience <= 0 or self.num_turns >= MAX_TURNS):
            self.ended = "left"
            reply += f"\nCustomer: {self._say('leaves', rng)}"
        if self.ended:
            self._finish(parts)
        return reply, parts

    def _finish(self, parts: dict[str, float]) -> None:
        """What the end earns or costs."""
        if self.settled is None and not self.is_right:
            parts["resolved"] += UNSETTLED
        elif self.ended == "closed" and self.is_right and self.knows_outcome:
            late = max(0.0, (self.num_turns - self.fewest_turns) / SLACK)
            parts["turns"] = WEIGHTS["turns"] * max(0.0, 1.0 - late)
            parts["polite"] = WEIGHTS["polite"] * float(np.mean(self.manners))
            parts["fluent"] = WEIGHTS["fluent"] * float(np.mean(self.fluency))

    def _execute(self, made: Call, parts: dict[str, float]) -> str:
        """The system does what it is told, even what the rules forbid: that is the agent's part."""
        needs = GOALS[TOOLS[made.verb]].detail if made.verb in TOOLS else ""
        is_name = made.verb == "LOOKUP" and made.order is None
        if made.rest and not needs and not is_name:
            self.fluency.append(0.0)  # carried out all the same: it is how small models begin
        if made.verb == "CLOSE":
            self.ended = "closed"
            return "closed."
        if made.verb == "LOOKUP":
            return self._look_up(made, parts)
        obstacle = self._obstacle(made)
        if obstacle or made.order is None:
            return obstacle
        self.settled = (made.verb, made.order)
        self.is_right = self._is_right(made)
        if self.is_right:
            parts["resolved"] += WEIGHTS["right"]
            parts["told"] += WEIGHTS["told"] * self.knows_outcome
        else:
            parts["resolved"] += WRONG
        return f"{made.verb} {made.order} is done."

    def _obstacle(self, made: Call) -> str:
        """Why an outcome cannot be booked; empty: it can."""
        detail = GOALS[TOOLS[made.verb]].detail if made.verb in TOOLS else ""
        if made.verb in TOOLS and TOOLS[made.verb] not in dict(self.facts["rules"]):
            return f"there is no {made.verb} here."
        if made.order is None:
            return f"write it as {made.verb} and the order's number."
        if made.order not in self.seen:
            return "look the order up first."
        if self.settled is not None:
            return "the matter is settled already."
        return f"{made.verb} needs the new {detail} as well." if detail and not made.rest else ""

    def _is_right(self, made: Call) -> bool:
        goal = GOALS[self.facts["goal"]]
        right = "DECLINE" if not self.allowed else goal.tool
        is_fitting = not goal.detail or made.verb == "DECLINE" or self._is_detail(made.rest)
        is_order = made.order == self.facts["order"]
        return bool(made.verb == right and is_order and is_fitting)

    def _is_detail(self, text: str) -> bool:
        return bool(text.lower().strip(" .") == self.facts["detail"].lower())

    def _look_up(self, made: Call, parts: dict[str, float]) -> str:
        facts, other = self.facts, self.facts["other"]
        orders = {order["order"]: order["item"] for order in (facts, other) if order}
        number = made.order
        if number is None and made.rest.lower() == facts["name"].lower():
            self.listed |= orders
            if len(orders) > 1:
                return f"{facts['name']} has {_listing(orders)}."
            number = facts["order"]
        if number is None:
            return f"nobody is called {made.rest}." if made.rest else "LOOKUP number or name."
        if number not in orders:
            self.missing.add(number)
            return f"there is no order {number}."
        if number == facts["order"] and not self.has_record:
            parts["progress"] += WEIGHTS["looked_up"]
        self.seen.add(number)
        if number != facts["order"]:
            return self._record(other | OTHER)
        return self._record(facts)

    def _record(self, order: Mapping[str, Any]) -> str:
        """An order as the system shows it."""
        when = {
            "packed": "being packed",
            "sent": f"sent {order['days']} days ago",
            "delivered": f"delivered {order['days']} days ago",
        }[order["status"]]
        return (
            f"order {order['order']}: {order['item']}, {self.facts['name']}, {order['price']} "
            f"euros, paid {'once' if order['times_paid'] == 1 else 'twice'}, {when}."
        )

    def _answer(self, text: str, parts: dict[str, float], rng: np.random.Generator) -> str:
        """The customer's reply to speech."""
        heard = hear(text)
        is_new = " ".join(text.lower().split()) not in self.said
        self.said.append(" ".join(text.lower().split()))
        self.fluency.append(heard.fluency * is_new)
        self.manners.append(heard.manners * is_new)
        false = {claim for claim in heard.claims if not self.is_true(*claim)}
        if (false or heard.is_forged) and self.num_false < MOST_FALSE:
            self.num_false += 1
            parts["consistent"] += FALSE
        if heard.is_forged or heard.is_rude or heard.fluency < UNDERSTOOD:
            self._bear(2 if heard.is_rude else 1)
            cause = "forged" if heard.is_forged else "rude" if heard.is_rude else "lost"
            return self._say(cause, rng)
        if heard.asks:
            return self._tell(heard, parts, rng)
        outcome = self._hear_outcome(heard, parts, is_honest=not false)
        return self._say(outcome, rng) if outcome else self._small_talk(heard, rng)

    def _hear_outcome(self, heard: Heard, parts: dict[str, float], *, is_honest: bool) -> str:
        """What the customer says to an outcome, believing what is said; empty: it was none."""
        kinds = {kind for kind, _ in heard.claims}
        outcomes = {"status"} if not GOALS[self.facts["goal"]].tool else {"done", "refused"}
        if not kinds & outcomes:
            return ""
        if is_honest and not self.knows_outcome:
            self.knows_outcome = True
            is_open = self.settled is None and outcomes == {"status"}
            if is_open:
                self.is_right = True
                parts["resolved"] += WEIGHTS["right"]
            parts["told"] += WEIGHTS["told"] * self.is_right
        else:
            self._bear(1)
        return "resigned" if "refused" in kinds else "content"

    def _small_talk(self, heard: Heard, rng: np.random.Generator) -> str:
        """A first apology and a first "one moment" are welcome; the rest wastes time."""
        if heard.is_sorry and not self.has_apologised:
            self.has_apologised = True
            return self._say("calmed", rng)
        if heard.is_hold and not self.has_held:
            self.has_held = True
        else:
            self._bear(1)
        return self._say("waits", rng)

    def _tell(self, heard: Heard, parts: dict[str, float], rng: np.random.Generator) -> str:
        """The customer's answer to questions."""
        self.has_apologised |= heard.is_sorry
        if len(heard.asks) > MOST_QUESTIONS:
            self._bear(1)
            return self._say("one_thing", rng)
        return " ".join(self._fact(name, parts, rng) for name in sorted(heard.asks))

    def _fact(self, name: str, parts: dict[str, float], rng: np.random.Generator) -> str:
        """One fact, and what its being told earns."""
        goal, facts = GOALS[self.facts["goal"]], self.facts
        if name in ("street", "colour") and name != goal.detail:
            self._bear(1)
            return self._say("lost", rng)
        if name == "number":
            name = "number" if self._has_number() else "no_number"
        is_again = name in self.known
        if is_again or name == "problem":
            self._bear(1)
        self.known.add(name)
        if name == "number":
            self.numbers = [facts["order" if facts["memory"] == "right" else "wrong_order"]]
        if name == "name" or (name == "number" and facts["memory"] == "right"):
            parts["progress"] += 0.0 if self.is_identified else WEIGHTS["asked"]
            self.is_identified = True
        kind = "no_date" if name == "date" and facts["status"] != "delivered" else name
        reminder = f"{self._say('again', rng)} " if is_again else ""
        return f"{reminder}{self._say(kind, rng)}"

    def _has_number(self) -> bool:
        """Whether the customer has a number to tell, right or wrong."""
        is_wrong = self.facts["memory"] == "wrong"
        return self.facts["memory"] == "right" or (
            is_wrong and self.facts["wrong_order"] not in self.missing
        )

    def is_true(self, kind: str, value: str) -> bool:
        """Whether a claim agrees with what the agent can know: unsupported is false."""
        facts = self.facts
        if kind == "days" and value in {str(window) for _, window in facts["rules"] if window}:
            return True
        told = {
            "order": {str(n) for n in {*self.numbers, *self.seen, *self.listed} - self.missing},
            "item": {facts["item"], *self.listed.values()},
            "name": set(facts["name"].split()),
            "detail": {facts["detail"].lower()} if self._has_detail() else set(),
        }
        return value in told[kind] if kind in told else self._is_on_record(kind, value)

    def _has_detail(self) -> bool:
        return GOALS[self.facts["goal"]].detail in self.known

    def _is_on_record(self, kind: str, value: str) -> bool:
        """Whether a claim agrees with the record and the rules, once the record was shown."""
        facts = self.facts
        holds = {
            "done": self.settled is not None and TOOLS.get(self.settled[0]) == value,
            "refused": not self.allowed,
            "promise": self.allowed and value == facts["goal"],
            "status": value == facts["status"],
            "days": value == str(facts["days"]),
            "euros": value == str(facts["price"]),
            "paid": value == str(facts["times_paid"]),
        }
        return self.has_record and holds[kind]

    def _bear(self, num: int) -> None:
        """Patience that a useless turn costs; twice as much until somebody is sorry."""
        is_angry = self.facts["mood"] == "upset" and not self.has_apologised
        self.patience -= num * (2 if is_angry else 1)

    def _say(self, kind: str, rng: np.random.Generator) -> str:
        facts = self.facts
        number = self.numbers[-1] if self.numbers else 0
        told = {**facts, "order": number, "opening": self._wish()}
        return str(_one(rng, phrases()["said"][kind])).format(**told)


def _listing(orders: Mapping[int, str]) -> str:
    """Orders of one person, in the order of their numbers."""
    found = " and ".join(f"{number} {orders[number]}" for number in sorted(orders))
    return f"{len(orders)} orders: {found}"


def _one(rng: np.random.Generator, pool: Any) -> Any:
    return pool[int(rng.integers(len(pool)))]
