"""Who hears of events: listeners and observers, served from one stream.

Lives here: `Listeners`, which knows them and is the only one to call them, and `Listener`. What they return is looked
at, not how they were defined: whatever is awaitable is handed on to be awaited.

A listener or observer that raises, or blocks the event loop, is told of and disturbs nothing.

Must not know: event loops, tasks, limits, when there is something to be heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import Context
from typing import Any, Final, TypeAlias

from runcue._callbacks.door import BLOCKS_AFTER, MAKE_ASYNC, Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._model.awaitables import is_awaitable
from runcue._model.callables import is_runcues, located
from runcue._model.checks import check_callback, check_text
from runcue._model.errors import ConfigurationError
from runcue._model.events import HEARS, OBSERVED, Event
from runcue._model.no_answers import NEVER_RUN
from runcue._model.origin import Origin
from runcue._model.texts import describe, words_of
from runcue._model.work import Work
from runcue.abc import CueWarning, Observer

__all__ = ["Line", "Listener", "Listeners"]

# By outcome: completed, skipped, failed, cancelled.
_ENDS: Final = (Event.COMPLETE, Event.SKIP, Event.FAILURE, Event.CANCEL)


class Line:
    """What is awaited one after the other: what one listener returns, or all methods of one observer.

    Attributes:
        name: Whose it is, for messages.
        observes: Whether it is an observer's, who makes nothing that work units wait for.
    """

    __slots__ = ("name", "observes")

    def __init__(self, name: str, *, observes: bool) -> None:
        self.name = name
        self.observes = observes


class Listener:
    """A function that hears of one kind of event.

    Attributes:
        call: The function.
        name: What it is called in messages.
        place: The same with the place in the source.
        line: In which what it returns is awaited.
        task: Of whose work units alone it hears; None: of all.
        observes: Whether it is a method of an observer.
        origin: Where it comes from; None for a method of an observer.
        plain: Whether neither holds: it hears what listeners hear, of all work units.
        is_runcues: Whether it is runcue's own, of `runcue.progress()`, say: then nobody is told that it is slow.
        is_warned: Whether it hears of warnings. What it does wrong itself is only logged: told to observers, it could
            bring about the next without end.
    """

    __slots__ = (
        "call",
        "is_runcues",
        "is_warned",
        "line",
        "name",
        "observes",
        "origin",
        "place",
        "plain",
        "task",
    )

    def __init__(
        self,
        call: Callable[..., Any],
        kind: str,
        name: str,
        line: Line | None = None,
        *,
        task: str | None = None,
        observes: bool = False,
        is_warned: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.call = call
        self.origin = origin
        self.name = f"{kind} {name}"
        self.place = f"{kind} {located(call, name)}"
        self.line = Line(self.name, observes=observes) if line is None else line
        self.task = task
        self.observes = observes
        self.plain = task is None and not observes
        self.is_warned = is_warned
        self.is_runcues = is_runcues(call)

    def become(self, other: Listener) -> None:
        """Call another function from now on, for the same events."""
        self.call, self.name, self.place, self.origin = other.call, other.name, other.place, other.origin
        self.is_runcues = other.is_runcues


class Audience(list[Listener]):
    """Those who hear of one kind of event, in the order in which they came.

    It stays the same object: who has something to tell looks at it first, and without anybody in it that is all that
    an event costs.

    Attributes:
        each: The same, to go through: another tuple when somebody comes or goes, which may be in the middle of it.
    """

    __slots__ = ("each",)

    each: tuple[Listener, ...]

    def __init__(self) -> None:
        super().__init__()
        self.each = ()

    def take_in(self, listener: Listener) -> None:
        """Let somebody hear of what comes."""
        self.append(listener)
        self.each = tuple(self)

    def let_go(self, line: Line | None = None) -> None:
        """Let those hear no more who are awaited in a line; without one, nobody."""
        self[:] = [] if line is None else [listener for listener in self if listener.line is not line]
        self.each = tuple(self)


Defer: TypeAlias = Callable[[Listener, Awaitable[Any], Work | None], None]


class Listeners:
    """All listeners and observers of a cue.

    Attributes:
        of: Who hears of each `Event`.
        ends: Those of the events that end a work unit, by outcome.

    Args:
        failures: What becomes of those that raise; observers hear what is told there.
        door: What becomes of those that block.
        defer: Takes a listener, the awaitable that it returned, and the work unit that it is about.
    """

    def __init__(self, failures: Failures, door: Door, defer: Defer) -> None:
        self._failures = failures
        self._door = door
        self._defer = defer
        self.of = tuple(Audience() for _ in Event)
        self.ends = tuple(self.of[event] for event in _ENDS)
        # Those that are still to be heard of, while another one is.
        self._submissions: deque[tuple[Work, Context]] = deque()
        # Those that are attached, by where their class comes from, and how each is detached.
        self._observers: dict[Origin, Callable[[], None]] = {}
        self._telling = False

    def listen(self, event: Event, call: Callable[..., Any], task: object = None) -> None:
        """Add a listener; if it is one that was added before and is defined anew, in the place of that.

        Args:
            event: What it hears of.
            call: The listener.
            task: Of whose work units alone; None: of all.

        Raises:
            ConfigurationError: It cannot be called with what it would hear, or the name of the task is none.
        """
        kind = event.name.lower()
        check_callback(call, f"An on_{kind} listener", HEARS[event])
        if task is not None and not (task := check_text(task, f"task of an on_{kind} listener")):
            raise ConfigurationError(f"task of an on_{kind} listener must be the name of one, not ''.")
        origin = Origin(call)
        listener = Listener(call, f"on_{kind} listener", describe(call), task=task, origin=origin)
        audience = self.of[event]
        former = [
            one
            for one in audience
            if one.origin is not None and one.task == task and origin.replaces(one.origin)
        ]
        if not former:
            audience.take_in(listener)
            return
        # In its place and in its line: what it has heard of is awaited before what is heard of from now on.
        former[0].become(listener)
        for one in former[1:]:
            one.call = _deaf  # as below
            audience.let_go(one.line)

    def observe(self, observer: Observer, cue: object) -> Callable[[], None]:
        """Attach an observer: those of its methods hear that are its own. Those of a former self of its class end.

        Args:
            observer: An instance of a subclass.
            cue: What it is told that it was attached to.

        Returns:
            A function that ends it.

        Raises:
            ConfigurationError: It is none, or has a method that cannot be called with what it would hear.
        """
        if not isinstance(observer, Observer):
            # Not whatever has some of the methods: one that is misspelt would never be missed.
            raise ConfigurationError(
                "observe() needs an instance of a subclass of runcue.Observer, which overrides what it wants to hear, "
                f"not {words_of(observer)}."
            )
        origin = Origin(type(observer))
        for former, end in tuple(self._observers.items()):
            # Not another object of the same class: there may be several, and each has been given the way to end it.
            if former.call is not origin.call and origin.is_anew(former):
                end()
        name = type(observer).__qualname__
        line = Line(f"observer {name}", observes=True)
        hears = {
            method: Listener(
                call, "observer", f"{name}.{method}", line, observes=True, is_warned=method == "warned"
            )
            for method, call in _overridden(observer)
        }
        if "attached" in hears:
            self.emit((hears["attached"],), self._failures.now(), None, (cue,))
        for method, events in OBSERVED.items():
            for event in events if method in hears else ():
                self.of[event].take_in(hears[method])
        hearer = self._hearer(hears["warned"]) if "warned" in hears else None
        if hearer is not None:
            self._failures.log.hearers.append(hearer)

        def stop() -> None:
            for listener in hears.values():
                listener.call = _deaf  # it may be just about to be called
            for audience in self.of:
                audience.let_go(line)
            if hearer in self._failures.log.hearers:
                self._failures.log.hearers.remove(hearer)
            self._observers.pop(origin, None)

        self._observers[origin] = stop
        return stop

    def silence(self) -> tuple[Callable[..., Any], ...]:
        """Take all listeners and observers away, for good. Returns what would have been called."""
        calls = {id(listener.call): listener.call for audience in self.of for listener in audience}
        for audience in self.of:
            audience.let_go()
        self._failures.log.hearers.clear()
        self._observers.clear()
        return tuple(calls.values())

    def bound(self) -> Iterator[tuple[str, str]]:
        """The listeners that hear of one task alone, as (decorator, name of the task)."""
        for event, audience in zip(Event, self.of, strict=True):
            for listener in audience:
                if listener.task is not None:
                    yield f"on_{event.name.lower()}", listener.task

    def hears(self, event: Event, work: Work) -> bool:
        """Whether there is a listener to an event of a work unit. Observers do not count: they watch anything."""
        return any(
            not listener.observes and (listener.task is None or listener.task == work.task)
            for listener in self.of[event]
        )

    def at_begin(self, work: Work) -> Audience:
        """Who hears that a handler is about to be entered for a work unit that was put back, or delayed, before."""
        attempts = work._attempts
        return self.of[
            Event.RESUME if attempts is not None and attempts.again.is_same_attempt else Event.START
        ]

    def submitted(self, began: float, work: Work, context: Context) -> None:
        """A work unit was submitted. If that was by who is told of another one just now, it is heard after that.

        Args:
            began: The instant now.
            work: The work unit.
            context: The contextvars to tell of it in.
        """
        self._submissions.append((work, context))
        if self._telling:
            return
        self._telling = True
        try:
            while self._submissions:
                work, context = self._submissions.popleft()
                began = context.run(self.emit, self.of[Event.SUBMIT].each, began, work, (work,))
        finally:
            self._telling = False

    def expected(self, now: float, task: str, number: int) -> None:
        """So many more work units of a task will come than is known so far, or fewer."""
        self.emit(self.of[Event.EXPECTED].each, now, None, (task, number))

    def emit(
        self,
        listeners: Iterable[Listener],
        began: float,
        work: Work | None,
        heard: tuple[Any, ...],
        duration: float | None = None,
    ) -> float:
        """Call those who hear of an event, in order; what they leave to be awaited is deferred.

        Args:
            listeners: Those who hear of it; of a whole audience, `each`.
            began: The instant now.
            work: What it is about, if it is about one.
            heard: What listeners hear; see `HEARS`.
            duration: If the work unit has settled, for how long its handler ran: observers hear that, however it did.

        Returns:
            The instant at which the last one was done.
        """
        now = self._failures.now
        forks = FORKS.number
        for listener in listeners:
            try:
                if listener.plain:
                    outcome = listener.call(*heard)
                elif listener.task is not None and work is not None and listener.task != work.task:
                    continue
                elif listener.observes and duration is not None:
                    outcome = listener.call(work, duration)
                else:
                    outcome = listener.call(*heard)
                if outcome is not None:
                    self._take(listener, outcome, work)
            except BaseException as error:
                if FORKS.number != forks:
                    leave(error)
                self._failures.raised(listener.name, error, work, observed=not listener.is_warned)
            if FORKS.number != forks:
                leave(None)
            ended = now()
            if ended - began > BLOCKS_AFTER:
                self._door.blocked(
                    listener.place,
                    began,
                    ended,
                    MAKE_ASYNC,
                    work,
                    observed=not listener.is_warned,
                    told=not listener.is_runcues,
                )
            began = ended
        return began

    def _take(self, listener: Listener, outcome: object, work: Work | None) -> None:
        """Take what a listener has returned, if that is for anything."""
        if is_awaitable(outcome):
            self._defer(listener, outcome, work)
        elif type(outcome) in NEVER_RUN:
            words = "returned a generator, of which nothing will run; a listener is a plain function or an `async def`"
            self._door.no_answer(listener.place, words, work, observed=not listener.is_warned)

    def _hearer(self, listener: Listener) -> Callable[[CueWarning], None]:
        def hear(warning: CueWarning) -> None:
            self.emit((listener,), self._failures.now(), None, (warning,))

        return hear


def _overridden(observer: Observer) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The methods of an observer that are its own.

    Raises:
        ConfigurationError: One of them cannot be called with what it would hear.
    """
    for method, base in vars(Observer).items():
        call = getattr(observer, method)
        if not method.startswith("_") and getattr(call, "__func__", None) is not base:
            code = base.__code__
            takes = code.co_varnames[1 : code.co_argcount]
            check_callback(call, f"{type(observer).__qualname__}.{method}", takes)
            yield method, call


def _deaf(*heard: object) -> None:
    """Called in the place of an observer that hears no more."""
