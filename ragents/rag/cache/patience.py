"""How long one request may wait for its caches, all look-ups together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Patience:
    """`left_s` is shared by the tasks of a request: a copy of the context holds the same object.

    `late`: a call of this request had no answer in time.
    """

    left_s: float
    late: bool = False

    @contextmanager
    def spending(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.left_s = max(0.0, self.left_s - (time.perf_counter() - started))


_CURRENT: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patient_for(seconds: float) -> Iterator[None]:
    """The look-ups inside wait `seconds` in all."""
    token = _CURRENT.set(Patience(seconds))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def patient_apart_for(seconds: float) -> Iterator[None]:
    """The look-ups inside have `seconds` of their own, whatever the request has spent; a late answer is told to it."""
    outer = _CURRENT.get()
    with patient_for(seconds):
        yield
        inner = current_patience(seconds)
    if outer is not None and inner.late:
        outer.late = True


def current_patience(otherwise_s: float) -> Patience:
    """Outside of a request each look-up has `otherwise_s`."""
    return _CURRENT.get() or Patience(otherwise_s)
