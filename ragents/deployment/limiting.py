"""The rate limits of a request: whom they apply to, what it reserves, and how it is settled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragents.deployment.http import current_request
from ragents.deployment.observability.metrics import Metrics
from ragents.deployment.rate_limiting import RateLimiter, Reservation, headers
from ragents.errors import RateLimited

CHARACTERS_PER_TOKEN = 4
"""Of English text with most tokenizers, about. Only an estimate is reserved; what was used is settled."""


class Limiting:
    """For the requests of one service."""

    def __init__(self, limiter: RateLimiter, metrics: Metrics) -> None:
        self._limiter, self._metrics = limiter, metrics

    def observe(self) -> None:
        """Whether a share of the limits applies, for the metrics."""
        self._metrics.local_share(self._limiter.degraded)

    @asynccontextmanager
    async def request(self, *, characters: int, max_tokens: int | None) -> AsyncIterator[Reservation | None]:
        """RateLimited, or a reservation that is settled by how the block ends, unless it was before.

        None for callers without limits. Either way the answer says in its headers what is left.
        """
        context, config = current_request(), self._limiter.config
        caller = context.caller
        applies = caller.key is not None if config.enabled is None else config.enabled
        if not applies:
            yield None
            return
        limits = caller.limits or self._limiter.limits
        tokens = characters // CHARACTERS_PER_TOKEN + (config.reserve_tokens if max_tokens is None else max_tokens)
        try:
            reservation = await self._limiter.reserve(
                caller.principal.user, tenant=caller.principal.tenant, limits=limits, tokens=tokens
            )
        except RateLimited as refused:
            context.headers.update(refused.headers)
            raise
        finally:
            self.observe()
        context.headers.update(headers(reservation.decision, limits))
        async with reservation:
            yield reservation
