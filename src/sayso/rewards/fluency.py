"""Form of a text: spelling, capitals, ending, markup, talk about the task, echo of the prompt.

Scores lie in [0, 1]; ``None`` means that the check does not apply (there are no words).
"""

from __future__ import annotations

import re

from sayso.rewards.text import lines, lowered, sentences, shared_run, words
from sayso.rewards.vocabulary import FUNCTION_WORDS, is_known, names

MARKUP = re.compile(r"[*_#`~|<>{}\[\]\\=@^]|https?:|^\s*[-•]\s|^\s*\d+[.)]\s", re.MULTILINE)
ODD = re.compile(r"[^\x20-\x7E\n\u2018-\u201d\u2013\u2014\u2026\u00a3\u20ac\u00c0-\u00ff]")
JOB_WORDS = frozenset({"story", "poem", "sentence", "sentences", "item", "words", "news"})
META = re.compile(
    r"\b(?:"
    + "|".join(
        (
            r"here(?:'s| is| are| goes)\b(?=[^.!?]*:)",
            r"language model|as an ai\b|smollm|hugging face",
            r"question mark|exclamation (?:mark|point)",
            r"(?:the|a|this|my|your|one|in) (?:prompt|sentences?|word limit|stanza|haiku|poems?)\b",
            r"(?:story|news|first|last|second|opening|two|three|\d+)[- ](?:lines?|items?|words?)\b",
            r"(?:lines?|words?) (?:of|in) (?:a|the|this) (?:story|poem|sentence)",
            r"\d+ ?(?:to|-|\u2013) ?\d+",
            r"\d+[- \u2013]*(?:to[- ])?\d*[- ](?:words?|letters?|lines?)",
            r"(?:the|use) words? [\"'\u201c\u2018]|use the words?\b",
            r"(?:write|use|avoid|mention)(?= (?:an?|the|one|in) .*\b(?:words?|story|poem))",
            r"(?:start|end) with (?:an? |the )?(?:word|mark|question|exclamation)",
        )
    )
    + ")",
    re.IGNORECASE,
)
OPENER = re.compile(
    r"^\W*(?:"
    + "|".join(
        (
            r"sure|certainly|of course|okay|ok|absolutely|i'm sorry|sorry",
            r"here(?:'s| is| are) (?:an?|the|your|my|one|two|some)",
            r"as an|i can(?:'t|not)|note|title|answer|example|output|response",
            r"(?:the|this) (?:story|poem|news|line|word|sentence)",
            r"(?:short )?(?:story|poem|news|line|headline)(?: item| line)?\s*\d*\s*[:\-\u2014]",
            r"in this (?:story|poem|sentence|line)|[a-z ]{1,30}:",
        )
    )
    + r")(?![a-z])",
    re.IGNORECASE,
)
ENDING = re.compile(r"[^\W_][.!?\u2026][\"\u201d\u2019']?$|[^\W_][\"\u201d\u2019'][.!?]$|\.\.\.$")


def known_words(text: str) -> float | None:
    """Spelling: 1 when all words are known, 0 when a third are not.

    Capitalised words inside a sentence may be names, so up to two distinct ones that are not in
    the lexicon cost half. Very long words count as unknown: glued words look like them.
    """
    found = words(text)
    if not found:
        return None
    cost = 0.0
    invented: set[str] = set()
    for index, word in enumerate(found):
        if is_known(word) and len(word) <= 18:
            continue
        is_name = index > 0 and word[0].isupper() and word[1:].islower() and len(word) <= 12
        if is_name and len(invented | {word}) <= 2:
            invented.add(word)
            cost += 0.5
        else:
            cost += 1.0
    return max(0.0, 1.0 - 3.0 * max(0.0, cost - 0.25) / len(found)) if cost else 1.0


def is_finished(text: str) -> bool:
    """Whether the text ends with one stop after a word, perhaps next to a closing quote."""
    ending = text.rstrip()
    return bool(ENDING.search(ending)) and not re.search(r"[.!?\u2026,;:\-]{4,}$", ending)


def capitals(text: str) -> float | None:
    """Sentences and the text begin with a capital; few others do, and no word is all capitals."""
    found = words(text)
    if not found:
        return None
    starts = [words(sentence)[0] for sentence in sentences(text)]
    good_starts = sum(not start[0].islower() for start in starts) / len(starts)
    first = 1.0 if not found[0][0].islower() else 0.5
    line_starts = {words(line)[0] for line in lines(text) if words(line)}
    inner = [w for w in found if w[0].isalpha() and w not in {"I"} and w not in line_starts]
    raised = sum(w[0].isupper() and w not in starts and w not in names() for w in inner)
    function_raised = sum(
        w[0].isupper() and w not in starts and w.lower() in FUNCTION_WORDS for w in inner
    )
    shouted = sum(len(w) > 1 and w.isupper() for w in found)
    lower_i = sum(w == "i" for w in found)
    share = (max(0, raised - 2) + function_raised + 2 * shouted + lower_i) / len(found)
    return first * (0.4 + 0.6 * good_starts) * max(0.0, 1.0 - 3.0 * share)


def quotes(text: str) -> float:
    """1 without double quotes or with balanced speech; less for quoted words or a wrapped text."""
    marks = re.findall(r"[\"“”]", text)
    if not marks:
        return 1.0
    if len(marks) % 2:
        return 0.4
    spoken = re.findall(r"[\"“]([^\"“”]*)[\"”]", text)
    if len(spoken) == 1 and text.strip()[0] in '"“' and text.strip()[-1] in '"”':
        return 0.6
    return 1.0 if all(re.search(r"[,.!?…]$", piece.strip()) for piece in spoken) else 0.5


def spacing(text: str) -> float:
    """1 when marks follow their word and precede a space; each slip costs a third."""
    slips = len(re.findall(r"\s[,.!?;:](?!\.)|[a-z][,;:!?][A-Za-z]|[a-z]\.[A-Z]|[(][^)]*$", text))
    return max(0.0, 1.0 - slips / 3)


def plain(text: str) -> float:
    """No markup, no emoji or foreign script, no talk about the task or the model."""
    score = 1.0
    if MARKUP.search(text):
        score *= 0.25
    if ODD.search(text):
        score *= 0.4
    if OPENER.search(text.replace("\u2019", "'")):
        score *= 0.3
    if META.search(text.replace("\u2019", "'")):
        score *= 0.3
    return score


def own_words(text: str, prompt: str) -> float | None:
    """How much of a text is its own: neither copied from the prompt nor about it.

    Four words in a row from the prompt cost 0.3, each further one as much again. A word that
    names the job ("story", "poem") costs 0.25 when the prompt has it, unless the prompt quotes
    it as one to use.

    Args:
        text: What the policy wrote.
        prompt: What it was asked.

    Returns:
        A score in [0, 1]; ``None`` for a text without words.
    """
    found = lowered(text)
    if not found:
        return None
    asked = lowered(prompt)
    quoted = set(lowered(" ".join(re.findall(r"\"([^\"]*)\"", prompt))))
    named = JOB_WORDS & set(found) & set(asked) - quoted
    copied = max(0, shared_run(found, asked) - 3)
    return max(0.0, 1.0 - 0.3 * copied - 0.25 * len(named))


def form(text: str, *, unfinished: float) -> float | None:
    """Product of capitals, quotes, spacing, plainness and a finished ending.

    Args:
        text: Any text.
        unfinished: Factor of a text that breaks off, in [0, 1].
    """
    raised = capitals(text)
    if raised is None:
        return None
    ending = 1.0 if is_finished(text) else unfinished
    return raised * quotes(text) * spacing(text) * plain(text) * ending
