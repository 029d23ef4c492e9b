"""Cheap plausibility of English, without a model: verbs, neighbours, piles of words.

These checks do not parse. They price what a policy does when it games a reward: word salad,
lists of keywords, articles before nothing, clauses without a verb. Good prose loses nothing,
or close to it. Scores lie in [0, 1].
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sayso.rewards.clauses import num_splices, num_tense_clashes, verbs
from sayso.rewards.order import num_disorders
from sayso.rewards.text import ngrams, words
from sayso.rewards.tokens import COMMA, END, tokens
from sayso.rewards.vocabulary import (
    ADVERBS,
    ARTICLES,
    AUXILIARIES,
    BE,
    CONTRACTIONS,
    COORDINATORS,
    FUNCTION_WORDS,
    MODALS,
    PREPOSITIONS,
    STRICT_DETERMINERS,
    STRICT_PREPOSITIONS,
    SUBJECTS,
    VOWELS,
    base_verbs,
    finite_verbs,
    lexicon,
    verb_forms,
    word_set,
)

MAY_FOLLOW_ARTICLE = frozenset(
    {"past", "inside", "outside", "down", "near", "like", "off", "under", "over", "above", "about"}
    | {"out", "up", "on", "in", "yet"}
)
AFTER_ARTICLE = (
    ((PREPOSITIONS | COORDINATORS | BE | SUBJECTS) - MAY_FOLLOW_ARTICLE)
    | {"has", "had", "have", "do", "does", "did", "be", "been", "being", "would", "could", "should"}
    | {"to", "not", "him", "me", "us", "them", "it", "you", "its", "my", "your", "our", "their"}
    | {"the", "a", "an", "this", "these", "if", "because", "although", END, COMMA}
    | {"everyone", "someone", "anyone", "nobody", "everything", "something", "herself", "himself"}
)
MAY_END = frozenset({"for", "with", "from", "at"})
AFTER_STRICT_PREPOSITION = (
    COORDINATORS - {"yet", "so"} | (AUXILIARIES - {"being", "will", "may", "might"})
    | SUBJECTS | {"of"}
)  # fmt: skip
AFTER_SUBJECT = (ARTICLES | (PREPOSITIONS - {"out", "off", "up", "down", "about", "since", "inside",
                 "like", "near", "past", "over", "by", "in", "on", "at", "from", "with"})
                 | {"my", "your", "its", "our", "their", "his"} | SUBJECTS
                 | {"it", "him", "them", "us", "me"})  # fmt: skip
NOT_PLURAL = word_set(
    "lens news means yes gas bus series species always perhaps sometimes besides overseas upstairs "
    "downstairs indoors outdoors towards afterwards this his its as is was has plus canvas atlas "
    "christmas circus campus chaos tennis thus mathematics politics pants across"
)
AFTER_MODAL = BE | {"has", "had", "does", "did", "been", "being", "of", END, COMMA} | MODALS
AGREEMENT = (
    {(s, v) for s in ("he", "she", "it") for v in ("are", "have", "do", "am")}
    | {(s, v) for s in ("we", "they", "you") for v in ("is", "was", "has", "does", "am")}
    | {("i", v) for v in ("is", "are", "has", "does", "were")}
)
BEFORE_BASE_VERBS = (
    AUXILIARIES | SUBJECTS | COORDINATORS | CONTRACTIONS
    | {"to", "not", "let", "you", "who", "that", "him", "her", "me", "us", "them", END, COMMA}
)  # fmt: skip
VOWEL_SOUND_EXCEPTIONS = re.compile(
    r"^(?:hour|honest|honou?r|heir)|^(?:uni(?!n|m)|use|usu|eu|one\b|once|ut[ei]|ubiq|ewe)"
)


def article_fits(article: str, word: str) -> bool:
    """Whether "a" or "an" fits the sound of the next word; other words fit always."""
    if article not in {"a", "an"} or not word[0].isalpha():
        return True
    exception = bool(VOWEL_SOUND_EXCEPTIONS.match(word))
    vowel_sound = (word[0] in VOWELS) is not exception
    return vowel_sound is (article == "an")


def is_plural(word: str) -> bool:
    """Whether a word looks like a plural noun and is not one of the known exceptions."""
    looks = word.endswith("s") and not word.endswith(("ss", "us", "'s", "is"))
    return looks and len(word) > 3 and word not in NOT_PLURAL and word[:-1] in lexicon()


def is_bad_pair(left: str, right: str) -> bool:
    """Whether two neighbours hardly ever stand together in English."""
    rules = (
        left in STRICT_DETERMINERS and right in AFTER_ARTICLE,
        left in {"a", "an"} and (not article_fits(left, right) or is_plural(right)),
        left in STRICT_PREPOSITIONS and right in AFTER_STRICT_PREPOSITION,
        left in STRICT_PREPOSITIONS - MAY_END and right in {END, COMMA},
        left in SUBJECTS and right in AFTER_SUBJECT,
        left in MODALS - {"may", "might", "can", "will"} and right in AFTER_MODAL,
        left in BE and right in BE | MODALS | {"has", "had", "have", "does", "did", "do"},
        left in COORDINATORS - {"yet", "so"} and right in {END, "and", "or", "of"},
        left in {"to", "in"} and right in BE | {"of", "and"},
        (left, right) in AGREEMENT,
        left == right and left not in {"had", "that", "so", "very", "far", END, COMMA},
        left == COMMA and right in {COMMA, END},
    )
    return any(rules)


def num_clashes(text: str) -> int:
    """How many words clash: neighbours ("the of", "a old"), spliced clauses, tenses, word order.

    A sentence out of order counts as three: it is no slip of good prose.
    """
    found = tokens(text)
    pairs = ngrams(found, 2)
    opening = int(bool(found) and found[0] in {COMMA, END})
    others = num_bare_verbs(found) + num_splices(text) + num_tense_clashes(text)
    bad_pairs = sum(is_bad_pair(*pair) for pair in pairs)
    return opening + others + bad_pairs + 3 * num_disorders(text)


def num_bare_verbs(found: Sequence[str]) -> int:
    """How often "he" or "she" meets a bare verb ("she walk") with no auxiliary just before."""
    bare = base_verbs() - finite_verbs()
    return sum(
        found[i] in {"he", "she"}
        and found[i + 1] in bare
        and not set(found[max(0, i - 3) : i])
        & (AUXILIARIES | CONTRACTIONS | {"let", "lest", "that"})
        for i in range(len(found) - 1)
    )


def longest_pile(text: str) -> int:
    """Longest run of words that are neither function words, verbs nor adverbs in -ly.

    A base form is a verb after what a verb follows, and a noun elsewhere: "stone lantern sleep".
    """
    breakers = FUNCTION_WORDS | verb_forms() - base_verbs()
    longest = current = 0
    left = END
    for token in tokens(text):
        is_verb = token in base_verbs() and (left in BEFORE_BASE_VERBS or left.endswith("s"))
        is_breaker = token in breakers or token in {END, COMMA} or token[-2:] == "ly" or is_verb
        current = 0 if is_breaker else current + 1
        longest, left = max(longest, current), token
    return longest


def function_share(text: str) -> float | None:
    """Score of the share of function words: 1 from 20 % to 70 %, falling to 0 at 4 % and 95 %.

    ``None`` for a text without words.
    """
    found = [word.lower().replace("\u2019", "'") for word in words(text)]
    if not found:
        return None
    share = sum(word in FUNCTION_WORDS for word in found) / len(found)
    return max(0.0, min(1.0, (share - 0.04) / 0.16, (0.95 - share) / 0.25))


def pauses(text: str) -> float | None:
    """Score of the share of commas: 1 up to one in four words, 0 from one in two."""
    found = tokens(text)
    num_words = sum(token not in {END, COMMA} for token in found)
    if not num_words:
        return None
    return max(0.0, min(1.0, 2.0 - 4.0 * found.count(COMMA) / num_words))


def adverb_load(text: str) -> float | None:
    """Score of bare adverbs and -ly words: 1 up to one in four words, 0 from one in two."""
    found = [token for token in tokens(text) if token not in {END, COMMA}]
    if not found:
        return None
    share = sum(token in ADVERBS or token.endswith("ly") for token in found) / len(found)
    return max(0.0, min(1.0, 2.0 - 4.0 * share))


def grammar(text: str) -> float | None:
    """Product of all checks of this file; ``None`` for a text without words.

    One clash costs a third, two cost 60 %; a lone sentence without a main verb costs 70 %.
    """
    share = function_share(text)
    if share is None:
        return None
    pairs: float = 1.0 / (1.0 + 0.5 * num_clashes(text) ** 1.5)
    pile = max(0.0, min(1.0, 1.0 - 0.35 * (longest_pile(text) - 3)))
    has_verbs = 0.3 + 0.7 * (verbs(text) or 0.0)
    return pairs * pile * has_verbs * share * (pauses(text) or 0.0) * (adverb_load(text) or 0.0)
