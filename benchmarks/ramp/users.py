"""The locustfile: users who ask SciFact's questions, some of them often (Zipf), by the stages of a plan.

It runs in an environment of its own that has locust and nothing of the project. RAMP_PLAN names the plan, a JSON file
that benchmarks.ramp writes. What each stage saw goes to the plan's `seen`; the name of the running stage to `stage`.
"""

import itertools
import json
import os
import random
import time
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, LoadTestShape, events, task

PLAN = json.loads(Path(os.environ["RAMP_PLAN"]).read_text())
STAGES = PLAN["stages"]
QUESTIONS = PLAN["questions"]
WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(QUESTIONS) + 1)))
LONGEST_PAUSE_S = 30.0
NUMBERS = itertools.count()
STOPPED_A_SECOND = 1000

stage = STAGES[0]
latencies_ms: dict[str, list[float]] = defaultdict(list)
outcomes: dict[str, Counter[str]] = defaultdict(Counter)


class Ramp(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        global stage  # noqa: PLW0603  # of the process: users note what they see under it
        left = self.get_run_time()
        for each in STAGES:
            if left < each["seconds"]:
                if each is not stage:
                    stage = each
                    _tell(stage["name"])
                return each["users"], max(1, each["users"] / 5) if growing(each) else STOPPED_A_SECOND
            left -= each["seconds"]
        return None


def growing(each: dict[str, Any]) -> bool:
    before = STAGES[STAGES.index(each) - 1] if each is not STAGES[0] else {"users": 0}
    return bool(each["users"] > before["users"])


def _tell(name: str) -> None:
    """At once: it is read while it is written."""
    file = Path(PLAN["stage"])
    file.with_suffix(".new").write_text(name)
    file.with_suffix(".new").replace(file)


class Reader(FastHttpUser):
    """Reads what came for a while, then asks the next question; told to wait (429), it waits and asks again."""

    connection_timeout = 30.0
    network_timeout = 120.0

    def on_start(self) -> None:
        number = next(NUMBERS)
        self.random = random.Random(number)
        # One of fifty sends a key with the limits that a key has by default.
        self.key = PLAN["keys"]["limited" if number % 50 == 49 else "clients"]

    def wait_time(self) -> float:
        return 0.0 if stage["users"] == 1 else self.random.uniform(0.5, 1.5) * float(PLAN["think_s"])

    @task
    def ask(self) -> None:
        question = self.random.choices(QUESTIONS, cum_weights=WEIGHTS)[0]
        name, body = str(uuid.uuid4()), {"query": question, "thread_id": str(uuid.uuid4())}
        while (pause := self._asked(body, name)) > 0:
            gevent.sleep(pause)

    def _asked(self, body: dict[str, str], name: str) -> float:
        """Seconds to wait before it is asked again; 0 when it need not be."""
        headers = {"X-API-Key": self.key, "Idempotency-Key": name}
        during, began = stage["name"], time.perf_counter()
        with self.client.post("/query", json=body, headers=headers, catch_response=True) as response:
            spent_ms = (time.perf_counter() - began) * 1000
            outcome = _outcome(response)
            outcomes[during][outcome] += 1
            if outcome == "200":
                latencies_ms[during].append(spent_ms)
                response.success()
                return 0.0
            if not outcome.startswith("429"):
                response.failure(outcome)
                return 0.0
            response.request_meta["name"] = "/query: told to wait"
            response.success()
            return min(LONGEST_PAUSE_S, float(response.headers.get("Retry-After", 1)))


def _outcome(response: object) -> str:
    """The status, with the code of an error; of no answer what kept it away."""
    status = getattr(response, "status_code", 0)
    if status == 200:
        return "200"
    if not status:
        return type(getattr(response, "error", None)).__name__
    try:
        return f"{status} {json.loads(response.text or '')['code']}"
    except (ValueError, KeyError):
        return str(status)


@events.quitting.add_listener
def write(**_: object) -> None:
    found = {
        each["name"]: {"latencies_ms": latencies_ms[each["name"]], "outcomes": outcomes[each["name"]]}
        for each in STAGES
    }
    Path(PLAN["seen"]).write_text(json.dumps(found))
