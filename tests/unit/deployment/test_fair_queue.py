"""Who is next, in simulated time: places, users who flood, and users who wait."""

import heapq
import itertools
import random
import statistics
from collections import defaultdict
from collections.abc import Callable

import pytest

from ragents.deployment.admission import FairQueue, Waiting, fair_queue
from ragents.deployment.rate_limiting import Priority

AGING_S = 5.0


class Simulation:
    """Places that serve a FairQueue; events by time. `run_s` gives the length of each run."""

    def __init__(self, places: int, run_s: Callable[[], float], *, max_entries: int = 200) -> None:
        self.queue = FairQueue(aging_s=AGING_S, max_entries=max_entries)
        self.now, self._places, self._run_s = 0.0, places, run_s
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.done: dict[str, list[float]] = defaultdict(list)
        """by user: seconds from arrival to the end"""
        self.waits: dict[str, list[float]] = defaultdict(list)
        self.refused: dict[str, int] = defaultdict(int)

    def at(self, time: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), what))

    def ask(self, user: str, priority: Priority = Priority.NORMAL, *, weight: float = 1.0) -> None:
        entry = Waiting(user, priority, self.now, weight)
        if self._places:
            self._places -= 1
            self._start(entry)
        elif (out := self.queue.push(entry)) is not None:
            self.refused[out.user] += 1

    def every(self, seconds: float, user: str, priority: Priority = Priority.NORMAL, *, until: float) -> None:
        for n in range(int(until / seconds)):
            self.at(n * seconds, lambda: self.ask(user, priority))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def _start(self, entry: Waiting) -> None:
        self.queue.started(entry, 1.0)
        self.waits[entry.user].append(self.now - entry.arrived)
        run_s = self._run_s()

        def end() -> None:
            self.queue.settled(entry, 1.0, run_s)
            self.done[entry.user].append(self.now - entry.arrived)
            following = self.queue.pop(self.now)
            if following is None:
                self._places += 1
            else:
                self._start(following)

        self.at(self.now + run_s, end)


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def random_runs(seed: int) -> Callable[[], float]:
    randomness = random.Random(seed)
    return lambda: randomness.uniform(0.5, 1.5)


@pytest.mark.parametrize("places", [2, 20])
def test_a_light_user_beside_a_flood_is_at_most_twice_as_slow_as_alone(places: int) -> None:
    found = []
    for flooded in (False, True):
        simulation = Simulation(places, random_runs(1))
        if flooded:  # four times what the places can do
            simulation.every(0.25 / places, "heavy", until=100)
        simulation.every(2.0, "light", until=100)
        simulation.run(200)
        assert not simulation.refused["light"]
        found.append(p95(simulation.done["light"]))
    assert found[1] <= 2 * found[0]
    assert simulation.refused["heavy"] > 100


def test_ten_light_users_beside_a_flood_are_at_most_twice_as_slow_as_alone() -> None:
    found = []
    for flooded in (False, True):
        simulation = Simulation(20, random_runs(2))
        if flooded:
            simulation.every(0.0125, "heavy", until=60)
        for n in range(10):
            simulation.every(3.0 + n / 10, f"light {n}", until=60)
        simulation.run(100)
        found.append(p95([each for n in range(10) for each in simulation.done[f"light {n}"]]))
    assert found[1] <= 2 * found[0]


def test_low_is_served_within_its_bound_under_a_critical_flood_of_many_users() -> None:
    simulation = Simulation(5, random_runs(4), max_entries=1000)
    for n in range(450):
        simulation.at(n * 0.1, lambda n=n: simulation.ask(f"critical {n}", Priority.CRITICAL))
        simulation.at(n * 0.1, lambda n=n: simulation.ask(f"high {n}", Priority.HIGH))
    for n in range(10):
        simulation.at(n * 2.0 + 1, lambda n=n: simulation.ask(f"low {n}", Priority.LOW))
    simulation.run(45)
    waits = [wait for n in range(10) for wait in simulation.waits[f"low {n}"]]
    assert len(waits) == 10
    # By age go one and a quarter a second, by turns HIGH and LOW; and one LOW comes every two seconds.
    assert max(waits) <= 3 * AGING_S + 5
    assert min(waits) >= 3 * AGING_S  # and it does not pass the others before it has aged


def test_a_flood_of_low_questions_that_have_aged_takes_a_quarter_of_the_places_at_most() -> None:
    simulation = Simulation(8, random_runs(5), max_entries=10_000)
    for n in range(400):
        simulation.at(n * 0.1, lambda n=n: simulation.ask(f"low {n}", Priority.LOW))
        simulation.at(n * 0.1, lambda n=n: simulation.ask(f"critical {n}", Priority.CRITICAL))
    simulation.run(40)
    done = {kind: sum(len(v) for user, v in simulation.done.items() if user.startswith(kind)) for kind in ("low", "cr")}
    assert 0 < done["low"] <= 0.27 * sum(done.values())


def test_a_user_s_own_critical_flood_does_not_starve_the_user_s_low_question() -> None:
    simulation = Simulation(2, random_runs(5), max_entries=10_000)
    simulation.every(0.05, "one", Priority.CRITICAL, until=60)
    low = Waiting("one", Priority.LOW, 1.0)
    simulation.at(1.0, lambda: simulation.queue.push(low))  # type: ignore[arg-type,return-value]
    simulation.run(1.0 + 3 * AGING_S + 30)
    assert low not in list(simulation.queue)


def test_users_share_by_weight() -> None:
    simulation = Simulation(10, random_runs(6))
    for n in range(600):
        simulation.at(n * 0.1, lambda: simulation.ask("double", weight=2.0))
        simulation.at(n * 0.1, lambda: simulation.ask("single"))
    simulation.run(60)
    assert len(simulation.done["double"]) / len(simulation.done["single"]) == pytest.approx(2, rel=0.1)


def test_long_runs_count_for_what_they_took() -> None:
    """Shares are in seconds of a place, not in questions."""
    lengths = {"long": 4.0, "short": 1.0}
    queue = FairQueue(aging_s=1e9, max_entries=1000)
    given: dict[str, float] = defaultdict(float)
    for n in range(200):
        for user in lengths:
            queue.push(Waiting(user, Priority.NORMAL, n))
    for _ in range(100):
        entry = queue.pop(0)
        assert entry is not None
        queue.started(entry, 1.0)
        queue.settled(entry, 1.0, lengths[entry.user])
        given[entry.user] += lengths[entry.user]
    assert given["long"] == pytest.approx(given["short"], abs=4)


def test_who_was_away_is_not_owed_for_it() -> None:
    queue = FairQueue(aging_s=1e9, max_entries=1000)
    for n in range(50):
        entry = Waiting("present", Priority.NORMAL, n)
        queue.started(entry, 1.0)
        queue.settled(entry, 1.0, 1.0)
    for n in range(20):
        queue.push(Waiting("present", Priority.NORMAL, n))
        queue.push(Waiting("new", Priority.NORMAL, n))
    served = []
    for _ in range(10):
        entry = queue.pop(0)  # type: ignore[assignment]
        queue.started(entry, 1.0)
        queue.settled(entry, 1.0, 1.0)
        served.append(entry.user)
    assert 4 <= served.count("new") <= 6


def test_a_full_queue_lets_the_newest_of_the_greediest_go() -> None:
    queue = FairQueue(aging_s=5, max_entries=3)
    greedy = [Waiting("greedy", Priority.NORMAL, 0) for _ in range(3)]
    assert [queue.push(each) for each in greedy] == [None] * 3
    assert queue.push(Waiting("modest", Priority.NORMAL, 0)) is greedy[2]
    one_more = Waiting("greedy", Priority.NORMAL, 0)
    assert queue.push(one_more) is one_more


def test_a_full_queue_lets_the_lowest_priority_go_first() -> None:
    queue = FairQueue(aging_s=5, max_entries=2)
    low = Waiting("modest", Priority.LOW, 0)
    queue.push(low)
    queue.push(Waiting("greedy", Priority.HIGH, 0))
    assert queue.push(Waiting("greedy", Priority.HIGH, 0)) is low


def test_the_estimate_counts_turns_and_not_a_flood() -> None:
    queue = FairQueue(aging_s=5, max_entries=200)
    for _ in range(100):
        queue.push(Waiting("heavy", Priority.NORMAL, 0))
    assert queue.ahead("light", Priority.NORMAL) == 1
    assert queue.ahead("heavy", Priority.NORMAL) == 100
    assert queue.ahead("light", Priority.LOW) == 100
    assert queue.ahead("light", Priority.HIGH) == 0


def test_users_who_are_gone_are_forgotten() -> None:
    queue = FairQueue(aging_s=5, max_entries=10)
    for n in range(25_000):
        entry = Waiting(f"user {n}", Priority.NORMAL, n)
        queue.started(entry, 1.0)
        queue.settled(entry, 1.0, 0.5)
    assert len(queue._work) <= 10_001


def test_users_who_are_refused_one_after_another_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No place becomes free meanwhile: all of them only come and go."""
    monkeypatch.setattr(fair_queue, "REMEMBERED_USERS", 50)
    queue = FairQueue(aging_s=5, max_entries=3)
    stays = [Waiting(f"first {n}", Priority.CRITICAL, 0) for n in range(3)]
    for each in stays:
        queue.push(each)
    for n in range(1_000):
        entry = Waiting(f"user {n}", Priority.NORMAL, 0)
        assert queue.push(entry) is entry
        assert len(queue._work) <= 51
        assert len(queue._waiting) <= 51
    assert [queue.pop(0) for _ in range(3)] == stays
