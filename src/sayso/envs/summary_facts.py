"""Key facts of a document: which of them a summary states, and what it states that is not so.

Rules on words, no model. A fact is stated when one sentence holds all its parts, each in any of
its wordings. What is wrong is found from the other side: numbers, names and days that the document
does not have, numbers that it ties to something else ("300 fans" for "300 cars"), winner and loser
exchanged, up for down, a negation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sayso.rewards.constraints import stem
from sayso.rewards.text import sentences, words
from sayso.rewards.vocabulary import (
    FUNCTION_WORDS,
    MODALS,
    PREPOSITIONS,
    finite_verbs,
    lexicon,
    names,
    word_set,
)

Fact = Mapping[str, Any]
"""``kind``: its name. ``all``: groups of wordings; one sentence must hold a wording of each.
Perhaps ``units`` (nouns that its number counts), ``attached`` (groups that must hang on a
preposition or a verb: in a mere list nothing is said of them; ``titles`` too, if set),
``order`` (who did it to whom), ``wrong`` (opposites of its last group), ``never`` (wordings that
contradict it), ``rivals`` (values of something else, which contradict it ``unless`` a word tells
what they are of)."""
TOKEN = re.compile(
    r"\d+-\d+(?![\w-])|\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?|%|[^\W\d_]+(?:['-][^\W\d_]+)*"
)
UNITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
         "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen"]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NEGATIONS = frozenset({"not", "never", "no", "nobody", "none", "neither", "nor", "false", "untrue"})
DAYS = frozenset({"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"})
MONTHS = frozenset({"january", "february", "april", "june", "july", "august", "september",
                    "october", "november", "december"})  # fmt: skip
REPORTING = word_set(
    "said say told reported report according announced match game team event place held took final "
    "town city local people officials police state including total number during happened named "
    "became year month week day time also despite due result resulting caused causing brought "
    "front leaving made known home early late large big bring bringing cut cutting led lead saw "
    "see seen watch watched came come went left leave need needed"
)
"""Words that reports use of anything: never new."""
LINKS = frozenset({"last", "this", "the", "a", "an", "old", "new"})
NEW_WORDS_FREE = 0.12
"""Share of content words that the document need not have."""
INVENTED, CONTRADICTED = 0.4, 0.3
"""Factor of faithfulness for each invented number or name, and for each contradicted fact."""
MOST_INVENTED, MOST_CONTRADICTED = 3, 2
"""Beyond so many nothing more is lost: a policy that still makes up much must see what is less."""


def _number(word: str) -> str:
    """A number word as digits; ``one`` stays, for it is a pronoun more often."""
    tens, _, rest = word.partition("-")
    if word in UNITS[1:]:
        return str(UNITS.index(word) + 1)
    if tens in TENS and (not rest or rest in UNITS[:9]):
        return str(10 * (TENS.index(tens) + 2) + (UNITS.index(rest) + 1 if rest else 0))
    return word


def tokens(text: str) -> list[str]:
    """Words in lower case, without plural or possessive endings, and numbers as digits.

    ``4,200`` is ``4200``, ``twelve`` is ``12``; a score such as ``3-1`` is one token.
    """
    plain = text.replace("\u2013", "-").replace("\u2019", "'").lower()
    found = [_number(piece).replace(",", "") for piece in TOKEN.findall(plain)]
    return [piece if piece[0].isdigit() else stem(piece) for piece in found]


@lru_cache(maxsize=1)
def _verb_stems() -> frozenset[str]:
    """Finite verbs as ``tokens`` writes them."""
    return frozenset(map(stem, finite_verbs())) | {"scored", "score"}


def is_number(token: str) -> bool:
    """Whether a token is a number or a score."""
    return token[0].isdigit()


def places(found: Sequence[str], wording: str) -> list[int]:
    """Where a wording of one or several words begins in a sentence's tokens."""
    wanted = tokens(wording)
    size = len(wanted)
    if not size:
        return []
    return [i for i in range(len(found) - size + 1) if list(found[i : i + size]) == wanted]


def _any(found: Sequence[str], wordings: Iterable[str]) -> list[int]:
    return sorted({place for wording in wordings for place in places(found, wording)})


def states(found: Sequence[str], fact: Fact) -> bool:
    """Whether a sentence states a fact and does not turn it round."""
    if not all(_any(found, group) for group in fact["all"]) or contradicts(found, fact):
        return False
    hangs = all(
        any(_hangs(found, wording, _others(fact, index)) for wording in fact["all"][index])
        for index in fact.get("attached", ())
    )
    is_told = not fact.get("order", {}).get("must") or _order(found, fact) is True
    return hangs and is_told and (not fact.get("units") or _is_counted(found, fact))


def _others(fact: Fact, index: int) -> set[str]:
    """Words of a fact's other groups, where they may be titles before a name."""
    if not fact.get("titles"):
        return set()
    groups = [*fact["all"][:index], *fact["all"][index + 1 :]]
    return {token for group in groups for wording in group for token in tokens(wording)}


def _hangs(found: Sequence[str], wording: str, others: set[str]) -> bool:
    """Whether a wording hangs together with the sentence around it.

    It opens the sentence, follows a preposition, a verb, an article or a title (``mayor Anna
    Parker``), or has a verb after it.
    """
    before = PREPOSITIONS | _verb_stems() | others | LINKS
    for place in places(found, wording):
        after = place + len(tokens(wording))
        has_verb = after < len(found) and found[after] in _verb_stems() | MODALS | {"who", "which"}
        left = found[place - 1] if place else ""
        if not left or left in before or left.endswith(("ing", "ed")) or has_verb:
            return True
    return False


def _is_counted(found: Sequence[str], fact: Fact) -> bool:
    """Whether the number stands before a noun that it counts, or hangs on a word about it.

    ``4,200 fans``, ``a crowd of 4,200``, ``cost 12``; but not ``fans 4,200``.
    """
    units = {tokens(unit)[0] for unit in fact["units"]}
    cues = {token for group in fact["all"][1:] for wording in group for token in tokens(wording)}
    return any(
        units & set(found[place + 1 : place + 3])
        or (
            cues & set(found[max(0, place - 3) : place])
            and found[place - 1] in FUNCTION_WORDS | _verb_stems()
        )
        for place in _any(found, fact["all"][0])
    )


def contradicts(found: Sequence[str], fact: Fact) -> bool:
    """Whether a sentence says the opposite of a fact."""
    return (
        _order(found, fact) is False
        or _has_never(found, fact)
        or _has_rival(found, fact)
        or _is_nearer_wrong(found, fact)
    )


def _order(found: Sequence[str], fact: Fact) -> bool | None:
    """Who did it to whom: right, wrong, or not told.

    The first of the two names is the subject of the first verb after it; ``lost`` and ``defeated
    by`` turn it round.
    """
    order = fact.get("order")
    if not order:
        return None
    first, second = places(found, order["first"]), places(found, order["second"])
    if not first and not second:
        return None
    begins_with_first = not second or (bool(first) and first[0] < second[0])
    start = (first if begins_with_first else second)[0]
    signals = [
        (place, -len(wording.split()), is_reverse)
        for is_reverse, listed in ((False, order["verbs"]), (True, order["reverse"]))
        for wording in listed
        for place in places(found, wording)
        if place > start
    ]
    if not signals:
        return None
    _, _, is_reverse = min(signals)
    return begins_with_first is not is_reverse


def _has_never(found: Sequence[str], fact: Fact) -> bool:
    """A wording that contradicts: by itself if it names a value, else beside the fact's subject."""
    is_about = bool(_any(found, fact["all"][0]))
    for wording in fact.get("never", ()):
        is_whole = len(wording.split()) > 1 or wording[0].isdigit()
        if (is_whole or is_about) and places(found, wording):
            return True
    return False


def _has_rival(found: Sequence[str], fact: Fact) -> bool:
    """A day or month of something else, with no word that says so."""
    if not _any(found, fact.get("rivals", ())) or _any(found, fact["all"][0]):
        return False
    return not _any(found, fact.get("unless", ()))


def _is_nearer_wrong(found: Sequence[str], fact: Fact) -> bool:
    """An opposite stands nearer to the fact's value than a right word."""
    wrong, about = _any(found, fact.get("wrong", ())), _any(found, fact["all"][0])
    if not wrong or not about:
        return False
    right = _any(found, fact["all"][-1])
    gaps = [min(abs(place - at) for place in wrong) for at in about]
    others = [min((abs(place - at) for place in right), default=len(found)) for at in about]
    return min(gaps) < min(others)


def counted(found: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Numbers of a sentence with the content words, two at most, that follow at once."""
    pairs = []
    for index, token in enumerate(found):
        if not is_number(token):
            continue
        nouns: list[str] = []
        for other in found[index + 1 : index + 4]:
            if is_number(other) or len(nouns) == 2:
                break
            if other not in FUNCTION_WORDS:
                nouns.append(other)
            elif nouns or other != "more":
                break
        pairs.append((token, nouns))
    return pairs


def claims(document: Sequence[Sequence[str]], facts: Sequence[Fact]) -> dict[str, set[str]]:
    """What the document counts: by noun, the numbers that it ties to it."""
    found: dict[str, set[str]] = {}
    for sentence in document:
        for number, nouns in counted(sentence):
            for noun in nouns:
                found.setdefault(noun, set()).add(number)
    for fact in facts:
        for unit in fact.get("units", ()):
            for wording in fact["all"][0]:
                found.setdefault(tokens(unit)[0], set()).update(filter(is_number, tokens(wording)))
    return found


def coverage(text: str, facts: Sequence[Fact]) -> dict[str, float]:
    """Which facts a text states: 1 or 0 by kind. A negated sentence states none."""
    told = [found for found in map(tokens, sentences(text)) if not _negates(found)]
    return {fact["kind"]: float(any(states(found, fact) for found in told)) for fact in facts}


def _negates(found: Sequence[str]) -> bool:
    return any(token in NEGATIONS or token.endswith("n't") for token in found)


def faithfulness(text: str, document: str, facts: Sequence[Fact]) -> dict[str, float]:
    """How far a text keeps to a document, by parts in [0, 1]; their product is the whole.

    Args:
        text: The summary. Without words, every part is 0.
        document: The source.
        facts: What is known of it.

    Returns:
        ``numbers`` and ``names``: 0.4 for each that the document does not have. ``facts``: 0.3 for
        each contradicted one, each number tied to another noun than in the document, and each
        negated fact. ``claims``: 1 while at most 12 % of the content words are new, then
        falling as the square of the share that is not, to 0 when all are.
    """
    told, source = [tokens(s) for s in sentences(text)], [tokens(s) for s in sentences(document)]
    if not told:
        return dict.fromkeys(("numbers", "names", "facts", "claims"), 0.0)
    return {
        "numbers": INVENTED ** min(MOST_INVENTED, len(_invented_numbers(told, source))),
        "names": INVENTED ** min(MOST_INVENTED, len(_invented_names(text, document))),
        "facts": CONTRADICTED ** min(MOST_CONTRADICTED, _num_wrong(told, source, facts)),
        "claims": _claims_score(told, source, facts),
    }


def _invented_numbers(told: Sequence[Sequence[str]], source: Sequence[Sequence[str]]) -> set[str]:
    """Numbers that the document has neither as such nor as a part of a score."""
    known = {token for sentence in source for token in sentence if is_number(token)}
    single = {number for number in known if "-" not in number}
    parts = {part for number in known for part in number.split("-")}
    return {
        token
        for sentence in told
        for token in sentence
        if is_number(token)
        and token not in known | parts
        and not ("-" in token and set(token.split("-")) <= single)
    }


def _invented_names(text: str, document: str) -> set[str]:
    """Names, days and months that the document does not have.

    A capital inside a sentence marks a name; at its beginning only what is a name and no word.
    """
    known = set(tokens(document))
    invented = set()
    for sentence in sentences(text):
        for index, word in enumerate(words(sentence)):
            lower = word.lower()
            is_name = (word[0].isupper() and lower not in FUNCTION_WORDS) or lower in DAYS
            if index == 0 and lower not in DAYS | MONTHS:
                is_name = word in names() and lower not in lexicon()
            if is_name and not set(tokens(word)) <= known:
                invented.add(lower)
    return invented


def _num_wrong(
    told: Sequence[Sequence[str]], source: Sequence[Sequence[str]], facts: Sequence[Fact]
) -> int:
    """Contradicted facts, numbers tied to the wrong noun, negated facts."""
    tied = claims(source, facts)
    may_negate = any(_negates(found) for found in source)
    num = 0
    for found in told:
        num += sum(contradicts(found, fact) for fact in facts)
        num += sum(
            bool(nouns) and nouns[0] in tied and number not in tied[nouns[0]]
            for number, nouns in counted(found)
        )
        num += _negates(found) and not may_negate and any(states(found, fact) for fact in facts)
    return num


def root(token: str) -> str:
    """The first four letters of a longer word: ``scored`` and ``scoring`` are one."""
    return token[:4] if len(token) > 4 else token


def _claims_score(
    told: Sequence[Sequence[str]], source: Sequence[Sequence[str]], facts: Sequence[Fact]
) -> float:
    known = {token for sentence in source for token in sentence} | REPORTING
    for fact in facts:
        order = fact.get("order", {})
        groups = [*fact["all"], order.get("verbs", ()), order.get("reverse", ())]
        known.update(t for group in groups for wording in group for t in tokens(wording))
    roots = set(map(root, known))
    content = [
        token
        for sentence in told
        for token in sentence
        if not is_number(token) and token not in FUNCTION_WORDS
    ]
    new = sum(root(token) not in roots for token in content) / len(content) if content else 0.0
    return (1.0 - max(0.0, new - NEW_WORDS_FREE) / (1.0 - NEW_WORDS_FREE)) ** 2
