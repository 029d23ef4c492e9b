"""Stop strings are found exactly when the whole text first contains them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sayso.sampling.stops import StopMatcher


def bytes_text(ids: Sequence[int]) -> str:
    """One token per byte: characters of several bytes are split over tokens."""
    return bytes(ids).decode(errors="replace")


def first_hit(ids: Sequence[int], stop: Sequence[str]) -> int | None:
    matcher = StopMatcher(bytes_text, stop)
    return next((i for i, token in enumerate(ids) if matcher.hit(token)), None)


@given(
    st.text(alphabet="abé€😀\n", max_size=30),
    st.lists(st.text(alphabet="abé€😀\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_the_first_token_that_completes_a_stop_string_is_found(text: str, stop: list[str]) -> None:
    ids = text.encode()
    expected = next(
        (i for i in range(len(ids)) if any(s in bytes_text(ids[: i + 1]) for s in stop)), None
    )
    assert first_hit(ids, stop) == expected


def test_a_space_that_only_shows_after_another_token_counts() -> None:
    """As SentencePiece decodes: the space of a piece is dropped when the piece comes first."""
    pieces = ["▁so", "▁on", "ly", "▁no"]

    def decode(ids: Sequence[int]) -> str:
        return "".join(pieces[i] for i in ids).replace("▁", " ").removeprefix(" ")

    matcher = StopMatcher(decode, [" no"])
    assert [matcher.hit(i) for i in (0, 1, 2, 3)] == [False, False, False, True]


def test_bytes_that_are_no_text_do_not_hide_a_stop_string() -> None:
    assert first_hit(b"\xff\xf0\x9f\n\nab", ["\n\n"]) == 4


def test_each_token_decodes_a_few_tokens_and_not_the_whole_action() -> None:
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return bytes_text(ids)

    matcher = StopMatcher(decode, ["zz"])
    assert not any(matcher.hit(token) for token in b"abc" * 200)
    assert longest <= 4
