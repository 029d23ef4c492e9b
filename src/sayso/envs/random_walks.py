"""Random walks: find a short way to the goal of a directed graph, said in one breath."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.scripted import Scripted
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import derive
from sayso.types import Task

GOAL = 0
MAX_DRAWS = 10_000
HELD_OUT_SHARE = UNSEEN_SHARE = 0.2
TRLX_SEED = 1000
"""Of trlx's examples, which draw this graph."""


@dataclass(frozen=True)
class Graph:
    """A directed graph; nodes are numbers from 0, node 0 is the goal.

    Attributes:
        ways: For each node, the nodes that an edge leads to, ascending; the goal has none.
    """

    ways: tuple[tuple[int, ...], ...]

    @cached_property
    def distances(self) -> dict[int, int]:
        """Fewest edges from each node that can reach the goal, by breadth-first search."""
        found, queue = {GOAL: 0}, deque([GOAL])
        while queue:
            node = queue.popleft()
            for near, ways in enumerate(self.ways):
                if node in ways and near not in found:
                    found[near] = found[node] + 1
                    queue.append(near)
        return found

    @property
    def edges(self) -> str:
        """Edges as pairs of letters, in order: ``"ba bc cb"``."""
        return " ".join(
            f"{ascii_lowercase[node]}{ascii_lowercase[near]}"
            for node, ways in enumerate(self.ways)
            for near in ways
        )


def draw_graph(seed: int, num_nodes: int, edge_probability: float) -> Graph:
    """A random graph in which every node has a way out.

    Each ordered pair of different nodes is an edge with the same probability; all are drawn again
    until every node has one that leaves it; then the goal's are taken away.

    Raises:
        OptionValueError: If none of 10 000 draws will do.

    Source:
        The recipe of trlx's examples/randomwalks, with their generator (NumPy's legacy Mersenne
        Twister): seed 1000, 21 nodes and probability 0.1 give the graph that they train on.
    """
    draws = np.random.RandomState(seed)
    for _ in range(MAX_DRAWS):
        is_edge = draws.rand(num_nodes, num_nodes) > 1 - edge_probability
        np.fill_diagonal(is_edge, val=False)
        if is_edge.any(axis=1).all():
            is_edge[GOAL] = False
            return Graph(tuple(tuple(np.flatnonzero(row).tolist()) for row in is_edge))
    raise OptionValueError(
        where="sayso/RandomWalks-v0, edge_probability",
        problem=f"{edge_probability} leaves some of {num_nodes} nodes without a way out.",
        fix="Use a higher probability, or fewer nodes.",
    )


def optimality(num_visited: int, shortest: int, max_length: int) -> float:
    r"""Reward of a walk that reaches the goal, in [0, 1].

    .. math:: \frac{L_\text{max} - L}{L_\text{max} - L^*}

    Args:
        num_visited: Nodes of the walk, the start and the goal included, L.
        shortest: The same of a shortest walk; it must be below ``max_length``, or 0/0 is asked for.
        max_length: Most nodes of a walk.

    Source:
        trlx, examples/randomwalks, whose quotient is 0/0 for starts whose shortest walk has
        ``max_length`` nodes; such starts are no tasks here.
    """
    if not 1 <= shortest <= num_visited or shortest >= max_length:
        raise ValueError(f"shortest {shortest}, visited {num_visited}, at most {max_length}")
    return max(0.0, (max_length - num_visited) / (max_length - shortest))


def random_walk_return(graph: Graph, start: int, max_length: int) -> float:
    """Expected reward of the random walk from a start, exactly: its law is propagated by nodes.

    Tests:
        tests/unit/test_random_walks_env.py, against enumeration of all walks and against sampling.
    """
    shortest, at, expected = graph.distances[start] + 1, {start: 1.0}, 0.0
    for num_visited in range(2, max_length + 1):
        onward: dict[int, float] = {}
        for node, share in at.items():
            for near in graph.ways[node]:
                onward[near] = onward.get(near, 0.0) + share / len(graph.ways[node])
        if GOAL in onward:
            expected += onward.pop(GOAL) * optimality(num_visited, shortest, max_length)
        at = onward
    return expected


def _random_walk(env: RandomWalksEnv, draws: np.random.Generator) -> str:
    graph, walk = env.graph, [env.start]
    while walk[-1] != GOAL and len(walk) < env.max_length:
        ways = graph.ways[walk[-1]]
        walk.append(ways[int(draws.integers(len(ways)))])
    return _said(walk[1:])


def _shortest(env: RandomWalksEnv, draws: np.random.Generator) -> str:
    del draws
    left, walk = env.graph.distances, [env.start]
    while walk[-1] != GOAL:
        walk.append(min(env.graph.ways[walk[-1]], key=lambda near: left.get(near, len(left))))
    return _said(walk[1:])


class RandomWalksEnv(TextEnv):
    """Name the nodes of a short way to the goal, ``a``, in one action; reward in [0, 1].

    The observation is the letter of the start. The action is the letters of the nodes visited
    after it, ending at the goal; white space between them is ignored. The reward is ``optimality``:
    1 for a shortest walk, less for each node more, 0 if the walk has more than ``max_length``
    nodes (the start included), uses an edge that does not exist, or does not end at the goal.
    The game ends, terminated, after the one action. The reward part ``reached`` (1 or 0), not added
    to the reward, says whether the walk leads to the goal.

    With the defaults the graph is the one of trlx's example (CarperAI/trlx, examples/randomwalks),
    its 1 000 logged walks are the player ``random_walk``. Two differences: what is said after the
    goal is not ignored, and starts from which nothing can be earned are no tasks.

    Args:
        graph_in_prompt: The observation lists the edges before the start, ``ba bc cb. Start: c``,
            and there are ``num_graphs`` graphs, of the seeds from ``seed`` on.
        num_graphs: How many; used with ``graph_in_prompt`` only.
        num_nodes: 2 to 26.
        max_length: Most nodes of a walk, the start and the goal included; at least 3.
        edge_probability: Of each ordered pair of nodes, in (0, 1].
        seed: Of the (first) graph.
        starts: ``"split"``: ``held_out`` are a fifth of the graph's starts, by a hash of graph and
            start. ``unseen`` are, with one graph, the starts farthest from the goal (whole
            distances, at most a fifth): longer walks than any trained on; with many, a fifth of
            the graphs, by a hash of their edges. ``"all"``: train on all, as trlx does.
    """

    max_turns = 1
    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "random_walk": Scripted(
                act=_random_walk, about="any edge, until the goal: trlx's logged walks",
                is_oracle=True,
            ),
            "shortest": Scripted(
                act=_shortest, about="a shortest walk: the optimum", is_oracle=True
            ),
        }
    )  # fmt: skip

    def __init__(
        self,
        *,
        graph_in_prompt: bool = False,
        num_graphs: int = 100,
        num_nodes: int = 21,
        max_length: int = 10,
        edge_probability: float = 0.1,
        seed: int = TRLX_SEED,
        starts: Literal["split", "all"] = "split",
    ) -> None:
        self.graph_in_prompt, self.max_length, self.starts = graph_in_prompt, max_length, starts
        self._check(num_graphs, num_nodes, edge_probability)
        seeds = range(seed, seed + (num_graphs if graph_in_prompt else 1))
        drawn = (draw_graph(each, num_nodes, edge_probability) for each in seeds)
        self.graphs = tuple(dict.fromkeys(drawn))
        self._now: tuple[Graph, int] | None = None
        if not self.tasks("train"):
            raise OptionValueError(
                where="sayso/RandomWalks-v0",
                problem="has no start to train on from which the goal can be reached in fewer "
                f"than {max_length} nodes.",
                fix="Use more edges, more nodes, longer walks, another seed, or starts='all'.",
            )

    @property
    def graph(self) -> Graph:
        """The graph of the task that is posed."""
        return self._posed()[0]

    @property
    def start(self) -> int:
        """The start of the task that is posed."""
        return self._posed()[1]

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per start of each graph, if something can be earned there."""
        return self._tasks.get(split, ())

    @cached_property
    def _tasks(self) -> dict[str, tuple[Task, ...]]:
        found: dict[str, list[Task]] = {split: [] for split in SPLITS}
        for number, graph in enumerate(self.graphs):
            prefix = f"graph-{number}-" if self.graph_in_prompt else ""
            for start in sorted(self._starts(graph)):
                split = self._split_of(graph, start)
                letter = ascii_lowercase[start]
                payload = {
                    "edges": graph.edges, "start": letter, "max_length": self.max_length,
                    "graph_in_prompt": self.graph_in_prompt, "graph": number,
                }  # fmt: skip
                task_id = f"{prefix}start-{letter}"
                task = Task(id=task_id, env="sayso/RandomWalks-v0", split=split, payload=payload)
                found[split].append(task)
        return {split: tuple(tasks) for split, tasks in found.items()}

    def why_empty(self, split: str) -> str:
        """Small graphs may have no start of a kind."""
        if split not in SPLITS:
            return ""
        if self.starts == "all":
            return "starts='split' keeps some for it."
        return "There are too few starts, or graphs, for it to have any."

    def level(self, task: Task) -> int:
        """Edges of a shortest walk."""
        graph = self.graphs[task.payload["graph"]]
        length: int = graph.distances[ascii_lowercase.index(task.payload["start"])]
        return length

    def _starts(self, graph: Graph) -> list[int]:
        """Starts whose shortest walk leaves room for a longer one: where ``optimality`` is."""
        return [n for n, d in graph.distances.items() if n != GOAL and d + 1 < self.max_length]

    def _split_of(self, graph: Graph, start: int) -> str:
        if self.starts == "all":
            return "train"
        if self.graph_in_prompt:
            is_unseen = derive(0, "graph", graph.edges) % 10 >= 10 * (1 - UNSEEN_SHARE)
        else:
            lengths = sorted(graph.distances[node] for node in self._starts(graph))
            longest = lengths[len(lengths) - 1 - int(UNSEEN_SHARE * len(lengths))]
            is_unseen = graph.distances[start] > longest
        if is_unseen:
            return "unseen"
        is_held_out = derive(0, "start", graph.edges, start) % 10 >= 10 * (1 - HELD_OUT_SHARE)
        return "held_out" if is_held_out else "train"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Stand at the task's start."""
        super().reset(seed=seed)
        told = self.choose(seed, options).payload
        graph = self.graphs[told["graph"]]
        self._now = graph, ascii_lowercase.index(told["start"])
        if not self.graph_in_prompt:
            return told["start"], {}
        return f"{graph.edges}. Start: {told['start']}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Walk."""
        graph, start = self._posed()
        self._now = None
        said = "".join(action.split())[: self.max_length]  # one more than fits is too long already
        nodes = [start, *map(ascii_lowercase.find, said)]  # -1 is no node, so no edge leads to it
        has_reached = (
            len(nodes) <= self.max_length
            and nodes[-1] == GOAL
            and all(near in graph.ways[node] for node, near in pairwise(nodes))
        )
        reward = 0.0
        if has_reached:
            reward = optimality(len(nodes), graph.distances[start] + 1, self.max_length)
        return "", reward, True, False, {"reward_parts": {"reached": float(has_reached)}}

    def _posed(self) -> tuple[Graph, int]:
        if self._now is None:
            raise EnvContractError(
                where="sayso/RandomWalks-v0, step",
                problem="no task is posed.",
                fix="Call reset before each step: an episode is one turn.",
            )
        return self._now

    def _check(self, num_graphs: int, num_nodes: int, edge_probability: float) -> None:
        wrong = {
            "num_graphs": (num_graphs, num_graphs >= 1, "at least 1"),
            "num_nodes": (num_nodes, 2 <= num_nodes <= len(ascii_lowercase), "2 to 26"),
            "max_length": (self.max_length, self.max_length >= 3, "at least 3"),
            "edge_probability": (edge_probability, 0 < edge_probability <= 1, "more than 0 to 1"),
            "starts": (self.starts, self.starts in ("split", "all"), "'split' or 'all'"),
        }
        for name, (value, is_right, allowed) in wrong.items():
            if not is_right:
                raise OptionValueError(
                    where=f"sayso/RandomWalks-v0, {name}",
                    problem=f"got {value!r}.",
                    fix=f"Use {allowed}.",
                )


def _said(nodes: Sequence[int]) -> str:
    return "".join(ascii_lowercase[node] for node in nodes)
