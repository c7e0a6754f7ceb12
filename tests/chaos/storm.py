"""The storm: workers, clients and a monkey that kills them, on one store that is killed as well."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.checker import Message, Turn, violations
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WORKERS, CLIENTS, THREADS = 3, 6, 4
GIVE_UP_S = 40.0
SLEEP_S = 7.5
"""Longer than a lease: the thread is taken by somebody else meanwhile."""
READY_S = 60.0
CLIENT_S = 4.0
"""What a client gives one attempt: more than a worker waits for a busy thread. The rest of a freeze is lost time."""


class Worker:
    def __init__(self, backend: str, url: str, effects: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "tests.chaos.worker", str(self.port), backend, url, str(effects)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    async def wait_until_ready(self, http: httpx.AsyncClient) -> None:
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    await http.get(f"{self.url}/threads/none", timeout=5)
                    return
                except httpx.HTTPError:
                    assert self.process.poll() is None, "a worker did not start"
                    await asyncio.sleep(0.1)

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait(10)


@dataclass
class Report:
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    turns: list[Turn] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """seconds from a turn's first failure to its end"""
    spans: list[float] = field(default_factory=list)
    """of the same turns, seconds from the first attempt: with the client's own time-out in it"""
    problems: list[str] = field(default_factory=list)
    histories: dict[str, Sequence[Message]] = field(default_factory=dict, repr=False)
    events: list[tuple[float, str]] = field(default_factory=list, repr=False)
    """(monotonic seconds, what the monkey did)"""
    slowest: list[tuple[float, str]] = field(default_factory=list, repr=False)
    """the attempts of the turn whose recovery took longest"""

    def story(self) -> str:
        """The longest recovery, attempt by attempt, with what the monkey did meanwhile."""
        if not self.slowest:
            return ""
        began, end = self.slowest[0][0], self.slowest[-1][0]
        around = [(at, what) for at, what in self.events if began - 10 <= at <= end]
        return "\n".join(f"{at - began:6.2f} s  {what}" for at, what in sorted(around + self.slowest))

    def __str__(self) -> str:
        ended = Counter(turn.outcome for turn in self.turns)
        faults = ", ".join(f"{n} x {name}" for name, n in sorted(self.faults.items()))
        return (
            f"{self.seconds:.0f} s; {faults}; {ended['acked']} turns acknowledged, {ended['reported']} reported as cut "
            f"off, {self.retries} retries; longest recovery {max(self.waits, default=0):.1f} s "
            f"({max(self.spans, default=0):.1f} s from the first attempt); "
            f"{len(self.problems)} violations"
        )


class Storm:
    """`restart_store` kills the store and brings it back."""

    def __init__(
        self, backend: str, url: str, effects: Path, *, seed: int, restart_store: Callable[[], Awaitable[None]]
    ) -> None:
        self.backend, self.url, self.effects = backend, url, effects
        self.random = random.Random(seed)
        self.restart_store = restart_store
        self.workers: list[Worker] = []
        self.over = False
        self.report = Report(0.0)

    async def run(self, seconds: float) -> Report:
        self.report.seconds = seconds
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(limits=limits) as http:
            self.workers = [self._worker() for _ in range(WORKERS)]
            try:
                await asyncio.gather(*(worker.wait_until_ready(http) for worker in self.workers))
                async with asyncio.TaskGroup() as group:
                    for n in range(CLIENTS):
                        group.create_task(self._client(n, http))
                    group.create_task(self._monkey(seconds, http))
                histories = await self._histories(http)
            finally:
                for worker in self.workers:
                    worker.end()
        done = self.effects.read_text().split() if self.effects.exists() else []
        self.report.problems = violations(self.report.turns, histories, done)
        self.report.histories = histories
        return self.report

    def _worker(self) -> Worker:
        return Worker(self.backend, self.url, self.effects)

    async def _client(self, number: int, http: httpx.AsyncClient) -> None:
        turn = 0
        while not self.over:
            turn += 1
            thread = f"thread-{number % THREADS}"
            agent = self.random.choice(["simple", "react"])
            self.report.turns.append(await self._ask(Turn(f"c{number}", turn, thread, agent, "lost"), http))
            await asyncio.sleep(self.random.uniform(0, 0.1))

    async def _ask(self, turn: Turn, http: httpx.AsyncClient) -> Turn:
        """The same key again, at another worker, until somebody tells how it ended."""
        failed: float | None = None
        began = time.monotonic()
        attempts: list[tuple[float, str]] = []
        until = time.monotonic() + GIVE_UP_S
        body = {"key": turn.key, "thread": turn.thread, "agent": turn.agent}
        worker: Worker | None = None
        while time.monotonic() < until:
            # Not the one that has just failed: a balancer takes what hangs out of its list as well.
            worker = self.random.choice([each for each in self.workers if each is not worker])
            attempts.append((time.monotonic(), f"{turn.key} asks {worker.port}"))
            try:
                response = await http.post(f"{worker.url}/ask", json=body, timeout=CLIENT_S)
                answer = response.json()
            except (httpx.HTTPError, ValueError) as error:
                answer = {"error": type(error).__name__}
            attempts.append((time.monotonic(), f"{worker.port} tells {str(answer)[:100]}"))
            outcome = "acked" if "answer" in answer else "reported" if "cut off" in answer.get("error", "") else None
            if outcome is not None:
                if failed is not None:
                    if time.monotonic() - failed > max(self.report.waits, default=0.0):
                        self.report.slowest = attempts
                    self.report.waits.append(time.monotonic() - failed)
                    self.report.spans.append(time.monotonic() - began)
                told = str(answer.get("answer", ""))
                return Turn(turn.client, turn.number, turn.thread, turn.agent, outcome, told)  # type: ignore[arg-type]
            if answer.get("code") != "thread_busy":  # waiting for another client's turn is no failure
                failed = failed or time.monotonic()
                self.report.retries += 1
            await asyncio.sleep(self.random.uniform(0.05, 0.3))
        return turn

    async def _monkey(self, seconds: float, http: httpx.AsyncClient) -> None:
        until = time.monotonic() + seconds
        faults = [self._kill, self._stop, self._store, self._kill]
        turn = 0
        while time.monotonic() < until or turn < len(set(faults)):  # each kind, however slow the machine is
            await asyncio.sleep(self.random.uniform(0.5, 1.5))
            await faults[turn % len(faults)](http)
            turn += 1
        self.over = True

    async def _kill(self, http: httpx.AsyncClient) -> None:
        self.report.faults["kill -9 of a worker"] += 1
        place = self.random.randrange(WORKERS)
        self._note(f"kill -9 of {self.workers[place].port}")
        self.workers[place].end()
        self.workers[place] = self._worker()
        await self.workers[place].wait_until_ready(http)
        self._note(f"{self.workers[place].port} is ready")

    async def _stop(self, http: httpx.AsyncClient) -> None:
        self.report.faults["SIGSTOP beyond the lease"] += 1
        worker = self.random.choice(self.workers)
        self._note(f"SIGSTOP of {worker.port}")
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(SLEEP_S)
        worker.signal(signal.SIGCONT)
        self._note(f"SIGCONT of {worker.port}")

    async def _store(self, http: httpx.AsyncClient) -> None:
        self.report.faults["kill -9 of the store"] += 1
        self._note("kill -9 of the store")
        await self.restart_store()

    def _note(self, what: str) -> None:
        self.report.events.append((time.monotonic(), what))

    async def _histories(self, http: httpx.AsyncClient) -> dict[str, Sequence[Message]]:
        found: dict[str, Sequence[Message]] = {}
        for n in range(THREADS):
            response = await http.get(f"{self.workers[0].url}/threads/thread-{n}", timeout=20)
            found[f"thread-{n}"] = [tuple(message) for message in response.json()["messages"]]
        return found


def seconds_of_storm() -> float:
    return float(os.environ.get("CHAOS_SECONDS", "20"))
