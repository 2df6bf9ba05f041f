"""The two walks that find cycles, held against the definition of one on small graphs of every kind."""

from graphlib import TopologicalSorter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runcue._scheduling.cycles import find_cycles, follow

NODES = st.integers(0, 7)
GRAPHS = st.dictionaries(NODES, st.lists(NODES, unique=True, max_size=4))


def reached(graph: dict[int, list[int]], start: int) -> set[int]:
    found: set[int] = set()
    new = [start]
    while new:
        for after in graph.get(new.pop(), ()):
            if after not in found:
                found.add(after)
                new.append(after)
    return found


@given(GRAPHS)
def test_the_nodes_in_cycles_are_those_that_others_lead_to_and_that_lead_back(
    graph: dict[int, list[int]],
) -> None:
    found = find_cycles(range(8), lambda node: graph.get(node, ()))
    reach = {node: reached(graph, node) for node in range(8)}
    assert found.nodes == {
        one
        for one in range(8)
        for other in range(8)
        if one != other and other in reach[one] and one in reach[other]
    }
    assert not found.more


@given(GRAPHS)
def test_each_cycle_is_one_and_none_is_left_once_each_is_cut_at_its_last_link(
    graph: dict[int, list[int]],
) -> None:
    rest = {node: [*after] for node, after in graph.items()}
    for way in find_cycles(range(8), lambda node: graph.get(node, ())).ways:
        assert len(way) == len(set(way))
        for node, after in zip(way, [*way[1:], way[0]], strict=True):
            assert after in graph[node]
        rest[way[-1]].remove(way[0])
    TopologicalSorter(rest).prepare()


@given(GRAPHS, st.integers(0, 10))
def test_of_too_many_the_first_is_found_and_the_rest_is_said_to_be_left_out(
    graph: dict[int, list[int]], most: int
) -> None:
    every = find_cycles(range(8), lambda node: graph.get(node, ()))
    some = find_cycles(range(8), lambda node: graph.get(node, ()), most)
    assert some.nodes == every.nodes
    assert some.ways[:1] == every.ways[:1]
    assert some.more == (len(some.ways) < len(every.ways))
    assert len(some.ways) <= 1 or sum(map(len, some.ways)) <= most


def test_each_node_is_asked_once_in_the_order_of_the_walk() -> None:
    asked = []

    def following(node: int) -> list[int]:
        asked.append(node)
        return [(node + 1) % 5]

    assert find_cycles([3, 1], following).ways == [[3, 4, 0, 1, 2]]
    assert asked == [3, 4, 0, 1, 2]


def test_a_walk_is_as_deep_as_the_graph() -> None:
    number = 20_000
    found = find_cycles([0], lambda node: [(node + 1) % number])
    assert [len(way) for way in found.ways] == [number]


@given(st.dictionaries(NODES, NODES))
def test_ways_without_branches_end_in_the_cycles_that_the_walk_with_branches_finds(
    graph: dict[int, int],
) -> None:
    seen: set[int] = set()
    ways = []
    for start in range(8):
        way, cycle = follow(start, graph.get, seen)
        assert way[:1] == ([start] if start not in seen else [])
        assert all(graph[node] == after for node, after in pairwise(way))
        assert not seen.intersection(way)
        seen.update(way)
        if cycle:
            assert way[-len(cycle) :] == cycle
            ways.append(cycle)
    assert ways == find_cycles(range(8), lambda node: [graph[node]] if node in graph else []).ways
    assert seen == set(range(8))
