"""SharedReads: what callers share, and what they never share."""

import asyncio

import pytest

from ragents.concurrency.shared_reads import SharedReads


class Server:
    """Says which value there was when a read began; answers when it is let."""

    def __init__(self) -> None:
        self.value, self.begun = 0, 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, key: str) -> tuple[str, int]:
        self.begun += 1
        value = self.value
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return key, value


async def begun(server: Server, reads: int) -> None:
    async with asyncio.timeout(5):
        while server.begun < reads:
            await asyncio.sleep(0)


async def test_who_asks_after_a_change_never_gets_a_read_that_began_before_it() -> None:
    server = Server()
    reads = SharedReads(server.read)
    before = asyncio.create_task(reads.get("a"))
    await begun(server, 1)
    server.value = 1  # the change, while the first read is on its way
    after = [asyncio.create_task(reads.get("a")) for _ in range(20)]
    await asyncio.sleep(0)
    server.may_answer.set()
    assert await before == ("a", 0)
    assert await asyncio.gather(*after) == [("a", 1)] * 20
    assert server.begun == 2


async def test_an_error_is_told_to_those_who_shared_it_and_not_to_the_next() -> None:
    server = Server()
    reads = SharedReads(server.read)
    server.error = ConnectionError("gone")
    server.may_answer.set()
    told = await asyncio.gather(*(reads.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [ConnectionError] * 3
    server.error = None
    assert await reads.get("a") == ("a", 0)


async def test_keys_do_not_wait_for_each_other() -> None:
    server = Server()
    reads = SharedReads(server.read)
    both = [asyncio.create_task(reads.get(key)) for key in ("a", "b")]
    await begun(server, 2)
    server.may_answer.set()
    assert await asyncio.gather(*both) == [("a", 0), ("b", 0)]


async def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    server = Server()
    reads = SharedReads(server.read)
    first, second = (asyncio.create_task(reads.get("a")) for _ in range(2))
    await begun(server, 1)
    first.cancel()
    server.may_answer.set()
    assert await second == ("a", 0)
    with pytest.raises(asyncio.CancelledError):
        await first
