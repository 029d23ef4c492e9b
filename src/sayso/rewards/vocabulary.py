"""English words by class: closed classes written out, verbs from lists, a lexicon for spelling.

Sources, all ours: the two verb lists were compiled by hand; ``lexicon.txt`` holds the whole-word
entries of SmolLM2's tokenizer vocabulary after which that model expects the word to end (so that
fragments such as "disadvant" are out), and ``extra_words.txt`` words that story texts need.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files


def word_set(listed: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(listed.split())


ARTICLES = frozenset({"the", "a", "an"})
POSSESSIVES = frozenset({"my", "your", "his", "her", "its", "our", "their"})
STRICT_DETERMINERS = ARTICLES | {"my", "your", "its", "our", "their", "every"}
"""Words that must be followed by a noun or by what leads to one."""
DETERMINERS = ARTICLES | POSSESSIVES | {
    "this", "that", "these", "those", "each", "every", "some", "any", "no", "another", "both",
    "all", "many", "few", "several", "much", "most", "such", "other", "one", "two", "three",
}  # fmt: skip
PREPOSITIONS = word_set(
    "of in to on at by for with from into onto upon through over under above below across along "
    "behind beside besides between beyond among amid amidst around against within without toward "
    "towards near like during until till since about off out up down inside outside past beneath "
    "underneath atop despite except amongst alongside throughout via per"
)
STRICT_PREPOSITIONS = frozenset(
    {
        "of",
        "from",
        "with",
        "into",
        "at",
        "for",
        "onto",
        "upon",
        "beneath",
        "during",
        "among",
        "amid",
    }
)
COORDINATORS = frozenset({"and", "or", "but", "nor", "yet", "so"})
SUBORDINATORS = word_set(
    "when while because as if though although where wherever whenever until unless once after "
    "before since than whether that which who whom whose what why how"
)
SUBJECTS = frozenset({"i", "he", "she", "we", "they"})
PRONOUNS = SUBJECTS | {
    "it", "you", "me", "him", "her", "us", "them", "himself", "herself", "itself", "myself",
    "yourself", "themselves", "ourselves", "someone", "something", "everyone", "everything",
    "nobody", "nothing", "anyone", "anything", "none",
    "mine", "hers", "ours", "theirs", "yours",
}  # fmt: skip
BE = frozenset({"is", "was", "are", "were", "am"})
MODALS = frozenset({"will", "would", "can", "could", "shall", "should", "may", "might", "must"})
AUXILIARIES = BE | MODALS | {
    "be", "been", "being", "has", "have", "had", "do", "does", "did",
}  # fmt: skip
CONTRACTIONS = word_set(
    "i'm i've i'll i'd he's he'll he'd she's she'll she'd it's it'll it'd we're we've we'll we'd "
    "they're they've they'll they'd you're you've you'll you'd that's there's here's who's what's "
    "where's let's isn't wasn't aren't weren't don't doesn't didn't won't wouldn't can't couldn't "
    "shouldn't hasn't haven't hadn't mustn't needn't cannot"
)
ADVERBS = word_set(
    "not never always often still just even only again soon now then there here too very once away "
    "back almost already perhaps maybe ever quite rather really yet together forever today "
    "tonight tomorrow yesterday everywhere nowhere somewhere"
)
FUNCTION_WORDS = (
    DETERMINERS | PREPOSITIONS | COORDINATORS | SUBORDINATORS | PRONOUNS | AUXILIARIES
    | CONTRACTIONS | ADVERBS
)  # fmt: skip
LIGHT_WORDS = FUNCTION_WORDS - {"something", "everything", "nothing", "forever", "together"}
"""Words that good prose repeats."""
VOWELS = "aeiou"
NUMBER_WORDS = word_set(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred "
    "thousand million dozen"
)
QUESTION_WORDS = frozenset({"who", "whose", "what", "which", "why", "how", "when", "where"})
INVERTED = word_set(
    "is are was were am do does did has have had can could will would shall should may might must "
    "isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't can't couldn't won't "
    "wouldn't shouldn't"
)
"""Auxiliaries that open a question."""
DOUBLED = frozenset({"admit", "omit", "commit", "submit", "emit", "permit", "regret", "occur",
                     "prefer", "control", "patrol", "rebel", "compel", "begin", "forget",
                     "unravel", "travel", "cancel", "equip", "unzip", "quit", "swim"})  # fmt: skip


def _read(name: str) -> list[str]:
    text = files("sayso.rewards").joinpath("data", name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def inflections(base: str) -> dict[str, str]:
    """Regular forms of a verb: ``s``, ``ed`` and ``ing`` to the written word.

    A final consonant is doubled after a single vowel in words of one syllable, and in
    ``DOUBLED``.
    """
    last, vowels = base[-1], sum(letter in "aeiouy" for letter in base)
    if base.endswith("ee"):
        return {"s": base + "s", "ed": base + "d", "ing": base + "ing"}
    if last == "e":
        stem = base[:-2] + "y" if base.endswith("ie") else base[:-1]
        return {"s": base + "s", "ed": base + "d", "ing": stem + "ing"}
    if last == "y" and base[-2] not in VOWELS:
        return {"s": base[:-1] + "ies", "ed": base[:-1] + "ied", "ing": base + "ing"}
    double = (
        (vowels == 1 or base in DOUBLED)
        and len(base) > 2
        and base[-2] in VOWELS
        and last not in VOWELS + "wxy"
    )
    stem = base + last if double else base
    sibilant = base.endswith(("s", "sh", "ch", "x", "z", "o"))
    return {"s": base + ("es" if sibilant else "s"), "ed": stem + "ed", "ing": stem + "ing"}


@lru_cache(maxsize=1)
def base_verbs() -> frozenset[str]:
    """Base forms of all verbs in the lists."""
    irregular = {line.split()[0] for line in _read("irregular_verbs.txt")}
    return frozenset(
        {*irregular, *(v for line in _read("regular_verbs.txt") for v in line.split())}
    )


@lru_cache(maxsize=1)
def finite_verbs() -> frozenset[str]:
    """Forms that can be the verb of a clause by themselves: past and third person, auxiliaries."""
    found = set(AUXILIARIES - {"be", "been", "being"})
    for line in _read("irregular_verbs.txt"):
        base, past, _ = line.split()
        found.update(past.split("/"))
        found.add(inflections(base)["s"])
    for line in _read("regular_verbs.txt"):
        for base in line.split():
            forms = inflections(base)
            found.update((forms["s"], forms["ed"]))
    return frozenset(found | CONTRACTIONS)


@lru_cache(maxsize=1)
def third_persons() -> frozenset[str]:
    """Forms in -s of the verbs in the lists."""
    return frozenset(inflections(base)["s"] for base in base_verbs())


@lru_cache(maxsize=1)
def participles() -> frozenset[str]:
    """Past participles, regular and irregular; most look like a past."""
    regular = (verb for line in _read("regular_verbs.txt") for verb in line.split())
    listed = (word for line in _read("irregular_verbs.txt") for word in line.split()[2].split("/"))
    return frozenset(inflections(verb)["ed"] for verb in regular) | frozenset(listed)


@lru_cache(maxsize=1)
def pure_pasts() -> frozenset[str]:
    """Pasts that are nothing else: "went", "gave"; no participle, no base form of a verb."""
    past = {word for line in _read("irregular_verbs.txt") for word in line.split()[1].split("/")}
    return frozenset(past) - participles() - base_verbs() - AUXILIARIES


@lru_cache(maxsize=1)
def verb_forms() -> frozenset[str]:
    """Every form of every verb in the lists."""
    found = set(finite_verbs()) | set(base_verbs())
    for line in _read("irregular_verbs.txt"):
        base, _, participle = line.split()
        found.update(participle.split("/"))
        found.add(inflections(base)["ing"])
    for base in base_verbs():
        found.add(inflections(base)["ing"])
    return frozenset(found)


@lru_cache(maxsize=1)
def lexicon() -> frozenset[str]:
    """Known words in lower case."""
    listed = {word for line in _read("lexicon.txt") for word in line.split()}
    extra = {word for line in _read("extra_words.txt") for word in line.split()}
    return frozenset(listed | extra | FUNCTION_WORDS | verb_forms())


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Known proper names, capitalised."""
    return frozenset(word for line in _read("names.txt") for word in line.split())


SUFFIXES = ("'s", "s'", "'", "s", "es", "ed", "d", "ing", "ly", "er", "est", "less", "ness", "ful",
            "y", "like")  # fmt: skip
PREFIXES = ("un", "re", "over", "out", "mid")


def _is_inflected(word: str) -> bool:
    """Whether a lower-case word is a listed one with a common ending or beginning."""
    known = lexicon()
    for suffix in SUFFIXES:
        base = word.removesuffix(suffix)
        if base == word or len(base) < 3:
            continue
        candidates = {base, base + "e"}
        candidates |= {base[:-1] + "y"} if base[-1] == "i" else set()
        candidates |= {base[:-1]} if base[-1] == base[-2] else set()
        if candidates & known or base.title() in names():
            return True
    rests = (word.removeprefix(prefix) for prefix in PREFIXES)
    return any(rest != word and len(rest) >= 4 and rest in known for rest in rests)


def is_known(word: str) -> bool:
    """Whether a word is spelled as English: listed, a name, a number, or a listed one inflected.

    A hyphenated word is known when each part is; a compound such as "moonlit" only when listed.
    """
    if word[0].isdigit() or word in names():
        return True
    lower = word.lower().replace("\u2019", "'")
    if "-" in lower:
        return all(is_known(part) for part in lower.split("-") if part)
    return lower in lexicon() or _is_inflected(lower)
