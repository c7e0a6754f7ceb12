"""Two users with keys on one server that is full: who comes after the flood of the other is answered all the same."""

from collections.abc import Iterator, Mapping

import pytest

from benchmarks.fairness import FIRST_TOKEN_S, HEAVY_CLIENTS, PLACES, SETTINGS, Asker, make_key, p95, together
from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script
from tests.e2e.conftest import Server, StartServer, environment

AGING_S = 0.7
BUSY_S = 1.5
"""What other work on the machine may add to a wait."""


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with open_mock_llm(Script(first_token_s=FIRST_TOKEN_S)) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(start_server: StartServer, mock: MockLLM) -> Server:
    settings = SETTINGS | {"RAGENTS_LLM__BASE_URL": mock.url, "RAGENTS_SERVING__AGING_S": str(AGING_S)}
    return start_server("fairness", **settings)


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[str, Mapping[str, str]]:
    return {user: make_key(user, environment(server.home)) for user in ("light", "heavy")}


async def test_a_light_user_waits_no_longer_than_twice_as_long_beside_a_flood(
    server: Server, keys: dict[str, Mapping[str, str]]
) -> None:
    light, heavy = (Asker(f"{server.url}/query", keys[user]) for user in ("light", "heavy"))
    await heavy.ask(clients=PLACES, seconds=1)
    alone = (await light.ask(clients=1, seconds=6)).latencies_s
    beside, flood = await together(light, heavy, 6)
    assert p95(beside) <= 2 * p95(alone) + BUSY_S / 2
    in_line_s = HEAVY_CLIENTS / PLACES * FIRST_TOKEN_S
    assert p95(flood.latencies_s) >= in_line_s, "there was a line to wait in"
    assert p95(beside) < min(in_line_s, p95(flood.latencies_s) / 2)
    assert set(flood.statuses) <= {"200", "429"}


async def test_low_questions_are_answered_within_their_bound_under_a_critical_flood(
    server: Server, keys: dict[str, Mapping[str, str]]
) -> None:
    low = Asker(f"{server.url}/query", keys["light"], "LOW")
    critical = Asker(f"{server.url}/query", keys["heavy"], "CRITICAL")
    waits, flood = await together(low, critical, 12)
    assert len(waits) >= 2
    # Once they have aged every fourth place is theirs; then they take as long as any answer.
    assert max(waits) <= 3 * AGING_S + 5 * FIRST_TOKEN_S + BUSY_S
    assert min(waits) >= 3 * AGING_S, "and they passed nobody before"
    assert set(flood.statuses) <= {"200", "429"}
