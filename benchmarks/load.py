"""Clients that ask one question after the other over HTTP, and what they saw."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TIMEOUT_S = 120.0
LONGEST_PAUSE_S = 5.0


@dataclass
class Seen:
    """`latencies_s` are those of answers with 200, from the request's first byte to the answer's last."""

    seconds: float
    statuses: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        ordered = sorted(self.latencies_s)
        failed = sum(count for status, count in self.statuses.items() if status >= "5")
        return {
            "per_s": round(len(ordered) / self.seconds, 1),
            "p50_ms": round(statistics.median(ordered) * 1000) if ordered else None,
            "p95_ms": round(ordered[int(len(ordered) * 0.95)] * 1000) if ordered else None,
            "answers": len(ordered),
            "refused": self.statuses["429"],
            "failed": failed,
        }


async def ask(
    url: str,
    body: Callable[[int], dict[str, Any]],
    *,
    clients: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Seen:
    """Each client asks until the time is over; one that is refused waits as long as Retry-After says.

    What is under way at the end is neither waited for nor counted.
    """
    seen, numbers = Seen(seconds), iter(range(10**9))
    until = time.perf_counter() + seconds
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=headers
    ) as session:
        tasks = [asyncio.create_task(_client(session, url, body, numbers, until, seen)) for _ in range(clients)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _client(
    session: aiohttp.ClientSession,
    url: str,
    body: Callable[[int], dict[str, Any]],
    numbers: Iterator[int],
    until: float,
    seen: Seen,
) -> None:
    while time.perf_counter() < until:
        began, pause = time.perf_counter(), 0.0
        try:
            async with session.post(url, json=body(next(numbers))) as response:
                await response.read()
                status = str(response.status)
                pause = min(LONGEST_PAUSE_S, float(response.headers.get("Retry-After", 1))) if status == "429" else 0.0
        except (aiohttp.ClientError, TimeoutError):
            status = "no answer"
        ended = time.perf_counter()
        seen.statuses[status] += 1
        if status == "200":
            seen.latencies_s.append(ended - began)
        elif status != "429":
            pause = 0.1
        await asyncio.sleep(pause)
