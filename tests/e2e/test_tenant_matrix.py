"""Every route beside every wrong caller, generated from the route table; and a canary per tenant that must not cross.

A route that this file cannot call yet fails it by name: say in `ids_of` what a parameter names, in `body_of` what it
takes.
`TENANT_CALLS=10000 pytest tests/e2e/test_tenant_matrix.py` makes the random part as long as a release needs.
"""

import json
import os
import random
import re
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragents.deployment.keys import KeyLimits, KeyOwner
from ragents.deployment.rate_limiting import Priority
from tests.e2e.conftest import Server, StartServer
from tests.e2e.test_serve import ragents

CALLS = int(os.environ.get("TENANT_CALLS", "250"))
OPEN = {"/livez", "/readyz", "/metrics"}
ADMIN = {("POST", "/cache/clear")}
WRITES_NOTHING_OF_OTHERS = {"DELETE"}
QUESTION = "What is the secret word of the vault?"
PLENTY = KeyLimits(requests_per_minute=1_000_000, requests_per_hour=2_000_000, burst_size=1_000_000)
Route = tuple[str, str]


def route_table() -> list[Route]:
    """(method, path) of every route that the service has, its own and the mounted."""
    from ragents.deployment.bentoml_service import RAGentsService
    from ragents.deployment.routes import create_routes
    from ragents.deployment.state import State

    found = {("POST", api.route) for api in RAGentsService.apis.values()}
    for route in create_routes(State()).routes:
        found |= {(method, route.path) for method in route.methods - {"HEAD"}}
    found |= {("GET", "/docs.json"), *(("GET", path) for path in OPEN)}
    return sorted(found)


@dataclass
class Tenant:
    name: str
    canary: str
    keys: dict[str, str]
    """user -> key"""
    document: str = ""
    thread: str = ""
    run: str = ""


@dataclass
class House:
    server: Server
    ours: Tenant
    theirs: Tenant
    revoked: str


@pytest.fixture(scope="module")
async def house(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two tenants with a document each that differs in the canary, a user with a thread, and another user."""
    server = start_server("matrix", RAGENTS_AUTH__CACHE_S="1", RAGENTS_SERVING__RESUME_GRACE_S="600")
    tenants = [Tenant(name, f"{name}canary{uuid.uuid4().hex[:12]}", {}) for name in ("acme", "umbra")]
    for tenant in tenants:
        file = tmp_path_factory.mktemp(tenant.name) / "vault.md"
        file.write_text(f"# Vault\n\nThe secret word of the vault is {tenant.canary}.\n")
        done = ragents(server.home, "ingest", str(file), "--tenant", tenant.name)
        assert done.returncode == 0, done.stderr
    revoked = await _make_keys(server.home, tenants)
    for tenant in tenants:
        with client_of(server, tenant.keys["ann"]) as ann:
            answer = ann.post("/query", json={"query": QUESTION}).json()
            assert tenant.canary in answer["answer"], answer
            tenant.thread = answer["thread_id"]
            tenant.document = answer["sources"][0]["document_id"]
            streamed = ann.post("/query/stream", json={"query": QUESTION}, headers={"X-Request-ID": str(uuid.uuid4())})
            tenant.run = streamed.headers["x-request-id"]
            assert tenant.canary in streamed.text
    return House(server, tenants[0], tenants[1], revoked)


async def _make_keys(home: Path, tenants: list[Tenant]) -> str:
    """As `ragents keys` does, without a process for each. A revoked one."""
    from ragents.deployment.keys.postgres import PostgresKeys
    from ragents.embedded import open_postgres
    from tests.conformance.test_keys import connections

    async with open_postgres(home / "postgres") as dsn, connections(dsn) as opened:  # type: ignore[attr-defined]
        keys = PostgresKeys(opened)
        for tenant in tenants:
            for user, role in (("ann", "user"), ("bob", "user"), ("root", "admin")):
                owner = KeyOwner(tenant.name, user, role, "", Priority.CRITICAL, PLENTY)  # type: ignore[arg-type]
                _, tenant.keys[user] = await keys.create(owner, lasts=timedelta(hours=1), actor="test")
        stored, revoked = await keys.create(KeyOwner("acme", "ann"), lasts=None, actor="test")
        await keys.revoke(stored.id, actor="test")
        return revoked


def client_of(server: Server, key: str | None) -> httpx.Client:
    headers = {} if key is None else {"X-API-Key": key}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def ids_of(tenant: Tenant) -> dict[str, str]:
    return {"document_id": tenant.document, "thread_id": tenant.thread, "run_id": tenant.run, "name": "simple"}


PUBLIC = {"name"}
"""Parameters that are nobody's: the name of an agent."""
PERSONAL = {"thread_id", "run_id"}
"""What belongs to a user; a document is its tenant's."""
UNKNOWN = {"document_id": str(uuid.uuid4()), "thread_id": "no-thread", "run_id": "no-run", "name": "no-agent"}


def body_of(path: str, thread: str | None = None) -> dict[str, Any] | None:
    asking = {"query": QUESTION, **({} if thread is None else {"thread_id": thread})}
    bodies: dict[str, dict[str, Any]] = {
        "/query": asking,
        "/query/stream": asking,
        "/query/batch": {"requests": [asking, asking]},
        "/api/v1/query": asking,
        "/cache/clear": {"layer": "retrieval"},
        "/feedback": {"request_id": "some-request", "score": 1},
        "/v1/chat/completions": {
            "model": "simple",
            "messages": [{"role": "user", "content": QUESTION}],
            "ragents": {} if thread is None else {"thread_id": thread},
        },
        "/threads/{thread_id}/resume": {},
    }
    return bodies.get(path)


def call(client: httpx.Client, route: Route, ids: dict[str, str], *, thread: str | None = None) -> httpx.Response:
    method, path = route
    for name in re.findall(r"{(\w+)}", path):
        assert name in ids, f"{method} {path}: tell this test what a {name} is"
        path = path.replace(f"{{{name}}}", ids[name])
    body = body_of(route[1], thread)
    assert method != "POST" or body is not None, f"{method} {path}: tell this test what it takes"
    return client.request(method, path, json=body) if method == "POST" else client.request(method, path)


def told(response: httpx.Response, ids: dict[str, str]) -> tuple[int, str]:
    """Status and error without what is different each time."""
    text = response.text
    for name, value in ids.items():
        text = text.replace(value, f"<{name}>")
    found = json.loads(text)
    found.pop("request_id", None)
    return response.status_code, json.dumps(found, sort_keys=True)


def test_the_table_has_the_routes_that_are_documented() -> None:
    assert {("POST", "/query"), ("GET", "/threads/{thread_id}"), ("POST", "/cache/clear")} <= set(route_table())


@pytest.mark.parametrize("route", route_table(), ids=" ".join)
def test_without_a_key_every_route_is_401_and_a_revoked_one_reads_like_nonsense(house: House, route: Route) -> None:
    ids = ids_of(house.ours)
    with client_of(house.server, None) as nobody:
        response = call(nobody, route, ids)
    if route[1] in OPEN:
        assert response.status_code == 200
        return
    assert response.status_code == 401
    answers = []
    for key in (house.revoked, f"rag_{'0' * 12}_{'A' * 43}", "nonsense"):
        with client_of(house.server, key) as wrong:
            answers.append(told(call(wrong, route, ids), {}))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 401


def parameters(route: Route) -> set[str]:
    return set(re.findall(r"{(\w+)}", route[1])) - PUBLIC


@pytest.mark.parametrize("route", [each for each in route_table() if parameters(each)], ids=" ".join)
def test_another_tenant_s_id_reads_like_an_unknown_one(house: House, route: Route) -> None:
    foreign = ids_of(house.theirs)
    for user in ("ann", "root"):
        with client_of(house.server, house.ours.keys[user]) as client:
            answers = [told(call(client, route, ids), ids) for ids in (foreign, UNKNOWN)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


@pytest.mark.parametrize(
    "route", [each for each in route_table() if parameters(each) and each[0] == "GET"], ids=" ".join
)
def test_one_s_own_id_is_answered(house: House, route: Route) -> None:
    """So that the other answers say something."""
    with client_of(house.server, house.ours.keys["ann"]) as ann:
        response = call(ann, route, ids_of(house.ours))
    assert response.status_code == 200
    assert house.ours.canary in response.text or house.ours.document in response.text


@pytest.mark.parametrize("route", [each for each in route_table() if parameters(each) & PERSONAL], ids=" ".join)
def test_another_user_s_id_reads_like_an_unknown_one(house: House, route: Route) -> None:
    for user in ("bob", "root"):
        with client_of(house.server, house.ours.keys[user]) as client:
            answers = [told(call(client, route, ids), ids) for ids in (ids_of(house.ours), UNKNOWN)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


@pytest.mark.parametrize("route", sorted(ADMIN), ids=" ".join)
def test_an_admin_s_route_is_403_for_a_user(house: House, route: Route) -> None:
    assert route in route_table()
    for user, status in (("ann", 403), ("root", 200)):
        with client_of(house.server, house.ours.keys[user]) as client:
            assert call(client, route, ids_of(house.ours)).status_code == status


def test_a_thread_of_another_tenant_is_a_new_one_of_one_s_own(house: House) -> None:
    """Named in a question: there is nothing that its history could be told from."""
    for path in ("/query", "/query/stream", "/query/batch", "/api/v1/query", "/v1/chat/completions"):
        with client_of(house.server, house.ours.keys["bob"]) as client:
            response = call(client, ("POST", path), {}, thread=house.theirs.thread)
            assert response.status_code == 200
            assert house.ours.canary in response.text
            assert house.theirs.canary not in response.text
    with client_of(house.server, house.theirs.keys["ann"]) as client:
        assert house.ours.canary not in client.get(f"/threads/{house.theirs.thread}").text


def test_no_canary_crosses_in_any_number_of_random_calls(house: House) -> None:
    randomness = random.Random(7)
    routes = [each for each in route_table() if each[1] not in OPEN]
    crossed, statuses = [], set()
    with ExitStack() as stack:
        clients = {
            (tenant.name, user): stack.enter_context(client_of(house.server, key))
            for tenant in (house.ours, house.theirs)
            for user, key in tenant.keys.items()
        }
        for _ in range(CALLS):
            mine, other = randomness.sample([house.ours, house.theirs], 2)
            client = clients[mine.name, randomness.choice(["ann", "bob", "root"])]
            route = randomness.choice(routes)
            owner = other if route[0] in WRITES_NOTHING_OF_OTHERS else randomness.choice([mine, other])
            ids = {name: randomness.choice([value, UNKNOWN[name]]) for name, value in ids_of(owner).items()}
            thread = randomness.choice([None, mine.thread, other.thread, "shared"])
            response = call(client, route, ids, thread=thread)
            statuses.add(response.status_code)
            if other.canary in response.text or other.canary in str(response.headers):
                crossed.append((route, mine.name, ids, response.text[:500]))
            assert response.status_code < 500, response.text
    assert crossed == []
    assert {200, 404} <= statuses


def test_no_canary_and_no_tenant_is_in_metrics_or_logs(house: House) -> None:
    metrics = httpx.get(f"{house.server.url}/metrics").text
    log = house.server.log.read_text()
    for tenant in (house.ours, house.theirs):
        assert tenant.canary not in metrics
        assert tenant.name not in metrics
        assert tenant.canary not in log
        assert not any(key in log for key in tenant.keys.values())
