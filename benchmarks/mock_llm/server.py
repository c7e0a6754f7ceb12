"""The routes of the mock, and a way to run it on a free port."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from benchmarks.mock_llm.types import Script, Seen, Step

MODEL = "mock"
KEPT_REQUESTS = 10_000
MIDWAY = 2
"""Words that are said before a fault that comes midway."""
HANG_S = 3600.0


class MockLLM:
    """Answers by `script`; `seen` says what came. Both may be changed and read while it runs."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.seen = Seen()
        self.url = ""
        self.tracer: Tracer | None = None
        self._taken = 0
        self._changed = threading.Condition()

    def play(self, *steps: Step, **times: float) -> None:
        """From now on; what was seen before is forgotten."""
        self.script = Script(steps=list(steps) or [Step()], **times)
        self.seen, self._taken = Seen(), 0

    def wait_for(self, name: str, count: int = 1, timeout_s: float = 10.0) -> bool:
        """Whether `begun`, `hung_up` or `ended` has come to `count` in time."""
        with self._changed:
            return self._changed.wait_for(lambda: getattr(self.seen, name) >= count, timeout_s)

    async def complete(self, request: Request) -> Response:
        with self._span(request.headers):
            return await self._complete(request)

    @contextmanager
    def _span(self, headers: Mapping[str, str]) -> Iterator[None]:
        """One of its own in the caller's trace, as vLLM makes them, where it was told where to send them."""
        if self.tracer is None:
            yield
            return
        context = TraceContextTextMapPropagator().extract(headers)
        with self.tracer.start_as_current_span("llm_request", context, kind=SpanKind.SERVER):
            yield

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self._note(body, dict(request.headers))
        step = _echoed(self._next(), body)
        match step.fault:
            case "400" | "401" | "429" | "500" | "503":
                headers = {} if step.retry_after_s is None else {"Retry-After": f"{step.retry_after_s:g}"}
                return JSONResponse({"error": {"message": "words of the server"}}, int(step.fault), headers)
            case "hang":
                await asyncio.sleep(HANG_S)
            case "reset":
                return StreamingResponse(_cut(), media_type="application/json")
            case "garbage":
                return Response("<html>not what you think</html>", media_type="application/json")
        if body.get("stream"):
            return StreamingResponse(self._stream(step, body), media_type="text/event-stream")
        self._count("begun")
        try:
            await asyncio.sleep(self.script.first_token_s + self.script.between_tokens_s * len(step.content.split()))
        except asyncio.CancelledError:
            self._count("hung_up")
            raise
        if step.fault in ("hang_midway", "reset_midway", "garbage_midway", "end_midway"):
            return StreamingResponse(_half(step, body), media_type="application/json")
        self._count("ended")
        return JSONResponse(_whole(step, body))

    async def _stream(self, step: Step, body: dict[str, Any]) -> AsyncIterator[str]:
        self._count("begun")
        try:
            await asyncio.sleep(self.script.first_token_s)
            for said, delta in enumerate(_deltas(step), start=1):
                yield _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                if said == MIDWAY:
                    match step.fault:
                        case "hang_midway":
                            await asyncio.sleep(HANG_S)
                        case "reset_midway":
                            raise ConnectionResetError
                        case "garbage_midway":
                            yield "data: {not json\n\n"
                        case "end_midway":
                            self._count("ended")
                            return
                await asyncio.sleep(self.script.between_tokens_s)
            reason = _reason(step)
            if step.fault != "empty":
                yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _event({"choices": [], "usage": _usage(step, body)})
            if step.fault != "no_done":
                yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self._count("hung_up")
            raise
        self._count("ended")

    def _next(self) -> Step:
        step = self.script.steps[min(self._taken, len(self.script.steps) - 1)]
        self._taken += 1
        return step

    def _note(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        if len(self.seen.requests) < KEPT_REQUESTS:
            self.seen.requests.append(body)
            self.seen.headers.append(headers)

    def _count(self, name: str) -> None:
        with self._changed:
            setattr(self.seen, name, getattr(self.seen, name) + 1)
            self._changed.notify_all()


def _echoed(step: Step, body: dict[str, Any]) -> Step:
    if step.echo is None:
        return step
    found = re.findall(step.echo, " ".join(str(message.get("content")) for message in body.get("messages", [])))
    return step.model_copy(update={"content": step.content.replace("{}", found[-1] if found else "")})


def create_app(mock: MockLLM) -> FastAPI:
    """The chat route and the list of models as OpenAI has them, and /_script and /_seen to steer it from outside."""
    app = FastAPI(title="mock LLM")
    app.add_api_route("/v1/chat/completions", mock.complete, methods=["POST"], response_model=None)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "mock"}]}

    @app.post("/_script")
    async def script(told: Script) -> Script:
        mock.script, mock.seen, mock._taken = told, Seen(), 0
        return told

    @app.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.get("/_seen")
    async def seen() -> Seen:
        return mock.seen

    return app


@contextmanager
def open_mock_llm(script: Script | None = None, *, port: int = 0, otlp: str | None = None) -> Iterator[MockLLM]:
    """The mock in a thread of its own, on a free port of the loopback interface unless `port` names one.

    `otlp`: where its spans go, such as http://127.0.0.1:4318/v1/traces.
    """
    mock = MockLLM(script)
    spans = None
    if otlp is not None:
        spans = TracerProvider(resource=Resource.create({"service.name": "mock-llm"}))
        spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=otlp, timeout=2)))
        mock.tracer = spans.get_tracer("mock_llm")
    config = uvicorn.Config(create_app(mock), host="127.0.0.1", port=port, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > until or not thread.is_alive():
                raise RuntimeError("the mock LLM did not start")
            time.sleep(0.01)
        mock.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
        yield mock
    finally:
        server.should_exit = True
        server.force_exit = True  # streams that hang on purpose are not waited for
        thread.join(10)
        if spans is not None:
            spans.shutdown()


async def _cut() -> AsyncIterator[bytes]:
    """The status line is out, and nothing follows."""
    raise ConnectionResetError
    yield b""


async def _half(step: Step, body: dict[str, Any]) -> AsyncIterator[str]:
    """Half of a whole answer."""
    text = json.dumps(_whole(step, body))
    yield text[: len(text) // 2]
    match step.fault:
        case "hang_midway":
            await asyncio.sleep(HANG_S)
        case "reset_midway":
            raise ConnectionResetError


def _deltas(step: Step) -> Iterator[dict[str, Any]]:
    if step.fault == "empty":
        return
    if step.tool_calls:
        for index, call in enumerate(step.tool_calls):
            function = {"name": call.name, "arguments": json.dumps(call.arguments)}
            yield {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}
        return
    for number, word in enumerate(step.content.split(" ")):
        yield {"role": "assistant", "content": word if number == 0 else f" {word}"}


def _whole(step: Step, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.content}
    if step.tool_calls:
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": f"call_{n}",
                    "type": "function",
                    "function": {"name": c.name, "arguments": json.dumps(c.arguments)},
                }
                for n, c in enumerate(step.tool_calls)
            ],
        }
    choice = {"index": 0, "message": message, "finish_reason": _reason(step)}
    choices = [] if step.fault == "empty" else [choice]
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": choices,
        "usage": _usage(step, body),
    }


def _reason(step: Step) -> str | None:
    if step.fault == "no_reason":
        return None
    return step.finish_reason or ("tool_calls" if step.tool_calls else "stop")


def _event(data: dict[str, Any]) -> str:
    return (
        f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'created': 0, 'model': MODEL, **data})}\n\n"
    )


def _usage(step: Step, body: dict[str, Any]) -> dict[str, int]:
    """Words count as tokens."""
    prompt = sum(len(str(message.get("content") or "").split()) for message in body.get("messages", []))
    said = len(step.content.split())
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
