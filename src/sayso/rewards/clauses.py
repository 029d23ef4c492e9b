"""Whether a sentence has a main verb: finite, and not spent on a subordinate clause.

No parser: a few rules on neighbours. They are there because a policy finds that "A mermaid on a
deserted island, singing beneath the waves." and "A man who lost his hat." pass for sentences when
any verb form will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sayso.rewards.text import sentences
from sayso.rewards.tokens import COMMA, END, tokens
from sayso.rewards.vocabulary import (
    ADVERBS,
    ARTICLES,
    AUXILIARIES,
    BE,
    CONTRACTIONS,
    COORDINATORS,
    INVERTED,
    PREPOSITIONS,
    QUESTION_WORDS,
    SUBJECTS,
    base_verbs,
    finite_verbs,
    pure_pasts,
    third_persons,
    word_set,
)

BEFORE_NOUNS = ARTICLES | {"my", "your", "its", "our", "their", "his", "every", "to"}
BEFORE_PARTICIPLES = frozenset(
    {"of", "with", "from", "into", "at", "for", "onto", "upon", "like", "between", "among", "than"}
    | {"without", "toward", "towards", "under", "beneath", "amid", "against", "beside", "being"}
    | {"been", "having", "be"}
)
PLURAL_NOUNS = word_set(
    "waves lights stars rocks flowers dreams names walls waters streams masks marks signs "
    "sounds smiles steps stops storms tales roads ships tracks trades parks plants places "
    "knots frames forces faces echoes drinks cries clouds causes battles bands bells tears "
    "hopes labels hunts guests fires fields hands roses shades sails streets travels works "
    "whispers visits views votes tastes tests journeys cracks edges spells rings roots winds "
    "houses horses gates fears leaves lives looks turns pets loves"
)
"""Third persons that are nouns more often: verbs only where the next word shows it."""
RELATIVES = frozenset({"who", "which", "whom", "whose", "where", "when", "while", "because", "if"}
                      | {"although", "though", "until", "unless", "whenever", "wherever", "since"}
                      | {"as", "before", "after", "that", "what", "how", "why", "whether", "once"}
                      )  # fmt: skip
SPLICERS = SUBJECTS | {"it", "there", "it's", "there's", "i'm", "they're", "he's", "she's", "we're"}
INDEFINITES = frozenset({"someone", "something", "everyone", "everything", "anyone", "anything",
                         "nothing", "nobody", "all", "one"})  # fmt: skip


def _is_finite(left: str, word: str, right: str) -> bool:
    """Whether a word stands as a finite verb between its neighbours."""
    if word in base_verbs() and word not in finite_verbs():
        return left in SUBJECTS | {"you", "who", "that"} or _is_plural(left)
    if word not in finite_verbs() or left in BEFORE_NOUNS:
        return False
    if word in AUXILIARIES | CONTRACTIONS:
        return True
    if left in BEFORE_PARTICIPLES or (left == END and word not in base_verbs()):
        return False
    if word in PLURAL_NOUNS:
        return left in {"he", "she", "it", "who", "that", "which"} or right not in _noun_followers()
    return word not in third_persons() or left not in PREPOSITIONS


def _is_plural(word: str) -> bool:
    """Whether a word looks like a plural noun."""
    return word.endswith("s") and not word.endswith(("ss", "us", "'s"))


def _noun_followers() -> frozenset[str]:
    """What follows a plural noun rather than a verb."""
    return frozenset({END, COMMA, "of"} | COORDINATORS | BE | {"had", "have", "that", "who"})


def _opens(left: str, word: str, right: str, *, is_question: bool) -> bool:
    """Whether a relative word opens a main clause: "that night", or a question."""
    if word == "that":
        return left == END
    asks = word not in {"when", "where"} or right in INVERTED
    return is_question and word in QUESTION_WORDS and left in {END, COMMA} and asks


def main_verbs(sentence: str) -> list[tuple[str, int]]:
    """First word and number of main verbs of each stretch between pauses.

    A subordinator takes the next finite verb before a pause; a question word that opens a
    question takes none, nor does "that" at the start. An auxiliary and its verb are one.
    """
    found = tokens(sentence)
    is_question = sentence.rstrip().rstrip("\"'\u201d\u2019").endswith("?")
    stretches: list[tuple[str, int]] = []
    waiting, in_group = 0, False
    for index, word in enumerate(found):
        left = found[index - 1] if index else END
        right = found[index + 1] if index + 1 < len(found) else END
        if word in {COMMA, END}:
            waiting = 0
            continue
        if left in {COMMA, END}:
            stretches.append((word, 0))
        if word in RELATIVES:
            waiting += not _opens(left, word, right, is_question=is_question)
        elif word in SUBJECTS and left in INDEFINITES:
            waiting += 1
        elif _is_finite(left, word, right) and not in_group:
            opener, count = stretches[-1]
            stretches[-1] = (opener, count + (not waiting))
            waiting = max(0, waiting - 1)
        in_group = _goes_on(word, in_group=in_group)
    return stretches


def finite_positions(found: Sequence[str], *, pasts_may_open: bool = False) -> list[int]:
    """Where the finite verbs of a sentence stand; an auxiliary and its verb are one.

    Args:
        found: The tokens of a sentence.
        pasts_may_open: Count a past that opens the sentence as well.
    """
    positions: list[int] = []
    in_group = False
    for index, word in enumerate(found):
        left = found[index - 1] if index else END
        right = found[index + 1] if index + 1 < len(found) else END
        is_opener = pasts_may_open and not index and word in pure_pasts()
        if (is_opener or _is_finite(left, word, right)) and not in_group:
            positions.append(index)
        in_group = _goes_on(word, in_group=in_group)
    return positions


def _goes_on(word: str, *, in_group: bool) -> bool:
    """Whether a verb that follows belongs to the auxiliary before this word."""
    if word in AUXILIARIES | CONTRACTIONS:
        return True
    return in_group and (word in ADVERBS | SUBJECTS or word.endswith("ly"))


def has_main_verb(sentence: str) -> bool:
    """Whether some finite verb is left when each subordinating word has taken its own."""
    return any(count for _, count in main_verbs(sentence))


def num_splices(text: str) -> int:
    """How often a comma alone joins two main clauses, as in "It was late, she was tired".

    Only a second clause that opens with a pronoun counts; text with speech in it is left alone.
    """
    if re.search(r"[\"\u201c\u201d]", text):
        return 0
    num = 0
    for sentence in sentences(text):
        stretches = main_verbs(sentence)
        for index, (opener, count) in enumerate(stretches):
            before = any(earlier for _, earlier in stretches[:index])
            num += before and count > 0 and opener in SPLICERS
    return num


def num_tense_clashes(text: str) -> int:
    """How many sentences put "tomorrow" beside a past, or "yesterday" beside a future."""
    past = finite_verbs() - third_persons() - AUXILIARIES - CONTRACTIONS - base_verbs()
    future = {"will", "shall", "he'll", "she'll", "it'll", "we'll", "they'll", "i'll", "you'll"}
    num = 0
    for sentence in sentences(text):
        found = set(tokens(sentence))
        num += "tomorrow" in found and bool(found & past) and not found & AUXILIARIES
        num += "yesterday" in found and bool(found & future)
    return num


def verbs(text: str) -> float | None:
    """Share of the sentences with a main verb; ``None`` for a text without sentences."""
    found = sentences(text)
    if not found:
        return None
    return sum(has_main_verb(sentence) for sentence in found) / len(found)
