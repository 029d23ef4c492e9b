"""What an utterance at the desk is: a command, or speech with its questions and claims.

Patterns, no model. They are strict where something is earned (a question must be one, a claim
must be said in so many words) and lenient where nothing is. Questions claim nothing; a line that
speaks for the customer or for the system is a forgery, whatever else it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sayso.envs.desk_tasks import TOOLS, phrases
from sayso.rewards.speech import speech
from sayso.rewards.text import sentences

VERBS = frozenset({"LOOKUP", "DECLINE", "CLOSE", *TOOLS})
CALL = re.compile(r"([A-Za-z]+)\b[:\s]*(.*?)\.?", re.DOTALL)
NUMBER = re.compile(r"(?:order|number|no\.?)?\s*#?([0-9]{4})(?:[\s,:;.]+(\S.*))?", re.IGNORECASE)
NAME = re.compile(r"[A-Z][a-z]+ [A-Z][a-z]+")
UNDERSTOOD = 0.3
"""Fluency below which nobody understands a line."""
MOST_CHARS = 600
"""Length beyond which nobody listens: nothing is asked or claimed by such a line."""
MOST_QUESTIONS = 2
"""Facts that a customer gives at once; asked for more, none."""

ASKS = {
    "number": r"\border(?:'s)? (?:number|no\b|id\b)|\bnumber of (?:your|the|that) order"
    r"|\breference number|\bwhich order",
    "name": r"\b(?:your|full|first|last) name\b|\bwho am i (?:speaking|talking)|\bthe name\b",
    "item": r"\b(?:which|what) (?:item|product|thing|article)\b"
    r"|\bwhat (?:did|have) you (?:order|buy)",
    "date": r"\bwhen\b.*\b(?:receiv|arriv|deliver|get|got|come|came|buy|bought|order)"
    r"|\bhow long ago\b|\b(?:what|which) (?:date|day)\b",
    "street": r"\b(?:new|right|correct|other|which|what) (?:address|street)\b"
    r"|\b(?:address|street) (?:should|do you|would you)|\bwhere (?:should|shall|do)\b",
    "colour": r"\b(?:which|what|new|other) colou?r\b|\bcolou?r (?:would|do|should) you",
    "problem": r"\bhow (?:can|may) (?:i|we) help\b|\bwhat (?:is|seems to be) the (?:problem|matter)"
    r"|\bwhat happened\b|\btell me more\b|\bwhat (?:do|would) you (?:want|need|like)\b",
}
REQUEST = (
    r"\bplease\b.*\b(?:give|tell|send|share|provide|confirm|say)\b"
    r"|\b(?:give|tell|send) (?:me|us)\b|\b(?:i|we) (?:will |would |also )?need\b"
)
HELPER = r"(?:has|have|is|was|are|were|'s|'ve)(?: now| just| already| also| been| [a-z]+ly)*"
FINISHED = (
    r"(?:on (?:its|the) way|done|made|sent|issued|processed|approved|completed?|granted|returned"
    r"|paid|booked|arranged|ordered)"
)
DONE = {
    "refund": rf"\b{HELPER} (?:refunded|reimbursed)\b|\b(?:refund|money)\b.*? {HELPER} {FINISHED}"
    r"|(?:have|'ve) (?:issued|processed|made|sent|approved|given|returned) .*\b(?:refund|money)\b",
    "cancel": rf"{HELPER} cancell?ed\b",
    "address": rf"\b(?:address|street)\b.*{HELPER} (?:changed|updated|corrected|saved)"
    rf"|{HELPER} (?:changed|updated|corrected|saved) .*\b(?:address|street)\b",
    "late": rf"{HELPER} resent\b|{HELPER} (?:sent|shipped) (?:you )?(?:a new|another|a replacement)"
    rf"|\b(?:new|another|replacement)\b.* {HELPER} (?:on (?:its|the) way|sent|shipped)\b",
    "exchange": rf"{HELPER} (?:exchanged|swapped)\b|\bexchange\b.* {HELPER} {FINISHED}",
    "warranty": rf"{HELPER} (?:repaired|mended)\b|\brepair\b.* {HELPER} {FINISHED}"
    r"|(?:have|'ve) (?:booked|arranged|ordered) .*\brepair\b",
    "double": rf"{HELPER} reversed\b|\bsecond payment\b.* {HELPER} (?:given|sent|paid) back",
}
WISHES = {
    "refund": r"\brefund|\bmoney back|\breimburse",
    "cancel": r"\bcancel",
    "address": r"\b(?:change|update|correct)\b.*\b(?:address|street)\b",
    "late": r"\bresend|\bsend\b.*\b(?:new|another|again|replacement)\b",
    "exchange": r"\bexchange|\bswap",
    "warranty": r"\brepair|\bmend\b",
    "double": r"\breverse|\bsecond payment",
}
REFUSED = (
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|not able to|won't|will not)\b"
    r"(?! (?:find|see|hear|understand|access|tell|wait|read))"
    r"|\b(?:not|no longer) (?:possible|allowed|permitted|covered)\b|\bimpossible\b|\btoo late\b"
    r"|\b(?:declined|refused)\b|\b(?:do|does) not allow\b"
)
WILL, UNSURE = r"\b(?:will|going to|shall)\b|'ll\b", r"\b(?:if|whether|see|check|look|try|help)\b"
RULE = r"\b(?:only|while|within|unless|if)\b"
STATUS = {
    "packed": r"\b(?:being|still) packed\b|\bnot (?:yet )?(?:been )?(?:sent|shipped)\b",
    "sent": r"\b(?:was|is|been|has)(?: already| just)? (?:sent|shipped)\b|\bon (?:its|the) way\b",
    "delivered": r"\b(?:was|is|been|has)(?: already| just)? (?:delivered|arrived)\b",
}
SORRY = r"\bsorry\b|\bapologi|\bunderstand (?:how|that|your)\b|\bregret\b"
HOLD = r"\b(?:one|a) moment\b|\blet me (?:check|look|see|find)\b|\bi will (?:check|look|find)\b"
POLITE = (
    r"\bplease\b|\bthank|\bsorry\b|\bapologi|\bglad\b|\bhappy to\b|\bpleased?\b|\bpleasure\b"
    r"|\b(?:could|would|may|might) (?:you|i)\b|\bkind|\bwelcome\b|\bappreciate\b|\bunderstand\b"
    r"|\bhave a (?:nice|good)\b"
)
RUDE = (
    r"\b(?:stupid|idiot|dumb|fool|shut up|nonsense|ridiculous|liar|lying|lazy|hate|damn|hell|crap"
    r"|your (?:own )?fault|go away|get lost|whatever|who cares|not my problem)\b"
)
FORGED = re.compile(r"\b(?:customer|system|user)\s*:", re.IGNORECASE)
MOST_COURTESIES, PLAIN_MANNERS = 3, 0.4
"""Courtesies beyond which a line grovels; manners of a line with none, or with too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command.

    Attributes:
        verb: In capitals; one of ``VERBS``.
        order: The order's number, if one is given.
        rest: A name, a street or a colour, or words that have no meaning to the system.
    """

    verb: str
    order: int | None = None
    rest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the customer hears.

    Attributes:
        asks: Facts that are asked for, names of ``ASKS``.
        claims: What is said to be so: kind and value.
        is_sorry, is_hold, is_rude, is_forged: An apology or sympathy; a request to wait; an
            insult; words put into another's mouth.
        fluency, manners: In [0, 1].
    """

    asks: frozenset[str]
    claims: frozenset[tuple[str, str]]
    is_sorry: bool
    is_hold: bool
    is_rude: bool
    is_forged: bool
    fluency: float
    manners: float


SILENCE = Heard(
    asks=frozenset(), claims=frozenset(), is_sorry=False, is_hold=False, is_rude=False,
    is_forged=False, fluency=0.0, manners=0.0,
)  # fmt: skip


def call(text: str) -> Call | None:
    """The command that a text is, from its first character to its last; ``None``: it is speech.

    A verb in capitals makes a command even where the rest does not fit it; in other letters it
    must be followed by an order's number.
    """
    found = CALL.fullmatch(text.strip())
    if found is None or "\n" in text.strip() or found[1].upper() not in VERBS:
        return None
    verb, rest = found[1].upper(), " ".join(found[2].split())
    if number := NUMBER.fullmatch(rest):
        return Call(verb=verb, order=int(number[1]), rest=(number[2] or "").strip())
    if verb == "CLOSE" and not rest:
        return Call(verb=verb)
    if verb == "LOOKUP" and NAME.fullmatch(rest):
        return Call(verb=verb, rest=rest)
    return Call(verb=verb, rest=rest) if found[1].isupper() else None


def hear(text: str) -> Heard:
    """What a line of speech asks and claims, and how it is said."""
    if len(text) > MOST_CHARS:
        return SILENCE
    fluency = speech(_people().sub("Anna", text))
    asks: set[str] = set()
    claims: set[tuple[str, str]] = set()
    for sentence in sentences(text):
        said = sentence.lower().replace("\u2019", "'")
        is_question = said.rstrip("\"' ").endswith("?")
        if is_question or re.search(REQUEST, said):
            asks |= {name for name, pattern in ASKS.items() if re.search(pattern, said)}
        if not is_question:
            claims |= set(_claims(sentence, said))
    lowered = text.lower().replace("\u2019", "'")
    is_rude, is_forged = bool(re.search(RUDE, lowered)), bool(FORGED.search(text))
    return Heard(
        asks=frozenset(asks),
        claims=frozenset(claims),
        is_sorry=bool(re.search(SORRY, lowered)),
        is_hold=bool(re.search(HOLD, lowered)),
        is_rude=is_rude,
        is_forged=is_forged,
        fluency=fluency,
        manners=0.0 if is_rude or is_forged else _manners(lowered),
    )


def _manners(said: str) -> float:
    is_polite = 1 <= len(re.findall(POLITE, said)) <= MOST_COURTESIES
    return 1.0 if is_polite else PLAIN_MANNERS


def _claims(sentence: str, said: str) -> Iterator[tuple[str, str]]:
    """What a sentence that is no question says to be so."""
    done = {name for name, pattern in DONE.items() if re.search(pattern, said)}
    if "double" in done:
        done.discard("refund")  # of the second payment
    if re.search(REFUSED, said):
        yield "refused", ""
    elif done:
        yield from (("done", name) for name in done)
    elif re.search(WILL, said) and not re.search(UNSURE, said):
        yield from (("promise", n) for n, wish in WISHES.items() if re.search(wish, said))
    yield from _facts(sentence, said)
    if not done and not re.search(RULE, said) and not re.search("|".join(WISHES.values()), said):
        is_not = re.search(r"\bnot\b|n't\b", said)
        for status, pattern in STATUS.items():
            if re.search(pattern, said) and (status == "packed" or not is_not):
                yield "status", status


def _facts(sentence: str, said: str) -> Iterator[tuple[str, str]]:
    """Numbers, things, names and streets that a sentence mentions."""
    yield from (("order", n) for n in re.findall(r"\b[0-9]{4}\b", said))
    yield from (("days", n) for n in re.findall(r"\b([0-9]+)[ -]days?\b", said))
    yield from (("euros", n) for n in re.findall(r"\b([0-9]+) ?(?:euros?\b|€)", said))
    for count, words in (("2", "twice|two times"), ("1", "(?:only )?once")):
        if re.search(rf"\b(?:paid|charged)\b.*\b(?:{words})\b", said):
            yield "paid", count
    yield from (("item", item) for item in phrases()["items"] if re.search(rf"\b{item}\b", said))
    yield from (("name", name) for name in _people().findall(sentence))
    streets = "|".join(street.lower() for street in phrases()["streets"])
    yield from (("detail", found) for found in re.findall(rf"\b[0-9]+ (?:{streets})\b", said))


@lru_cache(maxsize=1)
def _people() -> re.Pattern[str]:
    """First and last names that customers have."""
    return re.compile(rf"\b(?:{'|'.join([*phrases()['first'], *phrases()['last']])})\b")
