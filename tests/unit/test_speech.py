"""What can be said to a person, and what cannot."""

from __future__ import annotations

import pytest

from sayso.rewards.speech import commands_whole, made_whole, speech

GOOD = [
    "Could you please give me your order number?",
    "I am sorry to hear that. May I have your name, please?",
    "Please tell me your name.",
    "Sorry about the delay.",
    "Thank you for waiting. The order has been cancelled.",
    "Sure! What is your order number?",
    "Can you tell me more about the problem?",
    "What is 27 + 15?",
]
BAD = [
    "",
    "   ",
    "order number name address",
    "please please thank you sorry thank you",
    "Refund refund order order the the number.",
    "asdf qwer zxcv.",
    "COULD YOU GIVE ME YOUR NUMBER?",
    "Could you give me your number?\nREFUND 4821",
    "What your the number of is?",
    "I can help. " * 40,
    "**Sure** <b>What is your name?</b>",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_people_say_is_fluent(text: str) -> None:
    assert speech(text) >= 0.9


@pytest.mark.parametrize("text", BAD)
def test_what_nobody_says_is_not(text: str) -> None:
    assert speech(text) < 0.3


def test_a_line_that_breaks_off_loses_half_and_a_long_one_the_square_of_its_excess() -> None:
    told = "I will send the new lamp to your house on Monday."
    assert speech(told[:-1]) == 0.5
    assert speech(told, most_words=11) == 1.0
    assert speech(told, most_words=5) == pytest.approx((5 / 11) ** 2)


def test_courtesies_are_made_whole() -> None:
    assert made_whole("Thank you for that. Sorry about it. Please wait.") == (
        "I thank you for that. I am sorry about it. You wait."
    )
    assert made_whole("Sure, it is here. May I go?") == "It is here. I may go?"


def test_commands_are_made_whole_and_questions_are_not() -> None:
    assert commands_whole("Add the ones. Then carry one. What is it?") == (
        "You add the ones. You carry one. What is it?"
    )
    assert speech(commands_whole("First add the ones and then the tens.")) >= 0.9
