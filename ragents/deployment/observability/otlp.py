"""OTLP over HTTP, by OpenTelemetry's own exporter: our spans are made into its own here, in the thread that sends."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status, StatusCode

from ragents.deployment.observability.config import OtlpConfig
from ragents.tracing import RecordedSpan

OK, FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class OtlpExporter:
    """`service` and `version` name this process among the others of a trace."""

    def __init__(self, config: OtlpConfig, *, service: str, version: str, timeout_s: float) -> None:
        self._resource = Resource.create({"service.name": service, "service.version": version})
        self._scope = InstrumentationScope("ragents", version)
        self._inner = OTLPSpanExporter(
            endpoint=config.endpoint,
            headers={name: value.get_secret_value() for name, value in config.headers.items()},
            timeout=timeout_s,
        )

    def export(self, spans: Sequence[RecordedSpan]) -> bool:
        return self._inner.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry's

    def _readable(self, span: RecordedSpan) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            span.context,
            span.parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=span.kind,
            instrumentation_scope=self._scope,
            status=FAILED if span.failed else OK,
            start_time=span.start_time,
            end_time=span.end_time,
        )
