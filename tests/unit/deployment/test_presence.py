"""How many processes share a Redis, and what each gives when it goes away."""

import asyncio
import multiprocessing
import uuid
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from ragents.deployment.rate_limiting import RateLimitConfig, RateLimiter, presence
from ragents.deployment.rate_limiting.memory import MemoryRateLimits
from ragents.deployment.rate_limiting.presence import PRESENT, Presence
from ragents.deployment.rate_limiting.redis import Server, open_server
from ragents.deployment.rate_limiting.types import Demand, Limits
from tests.conformance.test_rate_limiter import Clock, OnClock
from tests.redis_server import RedisServer

TIMEOUT_S = 5.0
BURST = 10


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def server(own_redis: RedisServer) -> AsyncIterator[Server]:
    async with open_server(config(own_redis.url)) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


def config(url: str) -> RateLimitConfig:
    settings = {"redis_url": url, "burst_size": BURST, "requests_per_minute": 1, "requests_per_hour": 60}
    return RateLimitConfig.model_validate(settings | {"redis_timeout_s": TIMEOUT_S, "retry_s": 60})


def on(server: Server, clock: Clock, at_least: int = 1) -> Presence:
    return Presence(server, at_least=at_least, gone_after_s=15, script=OnClock(PRESENT, clock))


async def rounds(*every: Presence, clock: Clock, count: int = 1) -> list[int]:
    """All of them speak, five seconds later; what each has learnt in the last round."""
    found: list[int] = []
    for _ in range(count):
        clock.advance(5)
        found = [await each.say(timeout_s=TIMEOUT_S) for each in every]
    return found


async def test_each_learns_of_the_others_with_its_next_word(server: Server, clock: Clock) -> None:
    every = [on(server, clock) for _ in range(3)]
    assert await rounds(*every, clock=clock) == [1, 2, 3]
    assert await rounds(*every, clock=clock) == [3, 3, 3]


async def test_never_fewer_than_was_configured(server: Server, clock: Clock) -> None:
    assert await rounds(on(server, clock, at_least=4), clock=clock) == [4]


async def test_one_that_says_nothing_more_is_gone_and_the_others_know(server: Server, clock: Clock) -> None:
    one, two, dead = (on(server, clock) for _ in range(3))
    await rounds(one, two, dead, clock=clock, count=2)
    assert await rounds(one, two, clock=clock, count=2) == [3, 3]
    assert await rounds(one, two, clock=clock, count=3) == [2, 2]


async def test_one_that_leaves_need_not_be_waited_for(server: Server, clock: Clock) -> None:
    one, two = on(server, clock), on(server, clock)
    await rounds(one, two, clock=clock, count=2)
    await two.leave(timeout_s=TIMEOUT_S)
    assert await rounds(one, clock=clock, count=3) == [1]


@pytest.mark.parametrize("jump_s", [120, 86_400, -86_400])
async def test_who_speaks_first_after_an_outage_or_another_time_is_not_alone(
    server: Server, clock: Clock, jump_s: float
) -> None:
    every = [on(server, clock) for _ in range(3)]
    await rounds(*every, clock=clock, count=3)
    clock.advance(jump_s)
    assert await rounds(*every, clock=clock) == [3, 3, 3]
    assert await rounds(*every, clock=clock, count=4) == [3, 3, 3]


async def test_what_is_kept_of_processes_has_a_bound_and_an_end(server: Server) -> None:
    for _ in range(50):
        await Presence(server, at_least=1, gone_after_s=0.001).say(timeout_s=TIMEOUT_S)
        await asyncio.sleep(0.002)
    async with asyncio.timeout(5):
        while await server.command("EXISTS", presence.KEY, timeout_s=TIMEOUT_S):
            await asyncio.sleep(0.01)


async def test_with_another_share_a_bucket_stays_as_full_as_it_was() -> None:
    limits, clock = Limits(burst_size=12, requests_per_minute=60), Clock()
    local = MemoryRateLimits(processes=2, clock=clock)

    async def burst() -> int:
        return sum([(await local.take("user", Demand(), limits.buckets)).allowed for _ in range(20)])

    assert await burst() == 6
    local.processes = 4
    assert await burst() == 0
    clock.advance(4)  # one of sixty a minute, by four
    assert await burst() == 1
    local.processes = 1
    assert await burst() == 0


# Real processes


def _serve(url: str, user: str, pipe: Connection) -> None:
    """A server: answers "seen" and "burst" until it is killed."""

    async def serve() -> None:
        presence.EVERY_S, presence.GONE_AFTER_S = 0.05, 0.5
        async with RateLimiter(config(url)) as limiter:
            while (order := await asyncio.to_thread(pipe.recv)) != "end":
                if order == "seen":
                    pipe.send(limiter.processes)
                else:
                    taken = [(await limiter.check_rate_limit(user))[0] for _ in range(3 * BURST)]
                    pipe.send((sum(taken), limiter.backend))

    asyncio.run(serve())


class Servers:
    def __init__(self, url: str, user: str) -> None:
        self._url, self._user = url, user
        self.running: list[tuple[Any, Connection]] = []

    def start(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(self._url, self._user, there), daemon=True)
            process.start()
            self.running.append((process, here))

    def kill_one(self) -> None:
        process, _ = self.running.pop()
        process.kill()
        process.join()

    def kill_all(self) -> None:
        while self.running:
            self.kill_one()

    async def ask(self, order: str) -> list[Any]:
        def answers() -> list[Any]:
            for _, pipe in self.running:
                pipe.send(order)
            return [pipe.recv() for _, pipe in self.running]

        return await asyncio.to_thread(answers)

    async def know(self, count: int) -> None:
        async with asyncio.timeout(60):
            while await self.ask("seen") != [count] * len(self.running):
                await asyncio.sleep(0.02)


@pytest.fixture
def servers(own_redis: RedisServer) -> Iterator[Servers]:
    opened = Servers(own_redis.url, uuid.uuid4().hex)
    yield opened
    opened.kill_all()


async def test_the_shares_of_all_servers_are_the_limit_after_some_came_and_one_died(
    servers: Servers, own_redis: RedisServer
) -> None:
    """Each was told of one server."""
    servers.start(1)
    await servers.know(1)
    servers.start(2)
    await servers.know(3)
    servers.kill_one()
    await servers.know(2)
    own_redis.stop()
    given = await servers.ask("burst")
    assert given == [(5, "local share: 1/2 of each limit in this process")] * 2


async def test_three_servers_give_no_more_than_the_limit_to_the_request(
    servers: Servers, own_redis: RedisServer
) -> None:
    servers.start(3)
    await servers.know(3)
    own_redis.stop()
    assert [taken for taken, _ in await servers.ask("burst")] == [3, 3, 3]
