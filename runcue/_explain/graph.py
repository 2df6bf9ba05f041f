"""A picture of tasks or work units and the artifacts between them, as Mermaid text.

Lives here: what is drawn, what is left out, the colours, and the escaping that makes any name safe in a label.

Must not know: how anything is decided.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

from runcue._artifacts.artifact import is_valid
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag, StandInFlags
from runcue._explain.attempt_words import attempt_of
from runcue._model.checks import is_one_of, positive_int
from runcue._model.errors import ConfigurationError
from runcue._model.phases import NOT_DUE
from runcue._model.texts import how_many, title_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.folders import folders_above

__all__ = ["draw"]

# Mermaid by itself refuses to draw more (its maxEdges and maxTextSize,
# https://mermaid.js.org/config/schema-docs/config.html).
_MOST_LINKS: Final = 500
_MOST_TEXT: Final = 50_000

_LOOKS: Final = 10_000
"""So many artifacts are asked whether they are valid; of more nobody reads the answer."""

_TOGETHER: Final = 4
"""More artifacts than this with the same producers and users are one node, among work units."""

_NAME: Final = 40

# By how much somebody wants to see it.
_STATES: Final = ("failed", "running", "pending", "cancelled", "completed", "skipped")
_CLASSES: Final = {
    "pending": "fill:#fff3bf,stroke:#e67700,color:#212529",
    "running": "fill:#d0ebff,stroke:#1864ab,color:#212529,stroke-width:3px",
    "completed": "fill:#d3f9d8,stroke:#2b8a3e,color:#212529",
    "skipped": "fill:#e9ecef,stroke:#868e96,color:#212529",
    "failed": "fill:#ffc9c9,stroke:#c92a2a,color:#212529,stroke-width:3px",
    "cancelled": "fill:#f3d9fa,stroke:#862e9c,color:#212529",
    "idle": "fill:#ffffff,stroke:#adb5bd,color:#212529",
    "valid": "fill:#ffffff,stroke:#2b8a3e,color:#212529",
    "missing": "fill:#ffffff,stroke:#868e96,color:#495057,stroke-dasharray:5 4",
    "unknown": "fill:#ffffff,stroke:#868e96,color:#495057,stroke-dasharray:1 4",
    "note": "fill:none,stroke:none,color:#868e96",
}

_UNSAFE: Final = re.compile(r"(?<=[^\W_])[._/-](?=[^\W_])|([^\w ]|_)")

Node = Hashable
Ends = tuple[tuple[Node, ...], tuple[Node, ...]]


def draw(core: Core, flags: Mapping[Hashable, list[int]], of: str, limit: int) -> str:
    """Draw what a cue knows; see `Cue.graph`.

    Args:
        core: The state.
        flags: The cells of the flags of the cue.
        of: "tasks" or "works".
        limit: At most so many nodes.
    """
    if not is_one_of(of, ("tasks", "works")):
        raise ConfigurationError(f'graph() draws of="tasks" or of="works", not {words_of(of)}.')
    positive_int(limit, "limit of graph()")
    context = StandInFlags(flags).context()
    while True:
        picture = _Picture(limit)
        context.run(_draw_tasks if of == "tasks" else _draw_works, picture, core)
        text = picture.text()
        if len(text) < _MOST_TEXT or limit == 1:
            return text
        limit //= 2


class _Links:
    """Artifacts by key, with who makes and who uses them, each once and in order."""

    def __init__(self) -> None:
        self.artifacts: dict[Hashable, Any] = {}
        self._producers: dict[Hashable, dict[Node, None]] = {}
        self._users: dict[Hashable, dict[Node, None]] = {}

    def add(self, node: Node, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
        for artifacts, ends in ((inputs, self._users), (outputs, self._producers)):
            for artifact in artifacts:
                self.artifacts.setdefault(artifact._key, artifact)
                ends.setdefault(artifact._key, {})[node] = None

    def groups(self) -> dict[Ends, list[Any]]:
        """The artifacts by their ends."""
        found: dict[Ends, list[Any]] = {}
        for key, artifact in self.artifacts.items():
            ends = tuple(self._producers.get(key, ())), tuple(self._users.get(key, ()))
            found.setdefault(ends, []).append(artifact)
        return found


class _Picture:
    """The lines of one diagram."""

    def __init__(self, limit: int) -> None:
        self.room = limit
        self.left_out: list[str] = []
        self._ids: dict[Node, str] = {}
        self._nodes: list[str] = []
        self._links: list[str] = []
        self._links_left = 0
        self._used: dict[str, None] = {}
        self._asked = 0

    def node(self, name: Node, letter: str, label: list[str], state: str, shape: str = '["{}"]') -> str:
        """Add a node. Returns its id in the diagram, which is made of nothing that users write."""
        self.room -= 1
        drawn = self._ids[name] = f"{letter}{len(self._ids) + 1}"
        self._used[state] = None
        # Not by <br/>: where that is in a label, Mermaid takes what was given by number for icons and formulas.
        text = "\n".join(_escaped(line) for line in label)
        self._nodes.append(f"    {drawn}{shape.format(text)}:::{state}")
        return drawn

    def link(self, one: Node, other: Node, arrow: str = "-->") -> None:
        """Add a link between two nodes, if both are drawn."""
        if one not in self._ids or other not in self._ids:
            return
        if len(self._links) < _MOST_LINKS:
            self._links.append(f"    {self._ids[one]} {arrow} {self._ids[other]}")
        else:
            self._links_left += 1

    def group(self, ends: Ends, artifacts: list[Any]) -> Node:
        """Add artifacts as one node, with its links. Returns the node."""
        missing = unknown = 0
        for artifact in artifacts:
            valid = self._is_valid(artifact)
            missing += valid is False
            unknown += valid is None
        if len(artifacts) == 1:
            label = [_name_of(artifacts[0])]
        else:
            label = [_kind_of(artifacts), f"{_name_of(artifacts[0])} .. {_name_of(artifacts[-1])}"]
            if missing:
                label.append("all missing" if missing == len(artifacts) else f"{missing} missing")
        state = "missing" if missing else "unknown" if unknown else "valid"
        node = ("artifact", *ends, artifacts[0]._key)
        self.node(node, "a", label, state, '(["{}"])')
        for producer in ends[0]:
            self.link(producer, node)
        for user in ends[1]:
            self.link(node, user)
        return node

    def _is_valid(self, artifact: Any) -> bool | None:
        """Whether it is valid, None if that cannot be said. It is the user's code, and may do anything."""
        self._asked += 1
        if self._asked > _LOOKS:
            return None
        try:
            return is_valid(artifact)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return None

    def text(self) -> str:
        """The diagram."""
        if self._links_left:
            self.left_out.append(how_many(self._links_left, "link", "links"))
        if self.left_out:
            self.node(object(), "n", ["left out:", *self.left_out], "note")
        elif not self._nodes:
            self.node(object(), "n", ["nothing to draw"], "note")
        classes = [f"    classDef {name} {_CLASSES[name]}" for name in _CLASSES if name in self._used]
        return "\n".join(["flowchart LR", *self._nodes, *self._links, *classes]) + "\n"


def _draw_tasks(picture: _Picture, core: Core) -> None:
    counts: dict[str, Counter[str]] = {name: Counter() for name in core.tasks}
    links = _Links()
    for work in list(core.history.works.values()):
        counts.setdefault(work.task, Counter())[_state_of(work)] += 1
        links.add(work.task, work.inputs, work.outputs)
    for name, task in core.tasks.items():
        if not counts[name]:
            # What is given by a function of the work is not known without one.
            inputs, outputs = (
                what if isinstance(what, tuple) else () for what in (task.inputs, task.outputs)
            )
            links.add(name, inputs, outputs)
    tasks = list(counts)
    for name in tasks[: picture.room]:
        states = [state for state in _STATES if counts[name][state]]
        label = [_shortened(name), *(f"{counts[name][state]} {state}" for state in states)]
        picture.node(name, "t", label, states[0] if states else "idle")
    if len(tasks) > len(picture._ids):
        picture.left_out.append(how_many(len(tasks) - len(picture._ids), "task", "tasks"))
    _draw_groups(picture, list(links.groups().items()), len(links.artifacts))


def _draw_works(picture: _Picture, core: Core) -> None:
    works = list(core.history.works.values())
    keys = {artifact._key for work in works for artifact in (*work.inputs, *work.outputs)}
    chosen = _chosen(works, picture.room)
    links = _Links()
    for work in works:
        if work not in chosen:
            continue
        state = _state_of(work)
        label = [_shortened(work.task, _NAME - 12) + f" {work.id}", *_params_of(work), _told(work, state)]
        picture.node(work, "w", label, state)
        declared = work._declared
        if declared is not None and declared.leader is not None:
            picture.link(declared.leader, work, '-. "joined by" .-')
        else:
            links.add(work, work.inputs, work.outputs)
    if len(works) > len(chosen):
        picture.left_out.append(how_many(len(works) - len(chosen), "work unit", "work units"))
    groups: list[tuple[Ends, list[Any]]] = []
    for ends, artifacts in links.groups().items():
        alone = len(artifacts) <= _TOGETHER
        groups += [(ends, [artifact]) for artifact in artifacts] if alone else [(ends, artifacts)]
    _draw_groups(picture, groups, len(keys))


def _told(work: Work, state: str) -> str:
    """A state, with which attempt that is about if it is not the first, or that it is for later."""
    if work._phase == NOT_DUE and work._attempts is not None and work._attempts.again.is_delayed:
        return f"{state}, for later"
    return f"{state}, {attempt_of(work)}" if work.attempt > 1 else state


def _draw_groups(picture: _Picture, groups: list[tuple[Ends, list[Any]]], known: int) -> None:
    drawn = 0
    nodes: dict[Hashable, Node] = {}
    for ends, artifacts in groups[: max(picture.room, 0)]:
        node = picture.group(ends, artifacts)
        nodes.update((artifact._key, node) for artifact in artifacts)
        drawn += len(artifacts)
    for folder, node in _folders_around(nodes):
        picture.link(folder, node, '-. "contains" .-')
    if known > drawn:
        picture.left_out.append(how_many(known - drawn, "artifact", "artifacts"))


def _folders_around(nodes: Mapping[Hashable, Node]) -> dict[tuple[Node, Node], None]:
    """The nodes of folders, with those of what is in them; of several folders the nearest."""
    found: dict[tuple[Node, Node], None] = {}
    for key, node in nodes.items():
        if isinstance(key, str):
            folder = next((nodes[one] for one in folders_above(key) if one in nodes), node)
            if folder != node:
                found[folder, node] = None
    return found


def _chosen(works: list[Work], room: int) -> set[Work]:
    """The work units for which there is room: those that somebody wants to see most, and of these the latest."""
    chosen: set[Work] = set()
    seen: set[Hashable] = set()
    order = works[::-1]
    order.sort(key=lambda work: _STATES.index(_state_of(work)))
    for work in order:
        artifacts = (*work.inputs, *work.outputs)
        new = {artifact._key for artifact in artifacts[: 2 * _TOGETHER]} - seen
        if len(chosen) + len(seen) + len(new) >= room and chosen:
            break
        chosen.add(work)
        seen |= new
    return chosen


def _state_of(work: Work) -> str:
    return "skipped" if work.skipped else work.state.value


def _params_of(work: Work) -> list[str]:
    """The params in a line, none if there are none."""
    words = ", ".join(f"{name}={words_of(value)}" for name, value in list(work.params.items())[:5])
    return [_shortened(words)] if words else []


def _name_of(artifact: Any) -> str:
    name = artifact.name if isinstance(artifact, Flag) else title_of(artifact)
    # Of a path the end tells more than the beginning.
    return _shortened(name, keep_end=isinstance(artifact, File))


def _kind_of(artifacts: list[Any]) -> str:
    kinds = {type(artifact) for artifact in artifacts}
    if len(kinds) > 1:
        word = "artifact"
    else:
        kind = kinds.pop()
        word = {File: "file", Flag: "flag"}.get(kind, kind.__name__)
    return f"{len(artifacts)} {word}{'' if word[-1:].isupper() else 's'}"


def _shortened(text: str, length: int = _NAME, *, keep_end: bool = False) -> str:
    if len(text) <= length:
        return text
    return f"...{text[3 - length :]}" if keep_end else f"{text[: length - 3]}..."


def _escaped(text: str) -> str:
    """A text as Mermaid shows it, whatever is in it.

    Everything that Mermaid, its Markdown or HTML may take for more than text is given by number. Letters are safe, and
    so is a point, line or slash between two of them.
    """
    # Direction marks, line breaks and halves of characters are shown, not obeyed.
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _UNSAFE.sub(lambda match: match[0] if match[1] is None else f"#{ord(match[1])};", printable)
