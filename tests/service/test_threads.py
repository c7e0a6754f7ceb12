"""Threads over HTTP: whose they are, what they tell, and how a turn goes on."""

import asyncio

import httpx
import pytest

DATES = "How many days lie between the two dates?"


async def ask(client: httpx.AsyncClient, query: str, *, key: str | None = None, **fields: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post("/query", json={"query": query, **fields}, headers=headers)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/threads/unknown"), ("DELETE", "/threads/unknown"), ("POST", "/threads/x/resume")]
)
async def test_an_unknown_thread_is_not_found(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path, json={"answer": "x"} if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"), [({"answer": ""}, "answer"), ({"answer": 5}, "answer"), ({"reply": "x"}, "reply")]
)
async def test_a_bad_reply_names_its_field(client: httpx.AsyncClient, body: dict[str, object], field: str) -> None:
    response = await client.post("/threads/t/resume", json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(field)


async def test_a_bad_idempotency_key_is_refused(client: httpx.AsyncClient) -> None:
    response = await ask(client, "Where does batching sit?", key="with space")
    assert response.status_code == 400
    assert "Idempotency-Key" in response.json()["error"]


async def test_the_key_of_a_batch_is_another_for_each_item(client: httpx.AsyncClient) -> None:
    asked = [{"query": q, "thread_id": "of-a-batch"} for q in ("Where does batching sit?", "Where does the cat sleep?")]
    for _ in range(2):
        response = await client.post("/query/batch", json={"requests": asked}, headers={"Idempotency-Key": "b1"})
        assert [item.get("code") for item in response.json()["results"]] == [None, None]
    assert len((await client.get("/threads/of-a-batch")).json()["messages"]) == 4


async def test_a_key_of_another_question_is_refused_and_answers_its_own(client: httpx.AsyncClient) -> None:
    first = (await ask(client, "Where does batching sit?", key="k1", thread_id="reused")).json()
    other = await ask(client, "Where does the cat sleep?", key="k1", thread_id="reused")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    again = (await ask(client, "Where does batching sit?", key="k1", thread_id="reused")).json()
    assert again["answer"] == first["answer"]
    await ask(client, "Where does the cat sleep?", key="k2", thread_id="reused")
    late = await ask(client, "Why?", key="k1", thread_id="reused")
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key_reused")
    assert len((await client.get("/threads/reused")).json()["messages"]) == 4


async def test_a_key_of_a_turn_that_waits_for_an_answer_takes_no_other_question(client: httpx.AsyncClient) -> None:
    asked = (await ask(client, DATES, key="k1", agent_type="logical", thread_id="waits")).json()
    other = await ask(client, "Where does batching sit?", key="k1", thread_id="waits")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    again = (await ask(client, DATES, key="k1", agent_type="logical", thread_id="waits")).json()
    assert again["pending"] == asked["pending"]


async def test_an_idle_thread_has_nothing_to_resume(client: httpx.AsyncClient) -> None:
    await ask(client, "Where does batching sit?", thread_id="idle")
    response = await client.post("/threads/idle/resume", json={"answer": "x"})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


async def test_a_question_asked_back_is_shown_and_answered(client: httpx.AsyncClient) -> None:
    asked = (await ask(client, DATES, agent_type="logical", thread_id="back")).json()
    assert asked["answer"] == asked["pending"]["question"]
    thread = (await client.get("/threads/back")).json()
    assert (thread["state"], thread["pending"]) == ("waiting", asked["pending"])
    empty = await client.post("/threads/back/resume", json={})
    assert (empty.status_code, "answer is missing" in empty.json()["error"]) == (400, True)
    done = (await client.post("/threads/back/resume", json={"answer": "2024-02-28 and 2024-03-01"})).json()
    assert "2 days" in done["answer"]
    assert done["pending"] is None
    assert (await client.get("/threads/back")).json()["state"] == "idle"


async def test_another_question_leaves_the_pending_one_on_the_thread(client: httpx.AsyncClient) -> None:
    await ask(client, DATES, agent_type="logical", thread_id="left")
    await ask(client, "Where does batching sit?", thread_id="left")
    thread = (await client.get("/threads/left")).json()
    assert thread["state"] == "idle"
    assert [message["role"] for message in thread["messages"]] == ["user", "assistant"] * 2
    assert "two dates" in thread["messages"][1]["content"]


async def test_a_turn_with_the_same_key_is_told_again_and_not_made_twice(client: httpx.AsyncClient) -> None:
    fields = {"thread_id": "twice", "use_cache": False}
    first = (await ask(client, "Where does batching sit?", key="k1", **fields)).json()
    await ask(client, "What does the cat do?", key="k2", **fields)
    again = (await ask(client, "Where does batching sit?", key="k1", **fields)).json()
    assert again["answer"] == first["answer"]
    assert "told again" in again["notes"][0]
    thread = (await client.get("/threads/twice")).json()
    assert [message["id"] for message in thread["messages"] if message["role"] == "user"] == ["k1", "k2"]


async def test_turns_at_once_do_not_interleave(client: httpx.AsyncClient) -> None:
    await asyncio.gather(*(ask(client, f"Question {n} about batching?", thread_id="crowd") for n in range(5)))
    thread = (await client.get("/threads/crowd")).json()
    assert [message["role"] for message in thread["messages"]] == ["user", "assistant"] * 5


async def test_an_erased_thread_is_gone(client: httpx.AsyncClient) -> None:
    await ask(client, "Where does batching sit?", thread_id="erased")
    assert (await client.delete("/threads/erased")).json() == {"deleted": "erased"}
    assert (await client.get("/threads/erased")).status_code == 404


async def test_tools_are_shown_on_the_thread(client: httpx.AsyncClient) -> None:
    await ask(client, "Where does adaptive batching sit?", agent_type="react", thread_id="tools")
    thread = (await client.get("/threads/tools")).json()
    assert thread["messages"][0]["role"] == "user"
    assert thread["messages"][-1]["role"] == "assistant"
