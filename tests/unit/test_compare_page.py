"""The page of a comparison: whole, escaped, without a network; charts by hand."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from compare_cases import plan, result

from sayso.dashboard.charts import Dot, Line, dots_chart, lines_chart, number, ticks
from sayso.dashboard.compare_page import compare_page
from sayso.evaluation.comparison import summarise

VOID = {"meta", "br", "circle", "line", "polyline", "polygon"}
NASTY = '<img src=x onerror="alert(1)">&\'"</script><b>'


class Checked(HTMLParser):
    """Every element that opens closes, in order; keeps what would run or be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.suspicious: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "href") or "//" in (value or ""):
                self.suspicious.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report(names=("grpo", "ppo"), *, num_seeds=8, **changes):
    adapt = [0, 64]
    results = [
        result(n, s, gain=0.1 * (k == 0), adapt=adapt)
        for k, n in enumerate(names) for s in range(num_seeds)
    ]  # fmt: skip
    return summarise(plan(names, adapt=adapt, **changes), results, command="sayso compare a b")


def checked(page: str) -> Checked:
    parser = Checked()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_page_is_whole_and_fetches_nothing() -> None:
    found = checked(compare_page(report()))
    assert (found.scripts, found.suspicious) == (1, [])
    text = " ".join("".join(found.text).split())
    for said in (
        "grpo is better than ppo", "200 k environment tokens", "Learning curves",
        "Performance profiles", "What is lost on other tasks", "Adaptation", "What they say",
        "sayso compare a b", "optim.lr", "Who wins how often", "8 times",
    ):  # fmt: skip
        assert said in text, said


def test_s2_nothing_that_a_model_or_user_wrote_becomes_markup() -> None:
    told = report((NASTY, "ppo"))
    told["command"] = told["notes"] = NASTY
    told["notes"] = [NASTY]
    for sample in told["samples"]:
        sample["task"] = sample["env"] = NASTY
        for answer in sample["answers"]:
            answer["text"] = answer["observation"] = NASTY
    told["arms"][0]["config"] = {NASTY: {NASTY: NASTY}}
    told["arms"][0]["recipe"] = NASTY
    found = checked(compare_page(told))
    assert (found.scripts, found.suspicious) == (1, [])
    assert "".join(found.text).count(NASTY) >= 20, "all of it is there to be read"


def test_every_text_of_a_report_is_escaped_wherever_it_stands() -> None:
    """A page in which any text holds markup has the same elements as one where none does."""

    def marked(value: object) -> object:
        if isinstance(value, dict):
            return {key: marked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [marked(item) for item in value]
        return f"{value}<i>" if isinstance(value, str) and value in texts else value

    plain = report()
    texts = {"grpo", "ppo", "sayso/Writing-v0", "task-0", "task-1", "sayso compare a b", "writing"}
    told = json.loads(
        json.dumps(marked(plain)).replace('"sayso/Writing-v0":', '"sayso/Writing-v0<i>":')
        .replace('"grpo":', '"grpo<i>":').replace('"ppo":', '"ppo<i>":')
    )  # fmt: skip
    page = compare_page(told)
    assert "<i>" not in page
    assert page.count("&lt;i&gt;") > 50


def test_a_page_can_be_made_from_a_stored_report() -> None:
    told = report()
    assert compare_page(json.loads(json.dumps(told))) == compare_page(told)


def test_few_seeds_say_that_they_are_few() -> None:
    text = re.sub(r"\s+", " ", compare_page(report(num_seeds=2)))
    assert "With 2 seeds no result can be certain: 6 are the least." in text
    assert "not enough seeds to tell" in text
    assert "is better than" not in text
    checked(text)


def test_more_arms_than_colours_and_one_alone() -> None:
    page = compare_page(report([f"arm{k}" for k in range(10)], num_seeds=2))
    checked(page)
    assert "stroke-dasharray" in page
    checked(compare_page(report(("grpo",), num_seeds=2)))


def test_both_schemes_define_the_same_colours() -> None:
    page = compare_page(report(num_seeds=2))
    light, dark = re.findall(r":root\{(.*?)\}", page, re.DOTALL)
    names = [set(re.findall(r"--(\w+):", part)) for part in (light, dark)]
    assert names[0] == names[1]
    assert names[0] >= set(re.findall(r"var\(--(\w+)\)", page))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-7.0, 3.0, [-6, -4, -2, 0, 2]),
        (0.0, 200_000.0, [0, 50_000, 100_000, 150_000, 200_000]),
        (0.1234, 0.1236, [0.12340, 0.12345, 0.12350, 0.12355, 0.12360]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_on_axes() -> None:
    told = [number(x) for x in (0, 0.25, 1500, 12_000, 2.5e6, 3e9, -40)]
    assert told == ["0", "0.25", "1 500", "12 k", "2.5 M", "3 G", "-40"]


def svg(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  # our own


def test_lines_stand_where_their_numbers_are() -> None:
    line = Line(name="a<b", place=0, x=[0, 1], y=[0.0, 1.0], low=[None, 0.5], high=[None, 1.5])
    chart = svg(lines_chart([line], x_label="x", y_label="y", y_range=(0.0, 1.0)))
    (drawn,) = chart.findall("polyline")
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in drawn.get("points").split())
    assert x0 < x1
    assert y0 > y1, "up is more"
    assert not chart.findall("polygon"), "a band needs two ends that are known"
    assert [t.text for t in chart.iter("title")] == ["a<b: 0 at 0", "a<b: 1 at 1"]


def test_dots_stand_where_their_numbers_are() -> None:
    dots = [
        Dot(name="a", place=0, mean=0.5, low=0.25, high=0.75, group="g"),
        Dot(name="b", place=1, mean=1.0, low=None, high=None, group="g"),
    ]
    chart = svg(dots_chart(dots, label="return", zero=True))
    circles = [float(c.get("cx")) for c in chart.findall("circle")]
    (bar,) = [e for e in chart.findall("line") if "bar" in e.get("class")]
    assert circles[0] == pytest.approx((float(bar.get("x1")) + float(bar.get("x2"))) / 2, abs=0.2)
    (zero,) = [e for e in chart.findall("line") if e.get("class") == "zero"]
    step = circles[1] - circles[0]
    assert circles[0] - float(zero.get("x1")) == pytest.approx(step, abs=0.2)
    assert [t.text for t in chart.findall("text") if t.get("class") == "group"] == ["g"]


def test_the_matrix_of_chances_mirrors_both_ends() -> None:
    told = report()
    for v in told["verdicts"]:
        v["improvement"] = {"mean": 0.75, "low": 0.5, "high": 0.9, "n": 8}
    page = compare_page(told)
    assert '<td class="n"></td><td class="n">75% [50%, 90%]</td>' in page
    assert '<td class="n">25% [10%, 50%]</td><td class="n"></td>' in page


def test_chances_over_environments_stand_by_their_split() -> None:
    """Held out the one wins, unseen the other: two tables, each with its heading."""
    envs = ("sayso/Writing-v0", "sayso/Maze-v0")
    results = [
        result(n, s, env=env, returns={"train": [0.5], "held_out": [0.5 + 0.1 * k],
                                       "unseen": [0.6 - 0.1 * k]})
        for env in envs for k, n in enumerate(("grpo", "ppo")) for s in range(6)
    ]  # fmt: skip
    page = compare_page(summarise(plan(envs=envs), results, command="c"))
    _, _, after = page.partition("<h2>Who wins how often</h2>")
    table, _, _ = after.partition("<h2>")
    pooled = {
        part.split("</h3>")[0]: re.findall(r"(\d+)% \[", part)
        for part in table.split("<h3>")[1:] if part.startswith("all, each in its own range")
    }  # fmt: skip
    told = {heading.split(", ", 2)[2]: cells for heading, cells in pooled.items()}
    assert told["held-out tasks"] == ["0", "100"]
    assert told["tasks of kinds never trained on"] == ["100", "0"]


def test_each_answer_stands_below_what_it_answers() -> None:
    told = report()
    task, other = told["samples"][:2]
    task["answers"][1]["observation"] = "You are in another room."
    page = compare_page(told)
    shown = page.partition("<h2>What they say</h2>")[2].partition("<h2>")[0]
    assert shown.count("You are in another room.") == 1
    asked = "Write one sentence about &lt;the sea&gt; &amp; the sky."
    assert (
        shown.index(asked) < shown.index("The grpo sea") < shown.index("You are in another room.")
    )
    assert shown.index("You are in another room.") < shown.index("The ppo sea")
    assert shown.count(other["answers"][0]["observation"]) == 1, "what is the same is told once"


def test_settings_name_the_environment_where_there_are_several() -> None:
    envs = ("sayso/Writing-v0", "sayso/Maze-v0")
    results = [result(n, 0, env=env) for env in envs for n in ("grpo", "ppo")]
    page = compare_page(summarise(plan(envs=envs), results, command="c"))
    heads = re.findall(r"<th>(grpo[^<]*|ppo[^<]*)</th>", page.partition("<h2>Settings</h2>")[2])
    assert len(set(heads)) == 4
    assert "grpo on sayso/Maze-v0" in heads
