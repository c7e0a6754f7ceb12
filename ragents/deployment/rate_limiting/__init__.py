"""Rate limits: fair to the request, over all processes, also while Redis is away."""

from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.rate_limiting.limiter import RateLimiter, open_rate_limiter
from ragents.deployment.rate_limiting.reservation import Reservation, headers
from ragents.deployment.rate_limiting.types import Decision, Limits, Priority

__all__ = [
    "Decision",
    "Limits",
    "Priority",
    "RateLimitConfig",
    "RateLimiter",
    "Reservation",
    "headers",
    "open_rate_limiter",
]
