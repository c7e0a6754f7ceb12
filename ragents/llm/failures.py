"""What a failed call means: its kind for metrics, whether trying again may help, and what callers are told."""

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Kind = Literal[
    "timeout",
    "rate_limited",
    "server_error",
    "refused",
    "connection",
    "circuit_open",
    "malformed",
    "too_long",
    "other",
]
"""Labels of rag_llm_errors_total."""

MAX_RETRY_AFTER_S = 20.0
"""A server that asks for more is left to the fallback."""


class FirstTokenTimeout(TimeoutError):
    """Nothing came in time; the call may be made again."""


class Unfinished(ConnectionError):
    """The stream ended before the answer did; as a connection that is cut, but for the way it closes."""


class NoAnswer(ValueError):
    """The model said nothing, and called no tool that it was offered."""


class CircuitOpen(Exception):
    """Every replica has failed lately; of the last failure, the reason."""


class PromptTooLong(Exception):
    """The prompt does not fit into the model's window. Tokens are estimated."""

    def __init__(self, tokens: int, room: int) -> None:
        super().__init__(f"the prompt has about {tokens} tokens, its window has room for {room} (llm.context_tokens)")


def kind_of(error: BaseException) -> Kind:
    match error:
        case TimeoutError():
            return "timeout"
        case CircuitOpen():
            return "circuit_open"
        case OSError():
            return "connection"
        case ValueError() | TypeError() | LookupError() | AttributeError():  # of libraries that expected something else
            return "malformed"
    status = status_of(error)
    if status == 429:
        return "rate_limited"
    if status is not None:
        return "server_error" if status >= 500 else "refused"
    name = type(error).__name__
    if "Timeout" in name:
        return "timeout"
    if any(word in name for word in ("Connect", "RemoteProtocol", "ReadError", "WriteError", "Network")):
        return "connection"
    return "other"


def may_help(error: BaseException) -> bool:
    """Trying again: for what passes by itself, and not for what the server has refused."""
    after = retry_after_s(error)
    return kind_of(error) in ("timeout", "rate_limited", "server_error", "connection") and (
        after is None or after <= MAX_RETRY_AFTER_S
    )


def status_of(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def blames_the_request(error: BaseException) -> bool:
    """400, 413, 422: what the server says of this request, and not of itself."""
    return status_of(error) in (400, 413, 422)


def retry_after_s(error: BaseException) -> float | None:
    """The Retry-After of an answer, in seconds or as a date (RFC 9110, 10.2.3)."""
    # LangChain's errors stand before those of the provider's library, which have the answer.
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if headers is not None else None
    if value is None:
        return retry_after_s(error.__cause__) if error.__cause__ is not None else None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def reason_of(error: BaseException) -> str:
    """For the caller: no address, key or body of the upstream server."""
    match error:
        case FirstTokenTimeout():
            return "said nothing in time"
        case TimeoutError():
            return "timed out"
        case CircuitOpen():
            last = f" (the last one: {error})" if str(error) else ""
            return f"left alone after repeated failures{last}"
        case Unfinished():
            return "ended its answer without finishing it"
        case NoAnswer():
            return "answered with nothing"
        case PromptTooLong():
            return str(error)
        case asyncio.CancelledError():
            return "cancelled"
    status = status_of(error)
    if status is not None:
        return f"answered with status {status}"
    match kind_of(error):
        case "connection":
            return "could not be reached, or hung up"
        case "malformed":
            return "answered with what could not be read"
        case "timeout":
            return "timed out"
    return f"failed ({type(error).__name__})"
