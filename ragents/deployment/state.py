"""What the routes share with the service: the App, once it is open."""

from typing import TYPE_CHECKING

from starlette.types import Scope

from ragents.deployment.auth import principal_of
from ragents.deployment.callers import Caller
from ragents.errors import BackendUnavailable

if TYPE_CHECKING:  # BentoML's parent process imports this, and needs none of the libraries behind them
    from ragents.deployment.app import App
    from ragents.deployment.feedback import Feedback
    from ragents.deployment.health import Health
    from ragents.deployment.questions import Questions


class State:
    """Filled at start, emptied at shutdown; in between every access gets the same objects."""

    def __init__(self) -> None:
        self._open: tuple[App, Questions, Health, Feedback] | None = None

    def fill(self, app: "App", questions: "Questions", health: "Health", feedback: "Feedback") -> None:
        self._open = (app, questions, health, feedback)

    def empty(self) -> None:
        self._open = None

    @property
    def started(self) -> bool:
        return self._open is not None

    async def admit(self, scope: Scope) -> Caller:
        """Who calls. While the service starts, only who would need no key gets so far as to be told."""
        return await self.app.gate.admit(scope) if self.started else Caller(principal_of(scope))

    @property
    def app(self) -> "App":
        return self._parts[0]

    @property
    def questions(self) -> "Questions":
        return self._parts[1]

    @property
    def health(self) -> "Health":
        return self._parts[2]

    @property
    def feedback(self) -> "Feedback":
        return self._parts[3]

    @property
    def _parts(self) -> "tuple[App, Questions, Health, Feedback]":
        if self._open is None:
            raise BackendUnavailable("service", "it is starting or stopping", retry_after_s=2)
        return self._open
