"""Logging: one handler on stderr, the request id in every line."""

import logging
import sys

from ragents.deployment.http import _current
from ragents.deployment.serving import ObservabilityConfig

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
QUIET = ("httpx", "httpcore", "openai", "psycopg.pool", "docutils")


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        record.request_id = context.request_id if context else "-"
        return True


def configure_logging(config: ObservabilityConfig) -> None:
    """For the logger `ragents`; BentoML keeps its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_RequestId())
    logger = logging.getLogger("ragents")
    logger.handlers[:] = [handler]
    logger.setLevel(config.log_level)
    logger.propagate = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
