"""Vocabulary, grammar, form and quality of a text, checked against literal examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayso.rewards import clauses, fluency, grammar, order
from sayso.rewards.quality import layout, quality, size
from sayso.rewards.tokens import tokens
from sayso.rewards.vocabulary import inflections, is_known, lexicon, verb_forms

# --- vocabulary -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("walk", ("walks", "walked", "walking")),
        ("carry", ("carries", "carried", "carrying")),
        ("stop", ("stops", "stopped", "stopping")),
        ("bake", ("bakes", "baked", "baking")),
        ("agree", ("agrees", "agreed", "agreeing")),
        ("tie", ("ties", "tied", "tying")),
        ("watch", ("watches", "watched", "watching")),
        ("play", ("plays", "played", "playing")),
        ("admit", ("admits", "admitted", "admitting")),
        ("open", ("opens", "opened", "opening")),
    ],
)
def test_verbs_are_inflected_by_rule(base: str, forms: tuple[str, str, str]) -> None:
    found = inflections(base)
    assert (found["s"], found["ed"], found["ing"]) == forms


@pytest.mark.parametrize(
    "word",
    [
        "the",
        "lantern",
        "lanterns",
        "moonlit",
        "whispered",
        "London",
        "Emily's",
        "half-open",
        "1987",
        "don't",
        "villagers",
        "unkind",
        "icy",
    ],
)
def test_english_words_are_known(word: str) -> None:
    assert is_known(word)


@pytest.mark.parametrize(
    "word",
    [
        "blorf",
        "lanternriver",
        "snarfly",
        "disadvant",
        "storyt",
        "qwzx",
        "lanterna",
        "mooglets",
        "thelantern",
        "xx",
    ],
)
def test_inventions_fragments_and_glued_words_are_unknown(word: str) -> None:
    assert not is_known(word)


def test_the_lists_are_of_useful_size() -> None:
    assert len(lexicon()) > 15_000
    assert len(verb_forms()) > 2_500


# --- grammar and form ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pair",
    ["the of", "a the", "the is", "a old", "an house", "she the", "he have", "they was", "of and",
     "is was", "could was", "cat cat", "a stars", "the everyone", "she walk"],
)  # fmt: skip
def test_bad_neighbours_are_found(pair: str) -> None:
    assert grammar.num_clashes(f"Birds sang {pair} sang") >= 1


@pytest.mark.parametrize(
    "sentence",
    [
        "An honest man in a university town had an hour to spare.",
        "He and she had had enough of it.",
        "The will of the old king was read in the hall.",
        "Where is she, and who will find her?",
        "The above is what they said to us.",
        "Did he go, or will she walk?",
        "A bus met a boss with a news story.",
        "I am not the one you are looking for.",
    ],
)
def test_good_neighbours_are_left_alone(sentence: str) -> None:
    assert grammar.num_clashes(sentence) == 0


def test_an_article_and_its_noun_agree_in_sound() -> None:
    assert grammar.article_fits("an", "owl")
    assert not grammar.article_fits("a", "owl")
    assert grammar.article_fits("a", "unicorn")
    assert grammar.article_fits("an", "hour")
    assert grammar.article_fits("an", "uninvited")
    assert grammar.article_fits("a", "one-eyed")


def test_verbs_are_the_share_of_sentences_with_one() -> None:
    assert clauses.verbs("The dog barked. A dark night.") == 0.5
    assert clauses.verbs("A dark night by the old bridge.") == 0.0
    assert clauses.verbs("They sing.") == 1.0
    assert clauses.verbs("") is None


@pytest.mark.parametrize(
    "sentence",
    [
        "The dog barks.",
        "As a child, she sang.",
        "While the sun rose over the hill, she slept.",
        "She worked as a nurse until the war ended.",
        "The gate that was closed fell.",
        "He said that he was lost.",
        "When did the rain stop?",
        "If everyone is lost, who will bring them home?",
        "The village below slept.",
        "The waves broke on the shore.",
        "The waves crash on the shore.",
        "She waves at the sailors.",
        "That night she wept.",
        "What she wanted, nobody knew.",
        "Nobody knew where she went.",
        "There was a war in the castle.",
        "It's raining again.",
        "Let it rain.",
        "Because she had lost her key, we waited.",
        "When it rained, what did you do?",
    ],
)
def test_a_clause_has_a_main_verb(sentence: str) -> None:
    assert clauses.has_main_verb(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "A mermaid on a deserted island, speaking to someone deep beneath the waves.",
        "A strange dream about a candidate who predicts victory.",
        "A man who lost his hat.",
        "The silent garden of scattered leaves.",
        "A covered gate in the city of lights.",
        "When the night came to the sea.",
        "The river, the stars, the sound of the waves.",
        "Because she had lost her key.",
        "Who was never really lost.",
        "A dream to set sail.",
        "Woke up with a vengeance.",
        "Lost in the dark by the sea.",
        "The left hand of the king.",
    ],
)
def test_a_fragment_has_none(sentence: str) -> None:
    assert not clauses.has_main_verb(sentence)


def test_a_comma_alone_does_not_join_two_clauses() -> None:
    assert clauses.num_splices("Two friends met, they talked for hours.") == 1
    assert clauses.num_splices("It was late, she was tired, he was cold.") == 2
    assert clauses.num_splices("When it was late, she was tired.") == 0
    assert clauses.num_splices("It was late, and she was tired.") == 0
    assert clauses.num_splices("In the morning, she was tired.") == 0
    assert clauses.num_splices('"I am tired," she said.') == 0


def test_tomorrow_is_not_past() -> None:
    assert clauses.num_tense_clashes("He visited us tomorrow. She will leave yesterday.") == 2
    assert clauses.num_tense_clashes("He will visit us tomorrow. She left yesterday.") == 0
    assert clauses.num_tense_clashes("He said he would visit us tomorrow.") == 0


def test_a_pile_of_nouns_is_measured() -> None:
    assert grammar.longest_pile("Lantern window garden mirror boat.") == 5
    assert grammar.longest_pile("The old stone bridge fell.") == 3


def test_function_words_are_neither_rare_nor_all() -> None:
    assert grammar.function_share("Lantern window garden mirror") == 0.0
    assert grammar.function_share("the of and to in on at by") == 0.0
    assert grammar.function_share("The dog sat by the door.") == 1.0


def test_lists_lose_by_their_commas() -> None:
    assert grammar.pauses("One, two, three, four, five.") == 0.0
    assert grammar.pauses("When it rained, we stayed at home.") == 1.0


def test_each_check_of_grammar_lowers_the_whole() -> None:
    def total(answer: str) -> float:
        score = grammar.grammar(answer)
        assert score is not None
        return score

    assert total("The old dog slept by the door.") == 1.0
    assert total("The of old dog slept by the door.") == pytest.approx(2 / 3)
    assert total("The dog by the door of the house.") == pytest.approx(0.3)
    assert total("The old red stone garden gate fell on me.") == pytest.approx(0.3)
    assert total("She was in it with him and they had had that.") == 0.0
    assert total("She saw dogs, cats, birds, cows and pigs.") == pytest.approx(0.5)
    assert total("He never really quietly slept there again soon.") < 0.4
    assert total("It was late, she was cold.") == pytest.approx(2 / 3)
    assert total("The dog visited the house tomorrow.") == pytest.approx(2 / 3)
    assert total("In the rain she walk to the door.") == pytest.approx(2 / 3)
    assert grammar.grammar("") is None


def test_spacing_counts_slips() -> None:
    assert fluency.spacing("Yes, it is. No!") == 1.0
    assert fluency.spacing("Yes , it is.") == pytest.approx(2 / 3)
    assert fluency.spacing("Yes,it is.No !") == 0.0


def test_each_check_of_form_lowers_the_whole() -> None:
    def total(answer: str) -> float:
        score = fluency.form(answer, unfinished=0.3)
        assert score is not None
        return score

    assert total("The dog slept.") == 1.0
    assert total("The dog slept") == pytest.approx(0.3)
    assert total('The "dog" slept.') == pytest.approx(0.5)
    assert total("The dog , it slept.") == pytest.approx(2 / 3)
    assert total("The *dog* slept.") == pytest.approx(0.25)
    assert total("the dog slept.") == pytest.approx(0.2)


def test_capitals_ask_for_a_big_start_and_few_others() -> None:
    assert fluency.capitals("The cat met Emily in London.") == 1.0
    assert fluency.capitals("I think I know her.") == 1.0
    low = fluency.capitals("the cat met us.")
    assert low is not None
    assert low < 0.3
    assert fluency.capitals("THE CAT MET US.") == 0.0
    assert fluency.capitals("The Cat Met The Dog And The Bird.") == 0.0


@pytest.mark.parametrize("ending", ["end.", "end!", "end?", 'end."', 'end".', "end..."])
def test_finished_text(ending: str) -> None:
    assert fluency.is_finished(f"The {ending}")


@pytest.mark.parametrize("ending", ["end", "end,", "end ??", "end....", "end!!", "end -", "end:"])
def test_unfinished_text(ending: str) -> None:
    assert not fluency.is_finished(f"The {ending}")


def test_speech_in_quotes_is_fine_and_quoted_words_are_not() -> None:
    assert fluency.quotes('"Run," she said.') == 1.0
    assert fluency.quotes('The "lantern" fell.') == 0.5
    assert fluency.quotes('"The lantern fell.') == 0.4
    assert fluency.quotes('"The lantern fell."') == 0.6


@pytest.mark.parametrize(
    "chatter",
    [
        "Here's a poem about it.", "Sure, the cat sat.", "**The** cat sat.", "The cat #sat.",
        "Title: The cat.", "This sentence has a cat.", "The cat sat in ten words, or 10 words.",
        "As an AI, I like cats.", "The story line is about a cat.",
        "It is a 7 to 11 day.", "The cat sat 😀.",
    ],
)  # fmt: skip
def test_chatter_markup_and_emoji_are_not_plain(chatter: str) -> None:
    assert fluency.plain(chatter) < 0.5


@pytest.mark.parametrize(
    "prose",
    [
        "Here is where she kept the letters.",
        "The words echoed through the empty hall.",
        "Surely the sea would give him back.",
        "Use your head, said the fox.",
        "Sorrow came to the house on Monday.",
        "The answer lay under the old stone.",
    ],
)
def test_prose_is_plain(prose: str) -> None:
    assert fluency.plain(prose) == 1.0


def test_copying_the_prompt_costs_from_four_words() -> None:
    prompt = "Write one sentence of a story set in winter."
    assert fluency.own_words("It was set in winter.", prompt) == 1.0
    assert fluency.own_words("It ends one day in a story set in winter.", prompt) == (
        pytest.approx(1 - 0.6 - 0.25)
    )
    assert fluency.own_words("Write one sentence of a story set.", prompt) == 0.0


def test_naming_the_job_costs_unless_the_prompt_asks_for_the_word() -> None:
    plain = "Write one sentence of a story."
    assert fluency.own_words("The story begins at dawn.", plain) == 0.75
    assert fluency.own_words("The poem begins at dawn.", plain) == 1.0
    asked = 'Write one sentence of a story. Use the word "story".'
    assert fluency.own_words("The story begins at dawn.", asked) == 1.0


def test_one_unknown_word_costs_more_in_a_short_text() -> None:
    short = fluency.known_words("The blorf sat down.")
    long = fluency.known_words("The blorf sat down by the river and sang to the moon all night.")
    assert short is not None
    assert long is not None
    assert short < long < 1.0
    assert fluency.known_words("The zarn met zorf.") == 0.0


def test_size_guards_far_outside_the_range_only() -> None:
    prose = "word " * 4
    assert size(prose, low=8, high=14) == 1.0
    assert size("one two", low=8, high=14) == 0.25
    assert size("word " * 70, low=8, high=14) == 0.25


def test_more_lines_than_asked_for_cost_their_share() -> None:
    assert layout("one\ntwo", max_lines=2) == 1.0
    assert layout("one\ntwo\n\nthree\nfour", max_lines=1) == 0.25


def test_text_without_words_has_no_quality() -> None:
    assert set(quality("?!", prompt="p", low=8, high=14).values()) == {0.0}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_quality_stays_in_range_for_any_text(anything: str) -> None:
    parts = quality(anything, prompt="Write a line.", low=8, high=14)
    assert all(0.0 <= score <= 1.0 for score in parts.values())


@pytest.mark.parametrize(
    "sentence",
    [
        "The song the sailor sang was sad.",
        "She knew he was right, and they said it must be a myth.",
        "I'm sure they'd love it if we came.",
        "They lived in houses made of glass.",
        "He gave the child a lantern and told her a story.",
        "That was the day the rain came.",
        "Maria had always been a bit of a rebel.",
        "What the old man found was a key to the house his father built.",
        "There are those that need help.",
        "It was a Saturday in May.",
        "Has the storm passed, or will it come back?",
    ],
)
def test_ordinary_sentences_are_in_order(sentence: str) -> None:
    assert order.num_disorders(sentence) == 0


@pytest.mark.parametrize(
    ("sentence", "spare", "loose", "stray"),
    [
        ("Hat took them gave her made us cold.", 2, 0, 0),
        ("The lantern the river was gone.", 0, 1, 0),
        ("A lantern a river was seen.", 0, 1, 0),
        ("The went was cold.", 0, 0, 1),
        ("She ran because of the quickly.", 0, 0, 1),
        ("They saw each those.", 0, 0, 1),
        ("They were under sang.", 0, 0, 1),
        ("A river were cold.", 0, 0, 1),
        ("Went by the river.", 0, 0, 1),
    ],
)
def test_each_kind_of_disorder_is_counted(
    sentence: str, spare: int, loose: int, stray: int
) -> None:
    found = tokens(sentence)
    assert order.num_spare_verbs(found) == spare
    assert order.num_loose_phrases(found) == loose
    assert order.num_stray_words(found) == stray
