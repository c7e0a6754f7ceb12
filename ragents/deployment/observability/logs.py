"""Logging: one handler on stderr, as text or as JSON, with the request's id and its trace's in every line."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from ragents import tracing
from ragents.config import in_image
from ragents.deployment.http import _current
from ragents.deployment.observability.config import ObservabilityConfig

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
MAX_CAUSES = 5
QUIET = ("httpx", "httpcore", "openai", "psycopg.pool", "docutils")
SILENT = ("opentelemetry.exporter", "opentelemetry.sdk")
"""A destination that is down: pipe.py says so once a minute, and they would with every request."""


class _Ids(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        record.request_id = context.request_id if context else "-"
        record.trace_id = tracing.trace_id()
        return True


class Discreet(logging.Formatter):
    """Errors are shown by their kinds and places: their messages may quote what was asked, which `content` allows."""

    def __init__(self, format_: str | None = None, *, content: bool) -> None:
        super().__init__(format_)
        self._content = content

    def formatException(self, ei: ExcInfo) -> str:  # logging's name
        if self._content:
            return super().formatException(ei)
        parts, error = list[str](), ei[1]
        while error is not None and len(parts) < MAX_CAUSES:
            where = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"{where}{type(error).__module__}.{type(error).__qualname__}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nbecause of\n".join(parts)


class JsonFormatter(Discreet):
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
    content = config.log_content
    handler.setFormatter(JsonFormatter(content=content) if as_json else Discreet(FORMAT, content=content))
    handler.addFilter(_Ids())
    logger = logging.getLogger("ragents")
    logger.handlers[:] = [handler]
    logger.setLevel(config.log_level)
    logger.propagate = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
