"""HTTP on our own terms: the error table, the request's context, and the answer of every endpoint."""

import json
import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from ragents import errors
from ragents.deployment.callers import Caller
from ragents.deployment.keys.types import AuditEntry
from ragents.errors import RAGentsError
from ragents.principal import Principal

log = logging.getLogger(__name__)


class PayloadTooLarge(RAGentsError):
    code = "payload_too_large"


class UnsupportedMediaType(RAGentsError):
    code = "unsupported_media_type"


STATUS: tuple[tuple[type[RAGentsError], int], ...] = (
    (errors.InputError, 400),
    (errors.AuthenticationRequired, 401),
    (errors.PermissionDenied, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.CheckpointRefused, 409),
    (PayloadTooLarge, 413),
    (UnsupportedMediaType, 415),
    (errors.Overloaded, 429),
    (errors.BackendUnavailable, 503),
    (errors.DeadlineExceeded, 504),
)
"""The one table from errors to statuses. What is not in it is a defect: 500."""

FOREIGN_ERRORS = {
    404: ("not_found", "no such route; /docs.json lists them"),
    405: ("method_not_allowed", "this route does not take that method; the Allow header names those it takes"),
    413: ("payload_too_large", "the request is too large"),
    429: ("overloaded", "too many requests; try again later"),
    503: ("unavailable", "not ready; try again later"),
    504: ("deadline_exceeded", "the request took too long"),
}
"""For errors that BentoML answers before a request reaches us."""

OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

REQUEST_ID = re.compile(r"^[\x21-\x7e]{1,128}$")


@dataclass(slots=True)
class RequestContext:
    """What belongs to one request. `answered`: the response is ours, not BentoML's. `openai`: errors in its shape.

    `headers` go with the answer, whatever it is.
    """

    request_id: str
    caller: Caller = field(default_factory=Caller)
    idempotency_key: str | None = None
    started: float = field(default_factory=time.perf_counter)
    answered: bool = False
    openai: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        return self.caller.principal

    @property
    def latency_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000


_current: ContextVar[RequestContext | None] = ContextVar("ragents_request", default=None)


def enter_request(context: RequestContext) -> None:
    _current.set(context)


def current_request() -> RequestContext:
    """The request of this task; outside of HTTP one of an anonymous caller."""
    context = _current.get()
    if context is None:
        context = RequestContext(str(uuid.uuid4()))
        _current.set(context)
    return context


def request_id_from(header: str | None) -> str:
    """The client's own, where it can be repeated safely in a header and a log line; else a new one."""
    return header if header and REQUEST_ID.match(header) else str(uuid.uuid4())


def idempotency_key_from(header: str | None) -> str | None:
    """The client's own name of a turn. InputError for one that cannot be kept."""
    if header is None or REQUEST_ID.match(header):
        return header
    raise errors.InputError(
        f"Idempotency-Key = {shown(header)}: expected 1 to 128 printable ASCII characters without spaces",
        field="Idempotency-Key",
    )


async def respond(work: Callable[[], Awaitable[BaseModel | dict[str, Any] | Response]]) -> Response:
    """Run an endpoint. What it returns becomes JSON (a Response stays one), what it raises the documented error."""
    context = current_request()
    context.answered = True
    try:
        result = await work()
    except RAGentsError as error:
        return error_response(error, context.request_id)
    except Exception as error:
        return error_response(internal(error, context.request_id), context.request_id)
    return result if isinstance(result, Response) else json_response(result)


class InternalError(RAGentsError):
    """A defect, as its caller sees it."""

    code = "internal_error"


def internal(error: Exception, request_id: str) -> InternalError:
    log.error("request %s failed", request_id, exc_info=error)
    return InternalError("an unexpected error; the log has it under the request id")


def json_response(value: BaseModel | dict[str, Any], *, status: int = 200) -> Response:
    body = value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value, ensure_ascii=False)
    return Response(body.encode("utf-8", "replace"), status, media_type="application/json")


def error_response(error: RAGentsError, request_id: str) -> Response:
    status = status_of(error)
    response = error_body(
        status, error.code, message_of(error, request_id), request_id, field=getattr(error, "field", None)
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="ragents"'
    if (seconds := retry_after(error)) is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


def retry_after(error: RAGentsError) -> int | None:
    """Whole seconds, as headers want them; None where asking again does not help."""
    seconds = getattr(error, "retry_after_s", None)
    return None if seconds is None else max(1, math.ceil(seconds))


def entry_of(context: RequestContext, action: str, target: str) -> AuditEntry:
    """For the audit log: who did it, by which key, in which request."""
    principal = context.principal
    details = {"key": context.caller.key}
    return AuditEntry(principal.tenant, principal.user, action, target, details, context.request_id)


def status_of(error: RAGentsError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def message_of(error: RAGentsError, request_id: str) -> str:
    """What the caller is told; the log has what is our side's fault."""
    status = status_of(error)
    if status >= 500:
        log.warning("request %s: %d %s: %s", request_id, status, error.code, error)
    return str(error) if status != 500 or isinstance(error, InternalError) else "an unexpected error"


def error_body(status: int, code: str, message: str, request_id: str, *, field: str | None = None) -> Response:
    return json_response(error_value(status, code, message, request_id, field=field), status=status)


def error_value(status: int, code: str, message: str, request_id: str, *, field: str | None = None) -> dict[str, Any]:
    """An error as JSON: in our shape, or in OpenAI's for those who asked at /v1."""
    if not current_request().openai:
        return {"error": message, "code": code, "request_id": request_id}
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": field, "code": code}, "request_id": request_id}


def shown(value: object) -> str:
    """A value in an error: short, and safe to send."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
