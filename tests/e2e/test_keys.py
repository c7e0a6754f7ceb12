"""Keys on a real server: made, used, capped, revoked and rotated from the command line."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Server, StartServer
from tests.e2e.test_serve import ragents

CACHE_S = 0.5
QUESTION = {"query": "Where does adaptive batching sit and why?"}


@pytest.fixture(scope="module")
def keyed(start_server: StartServer) -> Server:
    return start_server("keys", RAGENTS_AUTH__CACHE_S=str(CACHE_S))


@pytest.fixture(scope="module")
def keys(keyed: Server) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str) -> dict[str, Any]:
        done = ragents(keyed.home, "keys", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def wait_for(server: Server, status: int, key: str | None = None) -> httpx.Response:
    """The answer once it has this status: within the time that keys are cached, and a little."""
    deadline = time.monotonic() + CACHE_S + 10
    while True:
        headers = {} if key is None else {"X-API-Key": key}
        response = httpx.get(f"{server.url}/agents", headers=headers)
        if response.status_code == status or time.monotonic() > deadline:
            assert response.status_code == status, response.text
            return response
        time.sleep(0.05)


def test_from_the_first_key_to_its_end(keyed: Server, keys: Callable[..., dict[str, Any]]) -> None:
    assert httpx.get(f"{keyed.url}/agents").status_code == 200  # without keys this machine may
    made = keys(
        "create",
        "--user",
        "ann",
        "--tenant",
        "acme",
        "--burst-size",
        "2",
        "--requests-per-minute",
        "1",
        "--max-priority",
        "low",
    )
    assert (made["state"], made["limits"]) == ("active", {"burst_size": 2, "requests_per_minute": 1})
    assert made["key"].startswith(made["prefix"])
    key = made["key"]

    refused = wait_for(keyed, 401)
    assert refused.json()["code"] == "authentication_required"
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert httpx.get(f"{keyed.url}/livez").status_code == 200
    wait_for(keyed, 200, key)
    assert httpx.get(f"{keyed.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    # Its limits, over the question that the tenant has no documents for.
    asked = [httpx.post(f"{keyed.url}/query", json=QUESTION, headers={"X-API-Key": key}) for _ in range(3)]
    assert [each.status_code for each in asked] == [404, 404, 429]
    assert 1 <= int(asked[2].headers["retry-after"]) <= 60
    assert '"minute";q=1;w=60' in asked[2].headers["ratelimit-policy"]

    listed = keys("list", "--tenant", "acme")["keys"]
    assert [each["id"] for each in listed] == [made["id"]]
    assert key not in json.dumps(listed)
    assert keys("list")["keys"] == []

    rotated = keys("rotate", key, "--grace", "0s")
    wait_for(keyed, 401, key)
    wait_for(keyed, 200, rotated["key"])
    assert keys("revoke", rotated["id"])["state"] == "revoked"
    wait_for(keyed, 401, rotated["key"])
    wait_for(keyed, 401)  # and this machine stays locked: the keys are gone, not the wish for them


def test_an_admin_s_key_opens_what_a_user_s_does_not_and_leaves_a_trace(
    keyed: Server, keys: Callable[..., dict[str, Any]]
) -> None:
    admin = keys("create", "--user", "root", "--role", "admin")["key"]
    user = keys("create", "--user", "ann")["key"]
    answers = {
        name: httpx.post(f"{keyed.url}/cache/clear", json={}, headers={"X-API-Key": key})
        for name, key in (("admin", admin), ("user", user))
    }
    assert (answers["admin"].status_code, answers["user"].status_code) == (200, 403)
    (line,) = [line for line in keyed.log.read_text().splitlines() if '"cache.clear"' in line]
    assert '"actor": "root"' in line
    assert admin not in keyed.log.read_text()


def test_the_bootstrap_key_makes_an_admin_and_locks_the_door(start_server: StartServer) -> None:
    key = "a-key-of-ones-own-choice"
    server = start_server("bootstrap", RAGENTS_AUTH__BOOTSTRAP_KEY=key)
    assert httpx.get(f"{server.url}/agents").status_code == 401
    assert httpx.post(f"{server.url}/cache/clear", json={}, headers={"X-API-Key": key}).status_code == 200
    assert key not in server.log.read_text()
