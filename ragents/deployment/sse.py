"""Server-sent events (WHATWG HTML, section 9.2): the answer of a question while it is written."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from ragents.deployment.runs import Event
from ragents.errors import InputError

HEARTBEAT_S = 15
SEND_TIMEOUT_S = 60.0
"""A reader that takes nothing for so long is gone."""


def event_stream(events: AsyncGenerator[Event]) -> Response:
    async def sent() -> AsyncIterator[ServerSentEvent]:
        async with aclosing(events):
            async for event in events:
                yield ServerSentEvent(event.data, event=event.name, id=str(event.id), sep="\n")

    return _response(sent())


def data_stream(data: AsyncGenerator[str]) -> Response:
    """Events without names and ids, as OpenAI sends them."""

    async def sent() -> AsyncIterator[ServerSentEvent]:
        async with aclosing(data):
            async for each in data:
                yield ServerSentEvent(each, sep="\n")

    return _response(sent())


def _response(sent: AsyncIterator[ServerSentEvent]) -> Response:
    return EventSourceResponse(sent, ping=HEARTBEAT_S, send_timeout=SEND_TIMEOUT_S, sep="\n")


def last_event_id(request: Request) -> int:
    """What the reader has seen: 0 for one that has seen nothing."""
    value = request.headers.get("last-event-id") or "0"
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InputError(
            f"Last-Event-ID = {value[:40]!r}: expected the id of an event of this run", field="Last-Event-ID"
        )
    return int(value)
