"""A chat server of OpenAI's kind: streams slowly when asked to, and notes who hangs up. A thread, on a free port."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.e2e.conftest import free_port

WORDS = 200
PAUSE_S = 0.05


class Upstream:
    """`begun` and `hung_up` count calls; a call that was streamed to its end counts in `ended`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.begun = self.hung_up = self.ended = 0
        self.changed = threading.Condition()

    def wait_for(self, name: str, count: int = 1, timeout_s: float = 10) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: getattr(self, name) >= count, timeout_s)

    def _note(self, name: str) -> None:
        with self.changed:
            setattr(self, name, getattr(self, name) + 1)
            self.changed.notify_all()

    async def chat(self, request: Request) -> Response:
        if not (await request.json()).get("stream"):
            message = {"role": "assistant", "content": "word [1]"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            return JSONResponse(whole)
        self._note("begun")
        return StreamingResponse(self._words(), media_type="text/event-stream")

    async def _words(self) -> AsyncIterator[str]:
        try:
            for n in range(WORDS):
                choice = {"index": 0, "delta": {"content": f"word{n} [1][9] "}, "finish_reason": None}
                chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
                yield f"data: {json.dumps(chunk)}\n\n"
                await asyncio.sleep(PAUSE_S)
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self._note("hung_up")
            raise
        self._note("ended")


@contextmanager
def open_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    app = Starlette(routes=[Route("/v1/chat/completions", upstream.chat, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=upstream.port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.should_exit = True
        thread.join(10)
