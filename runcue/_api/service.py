"""What `cue.service()` returns: the name of the service, and a way to change its limits while work units run.

Lives here: `Service`, and the options of a service.

Must not know: what limits do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Never, Self, TypedDict, Unpack

from runcue._model.checks import says_what_it_takes
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.texts import shortened
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._api.intake import Intake
    from runcue._limits.service import ServiceStatus
    from runcue._registration.services import Services

__all__ = ["Service", "ServiceOptions", "service_of"]


class ServiceOptions(TypedDict, total=False):
    """What can be said of a service; see `Cue.service`. None takes a limit away."""

    rate: str | None
    concurrent: int | None
    burst: int | None
    limiter: Any
    limits: Limit | Sequence[Limit] | None


class Service(str):
    """A service: its name, as a str, with which its limits can be changed while work units run.

    For `uses=` it is as good as its name. All calls may come from plain handlers and other threads as well.
    """

    __slots__ = ("_intake", "_services", "_status")

    _intake: Intake
    _services: Services
    _status: Callable[[str], ServiceStatus]

    def __new__(cls, *args: object, **options: object) -> Self:
        raise UsageError("A Service comes from cue.service() or cue.get_service().")

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    def __repr__(self) -> str:
        """The name and the limits."""
        return shortened(f"<Service {shortened(str(self), 80)}: {self._services.limits_of(str(self))}>")

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
        self._intake.in_loop(lambda: self._services.change(str(self), options))

    @says_what_it_takes
    def status(self) -> ServiceStatus:
        """Its limits, and what they allow now; as in `Cue.services`."""
        found: list[ServiceStatus] = []
        self._intake.in_loop(lambda: found.append(self._status(str(self))))
        return found[0]


def service_of(
    name: str, services: Services, intake: Intake, status: Callable[[str], ServiceStatus]
) -> Service:
    """The service of that name.

    Args:
        name: Of one that is registered.
        services: Those of the cue.
        intake: Knows the event loop of the cue.
        status: Tells what it allows now.
    """
    service: Service = str.__new__(Service, name)
    service._services, service._intake, service._status = services, intake, status
    return service


Service.__module__ = "runcue"
