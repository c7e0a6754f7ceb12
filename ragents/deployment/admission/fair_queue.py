"""Who is next: by priority, fair between users, and nobody for ever last. No clock and no tasks: times are handed in.

Between users of one priority it goes by what each was given: work (seconds in a place) over weight, by start-time fair
queueing (Goyal, Vin and Cheng 1996). A run is charged with its estimate when it starts and with the rest when it ends.
Who was away is not owed for it: one who comes back stands where the one stands that was served last.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ragents.deployment.rate_limiting.types import Priority

REMEMBERED_USERS = 10_000
AGED_TURN = 4
"""Every so many-th place may go by age."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One who waits since `arrived`, in seconds."""

    user: str
    priority: Priority
    arrived: float
    weight: float = 1.0
    number: int = field(default_factory=lambda: next(_numbers))


class FairQueue:
    """At most `max_entries` wait. Every decision looks at each of them.

    Aging: every AGED_TURN-th place goes to a lower priority than the others, if one of it has waited for `aging_s`
    times the priorities above it (LOW: 3 x `aging_s`); of several such priorities to each in turn.
    """

    def __init__(self, *, aging_s: float, max_entries: int) -> None:
        self._aging_s, self._max_entries = aging_s, max_entries
        self._entries: dict[Waiting, None] = {}
        self._waiting: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._work: dict[str, float] = {}
        """What a user was given, over the weight, since `_level` was 0."""
        self._level = 0.0
        self._turn = 0
        self._aged_turn: dict[int, int] = {}
        """By rank, the last turn that it had by age."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._entries)

    def depth(self) -> dict[Priority, int]:
        counted = Counter(each.priority for each in self._entries)
        return {priority: counted[priority] for priority in Priority}

    def push(self, entry: Waiting) -> Waiting | None:
        """Let `entry` wait. Who must leave for it when the queue is full: itself, or one that stands worse.

        Worse is a lower priority, and within one the newest of the user of whom most are waiting.
        """
        self._join(entry.user)
        self._entries[entry] = None
        self._waiting[entry.user] += 1
        if len(self._entries) <= self._max_entries:
            return None
        last = max(self._entries, key=lambda each: (each.priority.rank, self._waiting[each.user], each.number))
        self.remove(last)
        return last

    def remove(self, entry: Waiting) -> None:
        if entry in self._entries:
            del self._entries[entry]
            self._waiting[entry.user] -= 1

    def pop(self, now: float) -> Waiting | None:
        """The next one; None when nobody waits."""
        if not self._entries:
            return None
        self._turn += 1
        entry = min(self._entries, key=self._standing)
        if self._turn % AGED_TURN == 0:
            entry = self._aged(entry.priority.rank, now) or entry
        self.remove(entry)
        return entry

    def started(self, entry: Waiting, estimate_s: float) -> None:
        """`entry` has its place: its user is charged with the estimate."""
        self._join(entry.user)
        self._level = max(self._level, self._work[entry.user])
        self._work[entry.user] += estimate_s / entry.weight
        self._running[entry.user] += 1

    def settled(self, entry: Waiting, estimate_s: float, work_s: float) -> None:
        """It has ended after `work_s`."""
        self._running[entry.user] -= 1
        self._work[entry.user] += (work_s - estimate_s) / entry.weight

    def ahead(self, user: str, priority: Priority) -> int:
        """How many would have a place before one who came now, about: users of one priority take turns."""
        same: Counter[str] = Counter()
        before = 0
        for each in self._entries:
            before += each.priority.rank < priority.rank
            same[each.user] += each.priority is priority
        mine = same[user]
        return before + sum(min(count, mine if each == user else mine + 1) for each, count in same.items())

    def _standing(self, entry: Waiting) -> tuple[int, float, int]:
        """The smallest is next."""
        return (entry.priority.rank, self._work[entry.user], entry.number)

    def _aged(self, rank: int, now: float) -> Waiting | None:
        """Of the priorities below `rank` that have waited too long, the one that had no turn for longest."""
        aged = [
            each
            for each in self._entries
            if each.priority.rank > rank and now - each.arrived >= each.priority.rank * self._aging_s
        ]
        if not aged:
            return None
        chosen = min({each.priority.rank for each in aged}, key=lambda each: self._aged_turn.get(each, 0))
        self._aged_turn[chosen] = self._turn
        return min((each for each in aged if each.priority.rank == chosen), key=self._standing)

    def _join(self, user: str) -> None:
        """One who neither waits nor runs begins at the level of the others."""
        if len(self._work) >= REMEMBERED_USERS and user not in self._work:
            self._forget()
        if not self._waiting[user] and not self._running[user]:
            self._work[user] = max(self._level, self._work.get(user, 0.0))

    def _forget(self) -> None:
        """Users who are not here: they begin anew."""
        self._waiting, self._running = +self._waiting, +self._running
        self._work = {user: work for user, work in self._work.items() if user in self._waiting or user in self._running}
