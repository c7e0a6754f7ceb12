"""The encoder service's own pieces; tests/e2e has it in its process."""

import asyncio

from bentoml._internal.marshal.dispatcher import CorkDispatcher
from starlette.requests import Request
from starlette.testclient import TestClient

from ragents.deployment.encoder_service import Eager, JsonOnly, find_encoder
from ragents.deployment.serving import ServingConfig

LEARNED_S, AT_ONCE_S = 60.0, 10.0


async def test_a_lone_question_does_not_wait_for_company_whatever_was_learned() -> None:
    async def embed(batch: list[list[str]]) -> list[list[int]]:
        return [[len(text) for text in texts] for texts in batch]

    dispatcher = CorkDispatcher(30_000, 100, fallback=lambda: None, get_batch_size=len)
    dispatcher.optimizer = Eager(30)
    ask = dispatcher(embed)
    for _ in range(12):  # BentoML trains on the first ones
        await ask(["warm up"])
    dispatcher.optimizer.log_outbound(4, LEARNED_S, 0.001)
    dispatcher.optimizer.trigger_refresh()
    async with asyncio.timeout(AT_ONCE_S):
        assert await ask(["alone"]) == [5]
    dispatcher.shutdown()


def test_what_is_not_json_is_refused_before_it_is_read() -> None:
    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await Request(scope, receive).body()  # type: ignore[arg-type]  # ASGI's own types
        raise AssertionError("it came through")

    http = TestClient(JsonOnly(app))  # type: ignore[arg-type]  # ASGI's own types
    for media_type in ("application/vnd.bentoml+pickle", "APPLICATION/VND.BENTOML+PICKLE; x=1", "text/plain", ""):
        assert http.post("/embed_queries", content=b"x", headers={"content-type": media_type}).status_code == 415


def test_outside_of_bentoml_there_is_no_encoder_service() -> None:
    assert find_encoder(ServingConfig(encoder="service")) is None
    assert find_encoder(ServingConfig()) is None
