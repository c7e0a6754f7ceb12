"""Who is calling, and what their key allows."""

from dataclasses import dataclass

from ragents.deployment.rate_limiting.types import Limits, Priority
from ragents.principal import ANONYMOUS, Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """`key` is the public part of the API key, None for the keyless caller on this machine.

    `limits` of None are the service's. `weight` is the caller's share where callers queue.
    """

    principal: Principal = ANONYMOUS
    key: str | None = None
    max_priority: Priority = Priority.CRITICAL
    limits: Limits | None = None
    weight: float = 1.0
