"""Every error that RAGents raises on purpose. HTTP statuses are given to them in ragents/deployment/http.py only.

RAGentsError
├── ConfigError                 settings that cannot be used; the process does not start
├── MissingExtra                an optional package is not installed
├── InputError                  a caller's mistake, with the field's name
│   └── TextTooLong             a text beyond the encoder's limit
├── NotFound                    no such thing for this principal (a foreign id reads the same as an unknown one)
├── Conflict                    the request contradicts what is stored
│   ├── ThreadBusy              another turn is running on the thread
│   └── ThreadTaken             the thread went on elsewhere while this process stood still; nothing was written
├── CheckpointRefused           a stored thread that cannot be read: forged, moved, or encrypted with another key
├── AuthenticationRequired      no or unknown credentials
├── PermissionDenied            known, but not allowed
├── Overloaded                  the queue is full; try again later
│   └── RateLimited             this user's limits are used up for now
├── DeadlineExceeded            the time allowed ran out
├── BudgetExceeded              a turn has spent its steps, tokens or seconds (agents answer with what is known)
├── DocumentError               a file that cannot be read, with the reason
└── BackendUnavailable          a needed neighbour is down
    ├── StoreUnavailable
    ├── ModelUnavailable
    ├── EncoderUnavailable
    └── RerankerUnavailable     (the answer goes on without it, and says so)
"""

from collections.abc import Mapping
from typing import ClassVar, Literal


class RAGentsError(Exception):
    """Root of the tree. `code` is the stable snake_case name that clients may match on."""

    code: ClassVar[str] = "internal_error"


class ConfigError(RAGentsError):
    code = "invalid_configuration"


class MissingExtra(RAGentsError):
    code = "missing_extra"

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'ragents[{extra}]'")
        self.package, self.extra = package, extra


class InputError(RAGentsError):
    """`field` is the dotted path of the offending field, as the caller wrote it."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may be more precise than its class


class TextTooLong(InputError):
    code = "text_too_long"

    def __init__(self, *, tokens: int, max_tokens: int, index: int = 0) -> None:
        super().__init__(
            f"text {index} has {tokens} tokens and the encoder takes {max_tokens}; split it first", field="text"
        )
        self.tokens, self.max_tokens, self.index = tokens, max_tokens, index


class NotFound(RAGentsError):
    code = "not_found"

    def __init__(self, kind: str, identifier: str, *, remedy: str = "") -> None:
        super().__init__(f"no {kind} {identifier!r}" + (f"; {remedy}" if remedy else ""))
        self.kind, self.identifier = kind, identifier


class Conflict(RAGentsError):
    code = "conflict"


class ThreadBusy(Conflict):
    code = "thread_busy"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was sent with another question on the thread; a new question needs a new key"
        )


class ThreadTaken(Conflict):
    code = "thread_taken"


class CheckpointRefused(RAGentsError):
    code = "checkpoint_refused"


class AuthenticationRequired(RAGentsError):
    code = "authentication_required"


class PermissionDenied(RAGentsError):
    code = "permission_denied"


class Overloaded(RAGentsError):
    """`reason` is one of few words, for metrics."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, reason: str = "overloaded") -> None:
        super().__init__(message)
        self.retry_after_s, self.reason = retry_after_s, reason


class RateLimited(Overloaded):
    """`reason` is the limit's name; `headers` say how far it is used up."""

    code = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_s: float, reason: str = "minute", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, reason=reason)
        self.headers = dict(headers or {})


class DeadlineExceeded(RAGentsError):
    code = "deadline_exceeded"


class BudgetExceeded(RAGentsError):
    code = "budget_exceeded"


DocumentReason = Literal["empty", "encrypted", "damaged", "too_large", "unsupported", "mislabelled", "unreadable"]


class DocumentError(RAGentsError):
    """One file that cannot be taken. The run goes on without it."""

    code = "document_unreadable"

    def __init__(self, uri: str, reason: DocumentReason, detail: str) -> None:
        super().__init__(f"{uri}: {reason}: {detail}")
        self.uri, self.reason, self.detail = uri, reason, detail


class BackendUnavailable(RAGentsError):
    """`component` is the name that /health uses."""

    code = "backend_unavailable"

    def __init__(self, component: str, detail: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(f"{component} is unavailable: {detail}")
        self.component, self.detail, self.retry_after_s = component, detail, retry_after_s


class StoreUnavailable(BackendUnavailable):
    code = "store_unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__("store", detail, retry_after_s=retry_after_s)


class ModelUnavailable(BackendUnavailable):
    code = "model_unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__("llm", detail, retry_after_s=retry_after_s)


class EncoderUnavailable(BackendUnavailable):
    code = "encoder_unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__("encoder", detail, retry_after_s=retry_after_s)


class RerankerUnavailable(BackendUnavailable):
    def __init__(self, detail: str) -> None:
        super().__init__("reranker", detail)
