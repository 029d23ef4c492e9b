"""What may reach checkers that evaluate: nothing that runs, calls or takes for ever."""

from __future__ import annotations

import pytest

from sayso.envs.games_answers import EVALUATED, PARSED, is_harmless

CODE = (
    "__import__('os').system('true')", "exit()", "[].__class__", "open('x','w')", "(lambda: 1)()",
    "[x for x in range(9)]", "9**9**9**9", "2**(9**9)", "(9**9)**9", "x.__class__", "'a'*9",
    "f(x)(1)", "exec", "{1: 2}", "a[0]", "1;2", "x:=3", "print(1)", "eval(1)", "10**1000",
    "factorial(99)", "x@y", "9**9 **9", "sin(exp(9**9))**9**9",
)  # fmt: skip


@pytest.mark.parametrize("family", PARSED)
@pytest.mark.parametrize("text", [c for c in CODE if c not in {"exec"}])
def test_no_code_reaches_a_parser_that_evaluates(family: str, text: str) -> None:
    assert not is_harmless(text, family=family, reference="x**2 + C")


@pytest.mark.parametrize("family", EVALUATED)
@pytest.mark.parametrize("text", [c for c in CODE if c != "exec"])
def test_no_code_reaches_eval(family: str, text: str) -> None:
    assert not is_harmless(text, family=family, reference="1 2 3")


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("countdown", "78 - 33 + (80/16)*2"), ("simple_integration", "-189*x**4 + 81*x**3"),
        ("simple_integration", "2*x**3/3 + C"), ("intermediate_integration", "-3*cos(4*x - 1)/2"),
        ("intermediate_integration", "x*exp(2*x) - exp(2*x)/2 + log(x) + C"),
        ("n_queens", "_ Q _ _\n_ _ _ Q"), ("string_insertion", "ABCDAA"),
        ("spiral_matrix", "1 -2 3"), ("binary_matrix", "0 1\n1 0"),
    ],
)  # fmt: skip
def test_right_answers_pass(family: str, text: str) -> None:
    assert is_harmless(text, family=family, reference=text)


@pytest.mark.parametrize(
    "text", ["1e99999999", "9" * 4000, "1E+12345", "word " * 100, "R99999999", "1" * 9]
)
def test_what_would_compute_for_ever_does_not_pass(text: str) -> None:
    assert not is_harmless(text, family="coin_flip", reference="0.25")


def test_lengths_follow_the_reference() -> None:
    assert is_harmless("9" * 30, family="products", reference="8" * 30)
    assert is_harmless("a " * 250, family="word_sorting", reference="a " * 250)
    assert not is_harmless("a " * 250, family="word_sorting", reference="a")
