"""Cycles in a graph: which nodes are in one, and what is once around.

Lives here: one walk over numbered nodes, without recursion, in linear time.

Must not know: what the nodes stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["find_cycles"]


def find_cycles(
    nodes: Iterable[int], following: Mapping[int, Sequence[int]], most: int
) -> tuple[set[int], list[list[int]], bool]:
    """Find the cycles among some nodes.

    Nodes can be on more cycles than anybody could list. Found are so many that there is none left once each of them
    is cut at its last link: one per link that leads back on the way of a depth-first walk.

    Args:
        nodes: Where to look, in the order of the walk.
        following: Which nodes come after a node; those that are not in `nodes` are passed over.
        most: How many nodes the cycles may have together. The first one is found at any length.

    Returns:
        The nodes that are in cycles (Tarjan's strongly connected components of more than one node), the cycles as
        nodes in their order, and whether some were left out.
    """
    among = set(nodes)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    # Where on the way from the start of the walk a node is; gone once all that follows from it was seen.
    place: dict[int, int] = {}
    stack: list[int] = []
    open_: set[int] = set()
    inside: set[int] = set()
    cycles: list[list[int]] = []
    complete = True
    for start in nodes:
        if start in index:
            continue
        way = [start]
        branches = [iter(dict.fromkeys(following.get(start, ())))]
        index[start] = low[start] = len(index)
        place[start] = 0
        stack.append(start)
        open_.add(start)
        while way:
            node = way[-1]
            for after in branches[-1]:
                if after not in among:
                    continue
                if after not in index:
                    index[after] = low[after] = len(index)
                    place[after] = len(way)
                    way.append(after)
                    branches.append(iter(dict.fromkeys(following.get(after, ()))))
                    stack.append(after)
                    open_.add(after)
                    break
                if after in open_:
                    low[node] = min(low[node], index[after])
                if after in place:
                    length = len(way) - place[after]
                    if not cycles or length <= most:
                        most -= length
                        cycles.append(way[place[after] :])
                    else:
                        complete = False
            else:
                way.pop()
                branches.pop()
                del place[node]
                if way:
                    low[way[-1]] = min(low[way[-1]], low[node])
                if low[node] == index[node]:
                    _close(node, stack, open_, inside)
    return inside, cycles, not complete


def _close(node: int, stack: list[int], open_: set[int], inside: set[int]) -> None:
    """Take a component off the stack of nodes that are not assigned to one."""
    alone = stack[-1] == node
    while True:
        one = stack.pop()
        open_.discard(one)
        if not alone:
            inside.add(one)
        if one == node:
            return
