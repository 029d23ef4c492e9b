"""Random walks: the graph, what a walk is worth, the splits, and what two players earn."""

from __future__ import annotations

import math
from itertools import product
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest

import sayso
from sayso.envs.random_walks import (
    Graph,
    RandomWalksEnv,
    draw_graph,
    optimality,
    random_walk_return,
)
from sayso.envs.scripted import bounds, play_many
from sayso.errors import EnvContractError, OptionValueError, UnknownNameError

ENV = RandomWalksEnv()
ALL = RandomWalksEnv(starts="all")
GRAPHS = RandomWalksEnv(graph_in_prompt=True)
SPLITS = ("train", "held_out", "unseen")
RANDOM_WALK = 0.3462256995104408
"""What the random walk earns on trlx's graph, from all 20 starts."""


def walked(env: RandomWalksEnv, start: str, action: str) -> tuple[Any, ...]:
    env.reset(options={"task": f"start-{start}"})
    return env.step(action)


def small(max_length: int = 4) -> RandomWalksEnv:
    """b - a directly, and b - c - a; d leads to b only."""
    env = RandomWalksEnv(num_nodes=4, edge_probability=0.9, max_length=max_length, starts="all")
    env.graphs = (Graph(((), (0, 2), (0, 1), (1,))),)
    env.__dict__.pop("_tasks", None)
    return env


def test_the_default_graph_is_trlxs_by_its_own_recipe() -> None:
    draws = np.random.RandomState(1000)
    while True:
        matrix = draws.rand(21, 21) > 0.9
        matrix[np.arange(21), np.arange(21)] = False
        if (matrix.sum(1) > 0).all():
            break
    edges = {(i, j) for i in range(1, 21) for j in range(21) if matrix[i, j]}
    (graph,) = ENV.graphs
    assert {(i, j) for i, ways in enumerate(graph.ways) for j in ways} == edges
    assert graph.ways[0] == ()
    assert all(graph.ways[1:])
    assert len(ALL.tasks("train")) == 20


def test_distances_are_those_of_powers_of_the_adjacency_matrix() -> None:
    for graph in GRAPHS.graphs[:20]:
        matrix = np.zeros((21, 21), dtype=int)
        for node, ways in enumerate(graph.ways):
            matrix[node, list(ways)] = 1
        for node in range(1, 21):
            lengths = [k for k in range(1, 22) if np.linalg.matrix_power(matrix, k)[node, 0]]
            assert graph.distances.get(node) == min(lengths, default=None)


@pytest.mark.parametrize(
    ("start", "action", "worth"),
    [
        ("b", "a", 1.0), ("b", "ca", 0.5), ("b", "cba", 0.0), ("b", "cbca", 0.0), ("d", "ba", 1.0),
        ("d", "bca", 0.0), ("b", " c\na ", 0.5), ("b", "bca", 0.0), ("d", "a", 0.0), ("b", "", 0.0),
        ("b", "aa", 0.0), ("b", "ab", 0.0), ("b", "c", 0.0), ("b", "A", 0.0), ("b", "c|a", 0.0),
    ],
)  # fmt: skip
def test_what_a_walk_is_worth(start: str, action: str, worth: float) -> None:
    _, reward, terminated, truncated, info = walked(small(), start, action)
    assert (reward, terminated, truncated) == (worth, True, False)
    has_reached = worth > 0 or (start, action) in {("b", "cba"), ("d", "bca")}
    assert info["reward_parts"] == {"reached": float(has_reached)}


def test_the_reward_counts_nodes_against_the_shortest_walk() -> None:
    assert [optimality(length, 3, 10) for length in (3, 4, 9, 10)] == [1.0, 6 / 7, 1 / 7, 0.0]
    with pytest.raises(ValueError, match="shortest 10"):
        optimality(10, 10, 10)  # 0/0 in trlx


def test_starts_whose_shortest_walk_has_the_greatest_length_are_no_tasks() -> None:
    env = small(max_length=3)  # from d, three nodes are needed
    assert [task.id for task in env.tasks("train")] == ["start-b", "start-c"]
    assert walked(env, "b", "a")[1] == 1.0


@pytest.mark.parametrize(
    "action",
    ["", " ", "a", "aaaaaaaaa", "start", "reached", "1.0", "b" * 100_000, "ba" * 50_000, "🙂", "é",
     "\ud800", "\x00", "а", "ａ", ascii_lowercase, ascii_lowercase[::-1], "ba bc. Start: b"],
)  # fmt: skip
def test_nothing_but_a_walk_scores(action: str) -> None:
    """From every start from which the goal is two edges away or more."""
    for task in ALL.tasks("train"):
        start = task.payload["start"]
        if ALL.graphs[0].distances[ascii_lowercase.index(start)] > 1:
            assert walked(ALL, start, action)[1] == 0.0


def test_every_walk_of_up_to_four_letters_is_judged_as_by_its_edges() -> None:
    env = small()
    edges = set(env.graphs[0].edges.split())
    for length in range(5):
        for letters in product("abcd", repeat=length):
            walk = "b" + "".join(letters)
            is_walk = (
                len(walk) <= 4
                and walk.endswith("a")
                and all(walk[i : i + 2] in edges for i in range(length))
            )
            assert walked(env, "b", walk[1:])[4]["reward_parts"]["reached"] == is_walk


def test_the_random_walks_return_is_that_of_all_walks_enumerated() -> None:
    def total(graph: Graph, walk: tuple[int, ...], chance: float, max_length: int) -> float:
        if walk[-1] == 0:
            return chance * optimality(len(walk), graph.distances[walk[0]] + 1, max_length)
        if len(walk) == max_length:
            return 0.0
        ways = graph.ways[walk[-1]]
        return sum(total(graph, (*walk, n), chance / len(ways), max_length) for n in ways)

    for graph, max_length in ((small().graphs[0], 8), (ENV.graphs[0], 7)):
        for start in graph.distances:
            if start and graph.distances[start] + 1 < max_length:
                assert random_walk_return(graph, start, max_length) == pytest.approx(
                    total(graph, (start,), 1.0, max_length), abs=1e-12
                )


def test_the_players_earn_the_optimum_and_what_the_sum_over_nodes_says() -> None:
    exact = [
        random_walk_return(ALL.graphs[0], ascii_lowercase.index(t.payload["start"]), 10)
        for t in ALL.tasks("train")
    ]
    assert sum(exact) / 20 == pytest.approx(RANDOM_WALK, abs=1e-9)
    games = play_many(ALL, ALL.scripted["random_walk"].act, split="train", num_games=4000, seed=0)
    returns = [game.return_ for game in games]
    sigma = float(np.std(returns)) / math.sqrt(4000)
    assert abs(sum(returns) / 4000 - RANDOM_WALK) < 3 * sigma
    for env in (ALL, GRAPHS):
        best = bounds(env, split="train", num_games=200)["shortest"]
        assert best.mean == best.high == 1.0


def test_walks_of_the_random_walk_stop_at_the_goal_or_at_ten_nodes() -> None:
    games = play_many(ALL, ALL.scripted["random_walk"].act, split="train", num_games=500, seed=1)
    edges = set(ALL.graphs[0].edges.split())
    for game in games:
        walk = game.task.payload["start"] + game.moves[0].action
        assert all(walk[i : i + 2] in edges for i in range(len(walk) - 1))
        assert "a" not in walk[:-1]
        assert walk[-1] == "a" or len(walk) == 10
    assert {len(g.moves[0].action) for g in games} >= {1, 9}


def test_one_graph_keeps_the_longest_ways_unseen() -> None:
    starts = {s: [t.payload["start"] for t in ENV.tasks(s)] for s in SPLITS}
    assert {s: len(v) for s, v in starts.items()} == {"train": 14, "held_out": 3, "unseen": 3}
    far = {s: {ENV.graphs[0].distances[ascii_lowercase.index(x)] for x in v}
           for s, v in starts.items()}  # fmt: skip
    assert min(far["unseen"]) > max(far["train"] | far["held_out"])


def test_many_graphs_keep_whole_graphs_unseen() -> None:
    edges = {s: {t.payload["edges"] for t in GRAPHS.tasks(s)} for s in SPLITS}
    assert not edges["unseen"] & (edges["train"] | edges["held_out"])
    assert len(edges["held_out"] & edges["train"]) > 0.9 * len(edges["held_out"])
    pairs = [(t.payload["edges"], t.payload["start"]) for s in SPLITS for t in GRAPHS.tasks(s)]
    assert len(pairs) == len(set(pairs))
    counts = {s: len(GRAPHS.tasks(s)) / len(pairs) for s in SPLITS}
    assert counts["unseen"] == pytest.approx(0.2, abs=0.08)
    assert counts["held_out"] == pytest.approx(0.16, abs=0.05)


def test_the_same_graph_drawn_twice_is_one() -> None:
    env = RandomWalksEnv(graph_in_prompt=True, num_graphs=50, num_nodes=3, edge_probability=0.5)
    assert len(env.graphs) == len({graph.edges for graph in env.graphs}) < 50
    sayso.check_text_env(env, num_seeds=5)


def test_what_is_shown() -> None:
    assert (
        ENV.reset(options={"task": ENV.tasks("train")[0].id})[0]
        == (ENV.tasks("train")[0].payload["start"])
    )
    task = GRAPHS.tasks("unseen")[3]
    text, _ = GRAPHS.reset(options={"task": task.id, "split": "unseen"})
    assert text == f"{task.payload['edges']}. Start: {task.payload['start']}"
    assert small().graphs[0].edges == "ba bc ca cb db"


def test_an_episode_is_one_action() -> None:
    env = RandomWalksEnv()
    with pytest.raises(EnvContractError, match="no task is posed"):
        env.step("a")
    walked(ALL, "b", "a")
    with pytest.raises(EnvContractError, match="no task is posed"):
        ALL.step("a")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"num_nodes": 27}, "2 to 26"), ({"num_nodes": 1}, "2 to 26"), ({"max_length": 2}, "least 3"),
     ({"edge_probability": 0.0}, "more than 0"), ({"starts": "some"}, "'split' or 'all'"),
     ({"graph_in_prompt": True, "num_graphs": 0}, "at least 1"), ({"seed": 1001}, "another seed"),
     ({"edge_probability": 0.01}, "without a way out")],
)  # fmt: skip
def test_options_that_leave_nothing_to_play_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionValueError, match=told):
        RandomWalksEnv(**wrong)


def test_an_empty_split_says_why() -> None:
    with pytest.raises(UnknownNameError, match="starts='split' keeps some"):
        ALL.reset(options={"split": "unseen"})


def test_a_graph_is_drawn_the_same_each_time_and_another_by_another_seed() -> None:
    assert draw_graph(5, 21, 0.1) == draw_graph(5, 21, 0.1) != draw_graph(6, 21, 0.1)


@pytest.mark.medium
@pytest.mark.parametrize("graph_in_prompt", [False, True])
def test_two_hundred_seeds_pass_the_checker(graph_in_prompt: bool) -> None:
    report = sayso.check_text_env(
        "sayso/RandomWalks-v0", num_seeds=200, graph_in_prompt=graph_in_prompt
    )
    assert max(report.exploits.values()) == 0.0
