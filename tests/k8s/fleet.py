"""Pods under a load, scraped by Prometheus and by metrics-server, scaled by tests/k8s/hpa.py. Seconds, simulated."""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.hpa import SYNC_S, Controller, Pod, Sample

STEP_S = 0.5
SYNC_SLACK_S = 0.1
"""The controller queues an object again when it is done with it: the next sync is a little more than 15 s later."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a question costs and what a pod can do. Defaults: docs/performance.md and k8s/deployment.yaml.

    `answer_s` is time in a place, most of it waiting for a model; `cpu_s` is CPU of the pod for one answer.
    """

    answer_s: float = 2.0
    cpu_s: float = 0.014
    places: int = 100
    queue_s: float = 30.0
    cpu_limit: float = 4.0
    memory_idle: float = 1.06e9
    memory_question: float = 0.5e6
    pending_s: float = 5.0
    start_s: float = 15.0
    start_cpu: float = 1.0
    scrape_s: float = 10.0
    resolution_s: float = 15.0
    noise: float = 0.0


@dataclass(slots=True)
class Server:
    """One pod. A fluid: so many questions in it, so many answered per second."""

    name: str
    created_at: float
    traits: Traits
    phase_s: float
    load: float = 0.0
    cpu: float = 0.0
    refused: float = 0.0
    _cpu_seen: deque[float] = field(init=False)
    gauge: Sample | None = None
    usage: dict[str, Sample] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cpu_seen = deque(maxlen=math.ceil(self.traits.resolution_s / STEP_S))

    def age(self, now: float) -> float:
        return now - self.created_at

    def running(self, now: float) -> bool:
        return self.age(now) >= self.traits.pending_s

    def ready_at(self) -> float:
        return self.created_at + self.traits.pending_s + self.traits.start_s

    def ready(self, now: float) -> bool:
        return now >= self.ready_at()

    def step(self, now: float, arrivals: float) -> None:
        """Half a second: admit, answer, refuse what could not have a place in time."""
        traits = self.traits
        if not self.ready(now):
            self.cpu = traits.start_cpu if self.running(now) else 0.0
        else:
            # Exactly what a fluid does whose questions take answer_s, as far as places and CPU let it.
            rest = math.exp(-STEP_S / traits.answer_s)
            settled = arrivals / STEP_S * traits.answer_s
            done = self.load + arrivals - (settled + (self.load - settled) * rest)
            fastest = min(traits.places / traits.answer_s, traits.cpu_limit / traits.cpu_s)
            done = min(done, fastest * STEP_S)
            self.cpu = done / STEP_S * traits.cpu_s
            self.load += arrivals - done
            most = traits.places + traits.queue_s * fastest
            self.refused += max(0.0, self.load - most)
            self.load = min(self.load, most)
        self._cpu_seen.append(self.cpu)

    def observe(self, now: float) -> None:
        """What the two collectors have of this pod after `now`."""
        if not self.running(now):
            return
        traits = self.traits
        if _due(now, traits.scrape_s, self.phase_s) and self.ready(now):  # before, nothing answers /metrics
            self.gauge = Sample(self.load, now)
        if _due(now, traits.resolution_s, self.phase_s):
            memory = traits.memory_idle + self.load * traits.memory_question
            cpu = sum(self._cpu_seen) / len(self._cpu_seen)
            self.usage = {
                "cpu": Sample(cpu, now, traits.resolution_s),
                "memory": Sample(memory, now, traits.resolution_s),
            }

    def as_listed(self, now: float) -> Pod:
        started = self.created_at + self.traits.pending_s
        ready = self.ready(now)
        phase: Any = "Running" if self.running(now) else "Pending"
        return Pod(self.name, phase, ready, started, self.ready_at() if ready else started)


@dataclass(frozen=True, slots=True)
class Run:
    """`replicas` and `ready` at each whole second."""

    replicas: list[int]
    ready: list[int]
    refused: float

    def first(self, pods: int, *, after: int, ready: bool = False) -> int | None:
        """Seconds from `after` until there were `pods`."""
        series = self.ready if ready else self.replicas
        return next((at - after for at in range(after, len(series)) if series[at] >= pods), None)

    def down_to(self, pods: int, *, after: int) -> int | None:
        return next((at - after for at in range(after, len(self.replicas)) if self.replicas[at] <= pods), None)

    @property
    def changes(self) -> list[tuple[int, int]]:
        """(second, pods more or fewer)."""
        pairs = itertools.pairwise(self.replicas)
        return [(at, after - before) for at, (before, after) in enumerate(pairs, 1) if after != before]

    @property
    def turns(self) -> int:
        """How often the direction changed."""
        signs = [change > 0 for _, change in self.changes]
        return sum(before != after for before, after in itertools.pairwise(signs))


def simulate(
    spec: Mapping[str, Any],
    requests: Mapping[str, float],
    load: Callable[[float], float],
    *,
    seconds: int,
    pods: int,
    traits: Traits | None = None,
    metrics: Callable[[dict[str, dict[str, Sample]]], dict[str, dict[str, Sample]]] = lambda found: found,
    seed: int = 1,
) -> Run:
    """`load(t)`: questions that come per second, spread evenly over the pods that are ready.

    `metrics` changes what the controller is shown. The fleet starts with `pods` that have run for long.
    """
    traits = traits or Traits()
    chance = random.Random(seed)
    controller = Controller(spec, requests)
    numbers = iter(range(10**6))
    servers = [Server(f"pod-{next(numbers)}", -1000.0, traits, chance.uniform(0, 15)) for _ in range(pods)]
    for server in servers:
        server.load = load(0) / pods * traits.answer_s
    replicas, ready = [], []
    next_sync, refused, noise = chance.uniform(0, SYNC_S), 0.0, 0.0
    for tick in range(int(seconds / STEP_S)):
        now = tick * STEP_S
        noise = 0.9 * noise + 0.1 * chance.gauss(0, 1) * traits.noise / 0.23  # 0.23: makes the deviation `traits.noise`
        serving = sum(server.ready(now) for server in servers)
        share = load(now) * max(0.0, 1 + noise) * STEP_S / serving
        for server in servers:
            server.step(now, share if server.ready(now) else 0.0)
            server.observe(now)
        if now >= next_sync:
            listed = [server.as_listed(now) for server in servers]
            wanted = controller.sync(now, len(servers), listed, metrics(_seen(servers)))
            next_sync += SYNC_S + SYNC_SLACK_S
            while len(servers) < wanted:
                servers.append(Server(f"pod-{next(numbers)}", now, traits, chance.uniform(0, 15)))
            for server in servers[wanted:]:
                refused += server.refused
            del servers[wanted:]
        if now == int(now):
            replicas.append(len(servers))
            ready.append(sum(server.ready(now) for server in servers))
    return Run(replicas, ready, refused + sum(server.refused for server in servers))


def _seen(servers: list[Server]) -> dict[str, dict[str, Sample]]:
    found: dict[str, dict[str, Sample]] = {"rag_in_flight_and_queued": {}, "cpu": {}, "memory": {}}
    for server in servers:
        if server.gauge is not None:
            found["rag_in_flight_and_queued"][server.name] = server.gauge
        for name, sample in server.usage.items():
            found[name][server.name] = sample
    return found


def _due(now: float, every_s: float, phase_s: float) -> bool:
    return (now - phase_s) % every_s < STEP_S
