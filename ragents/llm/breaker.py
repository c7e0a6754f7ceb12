"""A circuit breaker per endpoint: what keeps failing is left alone for a while, then tried with one call."""

import time
from collections.abc import Callable


class Breaker:
    """Closed until `failures` calls in a row have failed; open for `reset_s`; then one call decides."""

    def __init__(self, *, failures: int, reset_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._reset_s, self._now = failures, reset_s, now
        self._failed = 0
        self._opened: float | None = None
        self._trying = False

    @property
    def lets_through(self) -> bool:
        """Whether a call may be made now."""
        return self._opened is None or (not self._trying and self.retry_after_s <= 0)

    @property
    def retry_after_s(self) -> float:
        return 0.0 if self._opened is None else self._opened + self._reset_s - self._now()

    def begin(self) -> None:
        self._trying = self._opened is not None

    def succeeded(self) -> None:
        self._failed, self._opened, self._trying = 0, None, False

    def failed(self) -> None:
        self._failed += 1
        if self._trying or self._failed >= self._limit:
            self._opened = self._now()
        self._trying = False

    def abandoned(self) -> None:
        """The caller went away: that says nothing about the endpoint."""
        self._trying = False
