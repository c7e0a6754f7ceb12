"""Three servers behind haproxy on one Postgres and one pair of Redis servers: what a client sees when they come and go.

Clients hold conversations through the balancer, send an Idempotency-Key with each question and never try again by
themselves: an answer other than 200 is a failure. In the end the threads are read and compared with what was answered.
REPLICAS_SECONDS: how long the clients ask before and after each event.
"""

import asyncio
import itertools
import json
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.cluster import Cluster, open_cluster
from tests.chaos.checker import Message, Turn, violations

SECONDS = float(os.environ.get("REPLICAS_SECONDS", "3"))
CLIENTS = 8
GIVE_UP_S = 60.0
MODEL_S = 0.4
SCRIPT = {"steps": [{"content": "It is turn {} [1]", "echo": r"turn (\w+-\d+)"}], "first_token_s": MODEL_S}
BURST, ASKED = 30, 90
RUNS = itertools.count(1)


def run() -> list[dict[str, object]]:
    return asyncio.run(measure())


async def measure() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for backend in ("postgres", "redis"):
        with tempfile.TemporaryDirectory(prefix="rb-") as directory:
            async with open_cluster(Path(directory), checkpoint=backend) as cluster:
                for name, event in EVENTS.items():
                    rows.append({"threads": backend, **await under_load(cluster, name, event)})
                    print(rows[-1], flush=True)
                for check in CHECKS:
                    rows.append({"threads": backend, **await check(cluster)})
                    print(rows[-1], flush=True)
    return rows


# --- under load


async def rolling_restart(cluster: Cluster) -> None:
    """One after the other: no new requests, what it has is answered, SIGTERM, start, requests again."""
    for replica in cluster.replicas:
        await cluster.balancer.drain(replica.name)
        await replica.stop()
        replica.start()
        await replica.wait_until_ready()
        await cluster.balancer.take_back(replica.name)
        await all_up(cluster)


async def sigterm(cluster: Cluster) -> None:
    """Without a word to the balancer."""
    replica = cluster.replicas[0]
    await replica.stop()
    await come_back(cluster, replica.name)


async def kill_server(cluster: Cluster) -> None:
    replica = cluster.replicas[1]
    await cluster.balancer.wait_for_work(replica.name)
    replica.kill()
    await come_back(cluster, replica.name)


async def kill_worker(cluster: Cluster) -> None:
    replica = cluster.replicas[2]
    await cluster.balancer.wait_for_work(replica.name)
    replica.kill_worker()
    await asyncio.sleep(0.5)
    await replica.wait_until_ready()
    await all_up(cluster)


async def come_back(cluster: Cluster, name: str) -> None:
    cluster.of(name).start()
    await cluster.of(name).wait_until_ready()
    await all_up(cluster)


async def all_up(cluster: Cluster) -> None:
    await cluster.balancer.wait_for(*(each.name for each in cluster.replicas))


Event = Callable[[Cluster], Awaitable[None]]
EVENTS: dict[str, Event] = {
    "rolling restart": rolling_restart,
    "SIGTERM of a server, not drained": sigterm,
    "kill -9 of a server": kill_server,
    "kill -9 of a worker": kill_worker,
}


@dataclass
class Load:
    """What clients saw. `turns` as the checker of histories takes them."""

    turns: list[Turn] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    over: bool = False


async def under_load(cluster: Cluster, name: str, event: Event, *, seconds: float = SECONDS) -> dict[str, object]:
    """The report of one event: clients ask before, while it happens, and after."""
    await cluster.script(**SCRIPT)
    retries, load, number = await cluster.balancer.retries(), Load(), next(RUNS)
    began = time.monotonic()
    async with session(await cluster.key("clients")) as http, asyncio.TaskGroup() as group:
        for n in range(CLIENTS):
            group.create_task(_client(cluster, http, load, f"r{number}c{n}", f"run{number}-{n}"))
        await asyncio.sleep(seconds)
        await event(cluster)
        await asyncio.sleep(seconds)
        load.over = True
    problems = violations(load.turns, await histories(cluster, {turn.thread for turn in load.turns}), [])
    waits = sorted(load.waits_s)
    return {
        "name": name,
        "seconds": round(time.monotonic() - began, 1),
        "requests": len(load.turns),
        "failures": len(load.turns) - load.outcomes["200"],
        "outcomes": dict(load.outcomes),
        "turns_lost": sum("is not on" in each for each in problems),
        "turns_doubled": sum("times" in each for each in problems),
        "violations": problems,
        "sent_again_by_haproxy": await cluster.balancer.retries() - retries,
        "p50_s": round(waits[len(waits) // 2], 2),
        "p95_s": round(waits[int(len(waits) * 0.95)], 2),
        "longest_s": round(waits[-1], 2),
    }


async def _client(cluster: Cluster, http: aiohttp.ClientSession, load: Load, name: str, thread: str) -> None:
    for number in itertools.count(1):
        if load.over:
            return
        key, began = f"{name}-{number}", time.monotonic()
        body = {"query": f"What is turn {key}?", "thread_id": thread}
        outcome, answer = await ask(http, cluster.url, body, key=key)
        load.waits_s.append(time.monotonic() - began)
        load.outcomes[outcome] += 1
        told = str(answer.get("answer", ""))
        load.turns.append(Turn(name, number, thread, "simple", "acked" if outcome == "200" else "lost", told))


async def histories(cluster: Cluster, threads: set[str]) -> dict[str, list[Message]]:
    """Each thread as every server tells it; RuntimeError when they differ."""
    found: dict[str, list[Message]] = {}
    async with session(await cluster.key("clients")) as http:
        for thread in sorted(threads):
            told = [await _history(http, replica.url, thread) for replica in cluster.replicas]
            if any(each != told[0] for each in told):
                raise RuntimeError(f"the servers tell thread {thread} differently")
            found[thread] = told[0]
    return found


async def _history(http: aiohttp.ClientSession, url: str, thread: str) -> list[Message]:
    async with http.get(f"{url}/threads/{thread}") as response:
        response.raise_for_status()
        messages = (await response.json())["messages"]
    kinds = {"user": "human", "assistant": "ai"}
    return [(kinds.get(each["role"], each["role"]), each["id"], each["content"]) for each in messages]


# --- one after the other


async def a_conversation_hops(cluster: Cluster) -> dict[str, object]:
    """Twelve turns, each at the next server; whichever tells the thread has them all, in order."""
    await cluster.script(**{**SCRIPT, "first_token_s": 0.0})
    thread, keys = f"hop-{uuid.uuid4()}", [f"hop-{n}" for n in range(12)]
    async with session(await cluster.key("clients")) as http:
        for n, key in enumerate(keys):
            url = cluster.replicas[n % len(cluster.replicas)].url
            outcome, _ = await ask(http, url, {"query": f"What is turn {key}?", "thread_id": thread}, key=key)
            if outcome != "200":
                raise RuntimeError(f"{key}: {outcome}")
    history = (await histories(cluster, {thread}))[thread]
    in_order = [id_ for kind, id_, _ in history if kind == "human"] == keys
    return {"name": "a conversation hops", "turns": len(keys), "messages": len(history), "in_order": in_order}


async def one_cache(cluster: Cluster) -> dict[str, object]:
    """A question is asked at one server, then at the others."""
    body = {"query": f"How is the store configured? ({uuid.uuid4()})"}
    async with session(await cluster.key("clients")) as http:
        told = [(await ask(http, replica.url, body))[1].get("cached") for replica in cluster.replicas]
    return {"name": "one cache", "cached": told}


async def one_set_of_limits(cluster: Cluster) -> dict[str, object]:
    """A user whose bucket holds BURST and gets one a minute asks ASKED times at once, at all servers."""
    await cluster.script(**{**SCRIPT, "first_token_s": 0.0})
    key = await cluster.key(f"limited-{uuid.uuid4()}", burst_size=BURST, requests_per_minute=1)
    began = time.monotonic()
    async with session(key) as http:
        asked = [
            ask(http, cluster.replicas[n % len(cluster.replicas)].url, {"query": f"What is turn limit-{n}?"})
            for n in range(ASKED)
        ]
        outcomes = Counter(outcome for outcome, _ in await asyncio.gather(*asked))
    most = BURST + int((time.monotonic() - began) / 60)
    return {"name": "one set of limits", "asked": ASKED, "limit": [BURST, most], "outcomes": dict(outcomes)}


async def a_stream_goes_on_elsewhere(cluster: Cluster) -> dict[str, object]:
    """A reader leaves in the middle and comes back at another server; then the server itself dies in the middle."""
    words = " ".join(f"word{n}" for n in range(60))
    await cluster.script(steps=[{"content": f"{words} [1]"}], between_tokens_s=0.05)
    async with session(await cluster.key("clients")) as http:
        asked: dict[str, Any] = {
            "query": "How is the cache configured?",
            "use_cache": False,
            "thread_id": f"s-{uuid.uuid4()}",
        }
        served_by, seen = await _begin(http, cluster, asked, run := str(uuid.uuid4()))
        other = next(each for each in cluster.replicas if each.name != served_by)
        seen += [each async for each in _events(http, f"{other.url}/runs/{run}/events", after=seen[-1][0])]
        whole = [number for number, _ in seen] == list(range(1, len(seen) + 1)) and seen[-1][1] == "done"

        asked["thread_id"] = f"s-{uuid.uuid4()}"
        served_by, seen = await _begin(http, cluster, asked, run := str(uuid.uuid4()))
        cluster.of(served_by).kill()
        began = time.monotonic()
        end = [each async for each in _events(http, f"{cluster.url}/runs/{run}/events", after=seen[-1][0])][-1]
        outcome, _ = await ask(http, cluster.url, asked, key=run)
        seconds = time.monotonic() - began
    await come_back(cluster, served_by)
    history = (await histories(cluster, {asked["thread_id"]}))[asked["thread_id"]]
    return {
        "name": "a stream goes on elsewhere",
        "resumed_whole": whole,
        "when_its_server_died": end[1],
        "asked_again": outcome,
        "seconds": round(seconds, 1),
        "messages": len(history),
    }


async def a_question_without_a_key(cluster: Cluster) -> dict[str, object]:
    """Its server dies in the middle: it may have been stored, so it is not sent again. Beside it one with a key."""
    await cluster.script(**{**SCRIPT, "first_token_s": 3.0})
    first, *others = cluster.replicas
    for other in others:
        await cluster.balancer.drain(other.name)
    async with session(await cluster.key("clients")) as http, asyncio.timeout(GIVE_UP_S):
        body = {"query": "What is turn a-1?", "use_cache": False}
        without = asyncio.create_task(ask(http, cluster.url, body))
        keyed = asyncio.create_task(ask(http, cluster.url, {**body, "thread_id": "keyed"}, key="keyed"))
        while await cluster.balancer.in_flight(first.name) < 2:
            await asyncio.sleep(0.02)
        for other in others:
            await cluster.balancer.take_back(other.name)
        await asyncio.sleep(1)  # by now the server has read both
        first.kill()
        outcome, told = await without
        found = {"without": outcome, "code": told.get("code"), "with": (await keyed)[0]}
    await come_back(cluster, first.name)
    return {"name": "a question without a key is not sent again", **found}


async def _begin(
    http: aiohttp.ClientSession, cluster: Cluster, body: Mapping[str, Any], run: str
) -> tuple[str, list[tuple[int, str]]]:
    """The server that answers, and the first events; then the reader is gone."""
    headers = {"X-Request-ID": run, "Idempotency-Key": run}
    async with http.post(f"{cluster.url}/query/stream", json=body, headers=headers) as response:
        response.raise_for_status()
        seen = []
        async for event in _read(response):
            seen.append(event)
            if len(seen) == 8:
                break
        served_by = response.headers["X-Served-By"]
        response.close()
    await asyncio.sleep(0.3)  # a client needs as long to find out; the log of the run has what was read
    return served_by, seen


async def _events(http: aiohttp.ClientSession, url: str, *, after: int) -> AsyncIterator[tuple[int, str]]:
    async with http.get(url, headers={"Last-Event-ID": str(after)}) as response:
        response.raise_for_status()
        async for event in _read(response):
            yield event


async def _read(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, str]]:
    """(id, name) of each event; of an error its code."""
    number, name = 0, ""
    async for line in response.content:
        key, _, value = line.decode().rstrip("\r\n").partition(": ")
        match key:
            case "id":
                number = int(value)
            case "event":
                name = value
            case "data":
                yield number, json.loads(value)["code"] if name == "error" else name


CHECKS = (a_conversation_hops, one_cache, one_set_of_limits, a_stream_goes_on_elsewhere, a_question_without_a_key)


@asynccontextmanager
async def session(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers={"X-API-Key": key}
    ) as http:
        yield http


async def ask(
    http: aiohttp.ClientSession, url: str, body: Mapping[str, Any], *, key: str | None = None
) -> tuple[str, dict[str, Any]]:
    """(status or kind of failure, the body)"""
    headers = {} if key is None else {"Idempotency-Key": key}
    try:
        async with http.post(f"{url}/query", json=body, headers=headers) as response:
            return str(response.status), await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return type(error).__name__, {}
