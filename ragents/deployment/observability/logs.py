"""Logging: one handler on stderr, as text or as JSON, with the request's id and its trace's in every line."""

import json
import logging
import sys
from datetime import UTC, datetime

from ragents import tracing
from ragents.config import in_image
from ragents.deployment.http import _current
from ragents.deployment.observability.config import ObservabilityConfig

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
QUIET = ("httpx", "httpcore", "openai", "psycopg.pool", "docutils")
SILENT = ("opentelemetry.exporter", "opentelemetry.sdk")
"""A destination that is down: pipe.py says so once a minute, and they would with every request."""


class _Ids(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        record.request_id = context.request_id if context else "-"
        record.trace_id = tracing.trace_id()
        return True


class JsonFormatter(logging.Formatter):
    """One object in a line: time, level, logger, message, request_id, trace_id, and an error's trace."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", "-")
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": None if request_id == "-" else request_id,
            "trace_id": getattr(record, "trace_id", None),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(config: ObservabilityConfig) -> None:
    """For the logger `ragents`; BentoML keeps its own."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = in_image() if config.log_format == "auto" else config.log_format == "json"
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(FORMAT))
    handler.addFilter(_Ids())
    logger = logging.getLogger("ragents")
    logger.handlers[:] = [handler]
    logger.setLevel(config.log_level)
    logger.propagate = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
