"""What every tier shares: a real Postgres made for the run, and nothing read from the developer's own settings."""

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import HealthCheck

from ragents.principal import Principal

if TYPE_CHECKING:
    from benchmarks.mock_llm import MockLLM
    from tests.otlp import Receiver

# Set before anything imports BentoML, LangGraph or LangSmith: no calls home, no traces.
os.environ.update(BENTOML_DO_NOT_TRACK="true", LANGSMITH_TRACING="false", LANGGRAPH_STRICT_MSGPACK="true")
# As `bentoml serve` sets it for its workers; prometheus_client looks once, when it is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="ragents-prometheus-")
for name in list(os.environ):
    if name.startswith("RAGENTS_"):
        del os.environ[name]

# A busy machine makes an example slow, and nothing wrong with it; the fixtures of these tests serve many examples.
hypothesis.settings.register_profile(
    "ragents", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis.settings.load_profile("ragents")


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """RAGENTS_HOME of the run. Short, since the path of a socket must be."""
    directory = Path(tempfile.mkdtemp(prefix="ragents-test-"))
    directory.chmod(0o755)
    os.environ["RAGENTS_HOME"] = str(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
async def postgres(home: Path) -> AsyncIterator[str]:
    """DSN of the superuser of an embedded Postgres."""
    from ragents.embedded import open_postgres

    async with open_postgres(home / "postgres") as dsn:
        yield dsn


@pytest.fixture(scope="session")
async def migrated(postgres: str) -> str:
    """DSN of the role that serves, on a database with the newest schema."""
    from ragents.deployment.app import APP_ROLE, migrate_all

    dsn = postgres.replace("postgres@", f"{APP_ROLE}@", 1)
    await migrate_all(postgres, dsn=dsn)
    return dsn


@pytest.fixture(scope="session")
def redis_url(home: Path) -> Iterator[str]:
    """A Redis 6.2 that evicts nothing, shared by the run."""
    from tests.redis_server import RedisServer

    directory = home / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def principal() -> Principal:
    """A tenant of the test's own, so that tests share a database and nothing else."""
    return Principal(tenant=f"tenant-{uuid.uuid4()}")


@pytest.fixture(scope="module")
def mock() -> "Iterator[MockLLM]":
    """A server that speaks as OpenAI does and says what it was told to."""
    from benchmarks.mock_llm import open_mock_llm

    with open_mock_llm() as opened:
        yield opened


@pytest.fixture
def receiver() -> "Iterator[Receiver]":
    """Where a service may send its traces."""
    from tests.otlp import open_receiver

    with open_receiver() as opened:
        yield opened
