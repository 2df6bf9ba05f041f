"""What `cue.service()` returns: the name of the service, and a way to change its limits while work units run.

Lives here: `Service`, and the options of a service.

Must not know: what limits do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Never, Protocol, Self, TypeAlias, TypedDict, TypeVar, Unpack

from runcue._model.checks import says_what_it_takes
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.rate import duration_or_none
from runcue._model.texts import shortened
from runcue._registration.keys import service_of_key
from runcue.abc import Limit

if TYPE_CHECKING:
    from datetime import timedelta

    from runcue._api.engine import Engine
    from runcue._limits.adaptive import Adaptive
    from runcue._limits.breaker import Breaker
    from runcue._limits.service import Service as Limits
    from runcue._limits.status import ServiceStatus
    from runcue._scheduling.core import Core

__all__ = ["OfKey", "Service", "ServiceOptions", "service_of"]

T = TypeVar("T")

OfKey: TypeAlias = Callable[[Any], T | None]
"""A limit as a function of the key that `per=` has given; None: there is no such limit for that key."""


class Headers(Protocol):
    """What HTTP clients give the headers of an answer as."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Each with its value."""


class ServiceOptions(TypedDict, total=False):
    """What can be said of a service; see `Cue.service`. None takes a limit away."""

    rate: str | Sequence[str] | OfKey[str | Sequence[str]] | None
    concurrent: int | Adaptive | OfKey[int | Adaptive] | None
    burst: int | OfKey[int] | None
    budget: Mapping[str, str] | OfKey[Mapping[str, str]] | None
    oversize: Literal["error", "borrow"] | None
    margin: float | str | timedelta | None
    limiter: Any
    per: Callable[..., Hashable] | None
    max_pause: float | str | timedelta | None
    limits: Limit | Sequence[Limit] | OfKey[Limit | Sequence[Limit]] | None
    throttle: Callable[[Any], float | bool | None] | None
    max_throttled: float | str | timedelta | None
    breaker: Breaker | OfKey[Breaker] | None


class Service(str):
    """A service: its name, as a str, with which its limits can be changed while work units run.

    For `uses=` it is as good as its name. All calls may come from plain handlers and other threads as well.
    """

    __slots__ = ("_engine",)

    _engine: Engine

    def __new__(cls, *args: object, **options: object) -> Self:
        raise UsageError("A Service comes from cue.service() or cue.get_service().")

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    def __repr__(self) -> str:
        """The name and the limits."""
        return shortened(
            f"<Service {shortened(str(self), 80)}: {self._engine.services.limits_of(str(self))}>"
        )

    def change(self, *misplaced: Never, **options: Unpack[ServiceOptions]) -> None:
        """Change limits of the service, and nothing else, while work units run.

        What is known stays: which starts were when, and what was charged. A longer window counts the starts that are
        still remembered. What runs goes on, even where that is more than may run now.

        Args:
            *misplaced: None: what is given without a name is told.
            **options: Those of `Cue.service` that are to be others; None takes a limit away.

        Raises:
            ConfigurationError: A value cannot work, or not beside what stays; nothing was changed.

        Example:
            >>> import runcue
            >>> cue = runcue.Cue()
            >>> api = cue.service("api", rate="60/min", concurrent=5)
            >>> api.change(concurrent=2)
            >>> api
            <Service api: rate 60/min, 2 slots>
        """
        if misplaced or not options:
            raise ConfigurationError(
                f"change() of service {str(self)!r} takes options of cue.service() by their names, such as "
                "change(concurrent=2)."
            )
        self._in_loop(lambda: self._engine.services.change(str(self), options))

    @says_what_it_takes
    def pause(self, seconds: float | str | timedelta | None = None, key: Hashable = None) -> None:
        """Let nothing start that uses the service. What runs goes on, and what is up to date is skipped.

        The last word counts: a pause replaces the one that there was. While work units wait for `resume()`, no
        `stall_timeout` fails anything; a drain ends and lists them.

        Args:
            seconds: For so long: a number, a timedelta, or text such as "10 min"; a drain waits for that. None: until
                `resume()` is called.
            key: Of a service with limits per key, the one to pause; None: all of it.

        Raises:
            ConfigurationError: No such length of time, or the service has no keys.
        """
        length = duration_or_none(seconds, f"seconds of pause() of service {str(self)!r}")
        self._in_loop(lambda: self._engine.pausing.pause(self._limits(key), length))

    @says_what_it_takes
    def resume(self, key: Hashable = None) -> None:
        """Let go on what waits because of a pause, or because of what its server has said. Harmless if nothing does.

        Args:
            key: Of a service with limits per key, the one to let go on; None: all of them.
        """

        def resume() -> None:
            limits = self._limits(key)
            self._engine.pausing.resume(limits)
            if any(one.installed("server") for one in limits.parts()):
                self._engine.server_news.forget(limits)

        self._in_loop(resume)

    @says_what_it_takes
    def read_headers(self, headers: Headers | Iterable[tuple[Any, Any]], key: Hashable = None) -> None:
        """Learn from the headers of an answer what its server has left, so that it need not refuse anything.

        Known are `x-ratelimit-*`, `ratelimit-*`, `anthropic-ratelimit-*` and `retry-after`, in the forms that are in
        use. What is learned only lets less through than what was declared. What cannot be read is told once, and left
        aside. See "What servers say of their limits" in docs/behaviour.md.

        Args:
            headers: As they came: `response.headers`.
            key: Of a service with limits per key, whose answer that is; None: that of the work unit whose handler runs.

        Raises:
            ConfigurationError: They are no headers, or the service has no keys.

        Example:
            async def ask(prompt: str) -> str:
                response = await client.post("/v1/chat", json={"prompt": prompt})
                api.read_headers(response.headers)
                return response.json()["text"]
        """
        from runcue._dispatch.running_here import running_here  # noqa: PLC0415 - it comes with the first cue

        work = running_here()  # here, and not in the thread of the loop
        self._in_loop(lambda: self._engine.server_news.read(self._limits(key), headers, work))

    @says_what_it_takes
    def status(self, key: Hashable = None) -> ServiceStatus:
        """Its limits, and what they allow now; as in `Cue.services`.

        Args:
            key: Of a service with limits per key, the one that is meant; None: all of it.

        Raises:
            ConfigurationError: The service has no keys, or it cannot be a key.
        """
        found: list[ServiceStatus] = []
        self._in_loop(lambda: found.append(self._engine.status_of(self._limits(key))))
        return found[0]

    @property
    def _core(self) -> Core:
        """The state of its cue: a task of another one cannot use it."""
        return self._engine.core

    def _limits(self, key: Hashable = None) -> Limits:
        service = self._engine.core.services[str(self)]
        return service if key is None else service_of_key(service, key)

    def _in_loop(self, change: Callable[[], None]) -> None:
        self._engine.intake.in_loop(change)


def service_of(name: str, engine: Engine) -> Service:
    """The service of that name, which is registered.

    Args:
        name: Its name.
        engine: Of its cue.
    """
    service: Service = str.__new__(Service, name)
    service._engine = engine
    return service


Service.__module__ = "runcue"
