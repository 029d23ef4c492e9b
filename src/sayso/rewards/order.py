"""Word order: what no English sentence does, whatever it is about.

Rules on neighbours let salad through as long as each pair is plausible: "Saw hat took them gave
her." These count what a whole sentence has too many of. Each fires in fewer than one in a hundred
of the sentences that SmolLM2 writes unasked, and those it fires in are mostly broken.
"""

from __future__ import annotations

from collections.abc import Sequence

from sayso.rewards.clauses import RELATIVES, finite_positions
from sayso.rewards.text import sentences
from sayso.rewards.tokens import COMMA, END, tokens
from sayso.rewards.vocabulary import (
    ARTICLES,
    AUXILIARIES,
    COORDINATORS,
    FUNCTION_WORDS,
    POSSESSIVES,
    PREPOSITIONS,
    SUBJECTS,
    base_verbs,
    finite_verbs,
    lexicon,
    participles,
    pure_pasts,
    third_persons,
    verb_forms,
    word_set,
)

OBJECTS = frozenset({"me", "him", "us", "them", "her", "it"})
GIVING = word_set(
    "give gave gives given giving send sent sends show showed shown bring brought tell told teach "
    "taught offer offered hand handed ask asked make made buy bought write wrote leave left call "
    "called find found take took cost lend lent wish wished pay paid name named consider "
    "considered keep kept all both"
)
"""Words that two noun phrases may follow: "gave the child a lantern", "all the day"."""
SUBJECTS_SHORT = SUBJECTS | {"it", "you", "there", "that", "who", "what"}
"""What stands before the apostrophe of "they'd"."""
OPENING = ARTICLES | {"my", "your", "its", "our", "their"}
"""Determiners that open a noun phrase and are nothing else."""
ADVERBIAL = word_set(
    "day way moment time night year morning minute week summer winter size instant"
)
"""Nouns of time and manner that clauses follow directly: "the day the rain came"."""
NOUNS = word_set("bit bore saw rose spoke stole wound felt")
"""Pasts that are nouns as well."""
POINTING = frozenset({"each", "every", "any", "some", "those", "these", "this", "that"})
LY_NOT_ADVERBS = word_set(
    "family fly belly jelly lily bully reply supply italy july butterfly assembly monopoly ally "
    "rally lovely lonely only early daily friendly elderly likely silly ugly holy jolly curly "
    "deadly lively costly orderly weekly monthly yearly hourly heavenly ghostly worldly earthly "
    "homely kindly scholarly cowardly timely unlikely chilly hilly woolly oily smelly bubbly wooly "
    "melancholy anomaly folly gully bodily saintly motherly fatherly brotherly elderly firefly"
)
PHRASE_ENDS = frozenset({END, COMMA}) | PREPOSITIONS | COORDINATORS


def num_spare_verbs(found: Sequence[str]) -> int:
    """Verbs of one sentence beyond those that its clauses can take: "Saw hat took them gave her".

    Each word that may open a clause allows one more. A past that may be a participle ("a house
    made of glass") counts only with a pronoun behind it.
    """
    sure = finite_verbs() - participles() - third_persons() | pure_pasts() | AUXILIARIES
    num = openers = 0
    for index, word in enumerate(found):
        left = found[index - 1] if index else END
        right = found[index + 1] if index + 1 < len(found) else END
        after_verb = left in verb_forms() or left in AUXILIARIES
        opens_phrase = word in ARTICLES | POSSESSIVES | {"this", "these", "those"}
        if word in COORDINATORS | RELATIVES | {COMMA, "than", "like"}:
            openers += 1
        elif word in SUBJECTS | {"it", "you", "there"} or word.split("'")[0] in SUBJECTS_SHORT:
            is_told = word in SUBJECTS and left not in AUXILIARIES  # "she knew he was right"
            is_first = left not in COORDINATORS | RELATIVES | {COMMA, END}
            openers += is_first and (is_told or not after_verb)
        elif opens_phrase and left not in PREPOSITIONS | COORDINATORS | RELATIVES | {COMMA, END}:
            openers += not after_verb  # "the song the sailor sang"
    for index in finite_positions(found, pasts_may_open=True):
        right = found[index + 1] if index + 1 < len(found) else END
        word, left = found[index], found[index - 1] if index else END
        is_month = word == "may" and left in PREPOSITIONS
        is_verb = word in sure or right in OBJECTS or (word in third_persons() and right in OPENING)
        num += is_verb and not is_month
    return max(0, num - 1 - openers)


def num_loose_phrases(found: Sequence[str]) -> int:
    """Noun phrases set side by side with nothing between them: "The lantern the river had gone".

    "The song the sailor sang was sad" is one that has a verb of its own; two indefinite ones never
    are.
    """
    num = 0
    has_two_verbs = len(finite_positions(found)) > 1
    for index in range(len(found) - 3):
        first, noun, second, other = found[index : index + 4]
        if first not in OPENING or second not in OPENING or not _may_be_noun(noun):
            continue
        before = found[index - 1] if index else END
        if before in GIVING | OBJECTS or {noun, other} & ADVERBIAL:
            continue
        after = found[index + 4] if index + 4 < len(found) else END
        are_indefinite = first in {"a", "an"} and second in {"a", "an"}
        has_verb = other not in {END, COMMA} and after in finite_verbs() | base_verbs()
        num += are_indefinite or not (has_verb and has_two_verbs)
    return num


def _may_be_noun(word: str) -> bool:
    is_word = word not in FUNCTION_WORDS and word not in {END, COMMA}
    return is_word and word not in pure_pasts() and not word.endswith("ly")


def num_stray_words(found: Sequence[str]) -> int:
    """Pairs that cannot be: "the went", "the quickly.", "each those", "under sang", "Went had"."""
    num = int(bool(found) and found[0] in pure_pasts())
    for index in range(len(found) - 1):
        word, right = found[index : index + 2]
        after = found[index + 2] if index + 2 < len(found) else END
        is_adverb = right.endswith("ly") and right in lexicon() and right not in LY_NOT_ADVERBS
        is_past = right in pure_pasts() - NOUNS
        if word in OPENING | {"every", "each"}:
            num += is_past or (is_adverb and after in PHRASE_ENDS)
        if word in ARTICLES | POINTING - {"that"}:
            num += right in POINTING and (word, right) != ("those", "that")
        if word in PREPOSITIONS - MAY_PRECEDE_PAST:
            num += is_past
        num += word in {"a", "an"} and after in {"were", "are", "have"} and _may_be_noun(right) \
            and (not index or found[index - 1] not in {"if", "though", "as", "and"})  # fmt: skip
    return num


MAY_PRECEDE_PAST = word_set(
    "in on up down out off over by about around along across through inside outside past since "
    "below above under near beyond behind beneath after before within between underneath"
) - {"under", "beneath"}
"""Prepositions that are adverbs as well: "the man inside saw her"."""


def num_disorders(text: str) -> int:
    """All of this file, sentence by sentence."""
    num = 0
    for sentence in sentences(text):
        found = tokens(sentence)
        num += num_spare_verbs(found) + num_loose_phrases(found) + num_stray_words(found)
    return num
