"""The real BentoML service as an ASGI app, over the doubles: one for the whole run."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest
import yaml

from ragents.principal import Principal
from tests.doubles import TEXTS, add_document

SETTINGS = {
    "embeddings": {"backend": "hashing"},
    "store": {"backend": "memory"},
    "checkpoint": {"backend": "memory"},
    "rag": {"min_confidence": 0.0},
    "serving": {"max_in_flight": 5, "max_queue": 40},
}


@pytest.fixture(scope="session")
async def asgi(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[object]:
    """Started as `bentoml serve` starts a worker, with SETTINGS, and filled with TEXTS."""
    file = tmp_path_factory.mktemp("settings") / "settings.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    os.environ["RAGENTS_CONFIG"] = str(file)
    from ragents.deployment.bentoml_service import RAGentsService, _state

    app = RAGentsService.to_asgi()
    starlette = app.app  # inside our outermost layer
    async with starlette.router.lifespan_context(starlette):
        del os.environ["RAGENTS_CONFIG"]  # read by now, and other tests have settings of their own
        for uri, text in TEXTS.items():
            await add_document(_state.app.engine, uri, [text])
        yield app


def client_from(app: object, host: str | None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(
        app=app,  # type: ignore[arg-type]  # BentoML's type
        client=(host, 50_000),  # type: ignore[arg-type]
        raise_app_exceptions=False,
    )
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30)


@pytest.fixture
async def client(asgi: object) -> AsyncIterator[httpx.AsyncClient]:
    """A caller on this machine."""
    async with client_from(asgi, "127.0.0.1") as opened:
        yield opened


@pytest.fixture
async def stranger(asgi: object) -> AsyncIterator[httpx.AsyncClient]:
    """A caller on another machine."""
    async with client_from(asgi, "192.0.2.7") as opened:
        yield opened


@pytest.fixture
async def foreign_document(asgi: object) -> str:
    """The id of another tenant's document."""
    from ragents.deployment.bentoml_service import _state

    return await add_document(_state.app.engine, "secret.md", ["their secret"], principal=Principal("other"))
