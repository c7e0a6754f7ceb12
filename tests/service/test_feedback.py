"""POST /feedback over HTTP."""

from typing import Any

import httpx
import pytest


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"score": 1}, "request_id"),
        ({"request_id": "r", "score": 2}, "score"),
        ({"request_id": "r", "score": "1"}, "score"),
        ({"request_id": "r", "score": True}, "score"),
        ({"request_id": "r"}, "score"),
        ({"request_id": "r\n", "score": 1}, "request_id"),
        ({"request_id": "r", "score": 1, "comment": "x" * 2001}, "comment"),
        ({"request_id": "r", "score": 1, "stars": 5}, "stars"),
    ],
)
async def test_a_score_that_is_none_is_refused_with_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await client.post("/feedback", json=body)
    assert response.status_code == 400
    assert field in response.json()["error"]


async def test_a_stranger_cannot_score(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.post("/feedback", json={"request_id": "r", "score": 1})).status_code == 403


async def test_a_score_is_taken_and_counted(client: httpx.AsyncClient) -> None:
    asked = await client.post("/query", json={"query": "Where does batching sit?"})
    body = {"request_id": asked.json()["request_id"], "score": 1, "comment": "right"}
    response = await client.post("/feedback", json=body)
    assert response.status_code == 200
    assert response.json()["taken"] is True
    assert response.json()["forwarded"] is False
    metrics = (await client.get("/metrics")).text
    assert 'rag_feedback_total{forwarded="false",score="high"}' in metrics
