"""The processes of `bentoml serve`: one that listens and starts workers again and again, and the workers.

A worker that cannot start because of a missing neighbour could not start the second time either: it says why in one
line and asks the listening process to end, which then exits with a status that says so.
"""

import atexit
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import psutil
from bentoml import server_context, serving
from bentoml._internal.utils import circus
from bentoml.container import BentoMLContainer  # type: ignore[attr-defined]  # BentoML is not strict about __all__
from opentelemetry.util.http import ExcludeList

from ragents.deployment.observability.directory import open_directory
from ragents.errors import RAGentsError

log = logging.getLogger("ragents.process")

LISTENER_VARIABLE = "_RAGENTS_LISTENER"  # not RAGENTS_...: those are settings
EXIT_START_FAILED = 1
PR_SET_PDEATHSIG = 1
WORKERS_CHECKED_EVERY_S = 1
METRICS = "ragents-metrics"
"""In BENTOML_HOME, beside BentoML's own directory, which any other service that starts there empties."""


def settle_memory() -> None:
    """What was loaded at the start is there for good: the collector of garbage need not look through it every time."""
    gc.collect()
    gc.freeze()


def prepare_listener() -> None:
    """In the listening process, before it starts workers.

    SIGUSR1 from one of them means that no start can succeed. What BentoML has no settings for is replaced: where the
    metrics are, and how often it looks for workers that have died (10 s, for which nobody answered).
    """
    if server_context.worker_index is not None or threading.current_thread() is not threading.main_thread():
        return
    failed = False

    def fail(_signum: int, _frame: FrameType | None) -> None:
        nonlocal failed
        failed = True
        os.kill(os.getpid(), signal.SIGTERM)  # the orderly end of all workers

    def exit_failed() -> None:
        if failed:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_START_FAILED)  # BentoML itself always ends with 0

    os.environ[LISTENER_VARIABLE] = str(os.getpid())
    signal.signal(signal.SIGUSR1, fail)
    atexit.register(exit_failed)
    serving.ensure_prometheus_dir = partial(_open_metrics, serving.ensure_prometheus_dir)
    circus.create_standalone_arbiter = partial(circus.create_standalone_arbiter, check_delay=WORKERS_CHECKED_EVERY_S)


def _open_metrics(shared: Callable[[], str]) -> str:
    home = Path(BentoMLContainer.bentoml_home.get())
    try:
        return str(open_directory(home / METRICS))
    except OSError as error:
        log.warning("no directory for the metrics of this server alone, others may empty it: %s", error)
        return shared()


def started_by_listener() -> bool:
    """Whether this is a worker of a listening process that `prepare_listener` has prepared."""
    return os.environ.get(LISTENER_VARIABLE) == str(os.getppid())


def give_up(error: RAGentsError) -> None:
    """End a worker that cannot start, and its listening process with it. Elsewhere the error goes to the caller."""
    if not started_by_listener():
        raise error
    say(error)
    os.kill(os.getppid(), signal.SIGUSR1)
    os._exit(EXIT_START_FAILED)  # what had opened is closed; raising would print a trace


def end_with_listener() -> None:
    """A worker whose listening process was killed would go on holding the port and the embedded Postgres (Linux).

    One that was killed while the worker was still importing sends no signal any more: the worker ends at once.
    """
    if sys.platform == "linux" and started_by_listener():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    listener = os.environ.get(LISTENER_VARIABLE)
    if server_context.worker_index is not None and listener is not None and not psutil.pid_exists(int(listener)):
        os._exit(EXIT_START_FAILED)  # nothing is open yet


def leave_tracing_to_us() -> None:
    """Before BentoML builds its app: its own spans, unless its settings ask for them, would stand between ours and a
    caller's as parents that nobody exports, and cost each request CPU time to be thrown away."""
    if not BentoMLContainer.tracing.sample_rate.get():
        BentoMLContainer.tracing_excluded_urls.set(ExcludeList([".*"]))


def say(error: RAGentsError) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()
