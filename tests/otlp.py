"""An OTLP/HTTP receiver on the loopback interface, and any HTTP server that records or hangs."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Recorded:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ReceivedSpan:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Receiver:
    """`answer` makes status and body of a request. `hang`: requests are read and never answered."""

    url: str = ""
    requests: list[Recorded] = field(default_factory=list)
    answer: Callable[[Recorded], tuple[int, bytes]] = lambda _: (200, b"{}")
    hang: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def spans(self) -> list[ReceivedSpan]:
        found = []
        for request in list(self.requests):
            if request.path.endswith("/v1/traces"):
                found += _decoded(request.body)
        return found

    def wait_for(self, met: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """What `met` gives once it is true, which is looked at with each request."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (value := met()):
                if not self.changed.wait(max(0.0, deadline - time.monotonic())):
                    seen = [(each.method, each.path) for each in self.requests]
                    raise AssertionError(f"not received within {timeout_s} s; {seen}; {self.spans()}")
        return value


def _decoded(body: bytes) -> list[ReceivedSpan]:
    message = ExportTraceServiceRequest.FromString(body)
    return [
        ReceivedSpan(
            service=next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name"),
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes={a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes},
            failed=span.status.code == 2,
        )
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Recorded(self.command, self.path, headers, body)
            if receiver.hang.is_set():
                receiver.released.wait()
                self.close_connection = True
                return
            with receiver.changed:
                receiver.requests.append(request)
                receiver.changed.notify_all()
            status, answer = receiver.answer(request)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = _take

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
