"""POST /query/stream: the answer as events, while it is written."""

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest

from ragents.deployment.runs import Run, Runs
from ragents.deployment.runs.run import MAX_UNREAD
from ragents.errors import Conflict, NotFound
from ragents.principal import ANONYMOUS, Principal

AGENTS = ["simple", "langgraph", "logical", "react"]


def events_of(text: str) -> list[tuple[int, str, Any]]:
    """(id, event, data) of each, and nothing else but comments."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


async def stream(client: httpx.AsyncClient, query: str, **fields: object) -> httpx.Response:
    headers = {"X-Request-ID": str(fields.pop("run", uuid.uuid4()))}
    return await client.post("/query/stream", json={"query": query, **fields}, headers=headers)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"query": ""}, 400, "query"),
        ({"query": "x", "agent_type": "none"}, 400, "agent_type"),
        ({"query": "x", "collection": "nowhere"}, 404, "nowhere"),
        ({"query": "x", "surprise": 1}, 400, "surprise"),
    ],
)
async def test_what_goes_wrong_before_the_first_event_has_its_status(
    client: httpx.AsyncClient, body: dict[str, object], status: int, said: str
) -> None:
    response = await client.post("/query/stream", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert said in response.json()["error"]


@pytest.mark.parametrize("agent_type", AGENTS)
async def test_every_agent_streams_sources_then_tokens_then_the_receipt(
    client: httpx.AsyncClient, agent_type: str
) -> None:
    response = await stream(client, "Where does batching sit?", agent_type=agent_type, use_cache=False)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    names = [name for _, name, _ in events if name != "status"]
    assert names == ["sources", *["token"] * names.count("token"), "done"]
    done = events[-1][2]
    assert "".join(data["text"] for _, name, data in events if name == "token") == done["answer"]
    assert (done["agent_type"], done["retracted"]) == (agent_type, [])
    sources = next(data for _, name, data in events if name == "sources")
    assert [source["id"] for source in sources["sources"]] == [source["id"] for source in done["sources"]]


async def test_a_streamed_turn_is_on_its_thread_and_is_told_again(client: httpx.AsyncClient) -> None:
    body = {"query": "Where does batching sit?", "thread_id": "streamed"}
    for _ in range(2):
        response = await client.post("/query/stream", json=body, headers={"Idempotency-Key": "streamed-1"})
        assert events_of(response.text)[-1][1] == "done"
    assert len((await client.get("/threads/streamed")).json()["messages"]) == 2


async def test_a_cached_answer_streams_as_well(client: httpx.AsyncClient) -> None:
    query = f"Where does batching sit? ({uuid.uuid4()})"
    await client.post("/query", json={"query": query})
    done = events_of((await stream(client, query)).text)[-1][2]
    assert done["cached"] == "answer"


async def test_what_an_agent_asks_back_streams_as_its_answer(client: httpx.AsyncClient) -> None:
    response = await stream(client, "How many days lie between the two dates?", agent_type="logical")
    done = events_of(response.text)[-1][2]
    assert done["answer"] == done["pending"]["question"]


async def test_a_run_without_grace_is_gone_when_it_was_read(client: httpx.AsyncClient) -> None:
    run = str(uuid.uuid4())
    await stream(client, "Where does batching sit?", run=run)
    response = await client.get(f"/runs/{run}/events")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_last_event_id_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/runs/x/events", headers={"Last-Event-ID": "latest"})
    assert (response.status_code, "Last-Event-ID" in response.json()["error"]) == (400, True)


def told(error: Exception) -> dict[str, str]:
    return {"error": str(error)}


async def slowly(run: Run) -> None:
    for n in range(4):
        await run.put("token", {"text": str(n)})
        await asyncio.sleep(0.02)


async def test_a_reader_who_comes_back_in_time_goes_on_without_a_second_run() -> None:
    runs, started = Runs(grace_s=5), 0

    async def work(run: Run) -> None:
        nonlocal started
        started += 1
        await slowly(run)

    await runs.start("r", ANONYMOUS, work, told=told)
    first = runs.read("r", ANONYMOUS)
    seen = [await anext(first)]
    await first.aclose()
    with pytest.raises(Conflict):
        await runs.start("r", ANONYMOUS, work, told=told)
    with pytest.raises(NotFound):
        await runs.find("r", Principal("default", "somebody else"))
    seen += [event async for event in runs.read("r", ANONYMOUS, after=seen[-1].id)]
    assert [event.id for event in seen] == [1, 2, 3, 4]
    assert started == 1
    again = [event async for event in runs.read("r", ANONYMOUS)]
    assert again == seen, "a client that lost the end can read it again"
    await runs.close()


@pytest.mark.parametrize("grace_s", [0.0, 0.05])
async def test_a_run_that_nobody_comes_back_for_is_cancelled(grace_s: float) -> None:
    runs, cancelled = Runs(grace_s=grace_s), asyncio.Event()

    async def work(run: Run) -> None:
        await run.put("status", {"text": "thinking"})
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await runs.start("r", ANONYMOUS, work, told=told)
    events = runs.read("r", ANONYMOUS)
    await anext(events)
    await events.aclose()
    await asyncio.wait_for(cancelled.wait(), 5)
    with pytest.raises(NotFound):
        await runs.find("r", ANONYMOUS)


async def test_an_error_after_the_first_event_is_an_event() -> None:
    runs = Runs(grace_s=0)

    async def work(run: Run) -> None:
        await run.put("status", {"text": "thinking"})
        raise RuntimeError("broken")

    await runs.start("r", ANONYMOUS, work, told=told)
    events = [event async for event in runs.read("r", ANONYMOUS)]
    assert [event.name for event in events] == ["status", "error"]
    assert json.loads(events[-1].data) == {"error": "broken"}


async def test_a_slow_reader_holds_the_model_back() -> None:
    runs, put = Runs(grace_s=0), 0

    async def work(run: Run) -> None:
        nonlocal put
        for _ in range(3 * MAX_UNREAD):
            await run.put("token", {"text": "x"})
            put += 1

    run = Run()
    reader = run.events()
    task = asyncio.create_task(work(run))
    await anext(reader)
    for _ in range(20):
        await asyncio.sleep(0)
    assert put <= MAX_UNREAD + 1
    rest = 1
    async for _ in reader:
        rest += 1
        if rest == 3 * MAX_UNREAD:
            break
    await asyncio.wait_for(task, 5)
    await runs.close()
