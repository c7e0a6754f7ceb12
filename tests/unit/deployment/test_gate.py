"""Who is let in, by key and without keys."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ragents.deployment.keys import AuthConfig, Gate, KeyOwner, MemoryKeys, StoredKey
from ragents.deployment.rate_limiting import Limits, Priority
from ragents.errors import AuthenticationRequired, PermissionDenied, StoreUnavailable
from ragents.principal import ANONYMOUS, Principal

BOOTSTRAP = "a-key-of-ones-own-choice"
OWNER = KeyOwner("acme", "ann")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class CountingKeys(MemoryKeys):
    """Counts look-ups, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up, self.down = 0, False

    async def any(self) -> bool:
        if self.down:
            raise StoreUnavailable("gone")
        return await super().any()

    async def find(self, key_id: str) -> StoredKey | None:
        self.looked_up += 1
        if self.down:
            raise StoreUnavailable("gone")
        return await super().find(key_id)


@pytest.fixture
def keys() -> CountingKeys:
    return CountingKeys()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(keys: CountingKeys, clock: Clock) -> Gate:
    return Gate(keys, AuthConfig(cache_s=5), limits=Limits(), clock=clock)


def scope(*, client: str = "192.0.2.7", path: str = "/query", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "path": path, "client": (client, 1), "headers": [(b"host", b"localhost"), *raw]}


async def create(keys: MemoryKeys, owner: KeyOwner = OWNER, lasts: timedelta | None = None) -> tuple[StoredKey, str]:
    return await keys.create(owner, lasts=lasts, actor="test")


async def test_without_keys_only_this_machine_is_let_in_and_what_it_sends_is_ignored(gate: Gate) -> None:
    assert (await gate.admit(scope(client="127.0.0.1", x_api_key="anything"))).principal.role == "admin"
    with pytest.raises(PermissionDenied, match="own machine"):
        await gate.admit(scope(x_api_key="anything"))


async def test_once_there_is_a_key_this_machine_needs_one_too(gate: Gate, keys: CountingKeys, clock: Clock) -> None:
    await gate.admit(scope(client="127.0.0.1"))
    await create(keys)
    clock.now += 5
    with pytest.raises(AuthenticationRequired, match="X-API-Key"):
        await gate.admit(scope(client="127.0.0.1"))


async def test_a_key_may_come_in_either_header(gate: Gate, keys: CountingKeys) -> None:
    stored, text = await create(keys, KeyOwner("acme", "ann", max_priority=Priority.LOW))
    for headers in ({"x_api_key": text}, {"authorization": f"Bearer {text}"}, {"authorization": f"bearer  {text}"}):
        caller = await gate.admit(scope(**headers))
        assert caller.principal == Principal("acme", "ann", "user")
        assert (caller.key, caller.max_priority, caller.limits) == (stored.id, Priority.LOW, None)


async def test_a_proxy_and_a_foreign_host_are_no_obstacle_to_a_key(gate: Gate, keys: CountingKeys) -> None:
    _, text = await create(keys)
    caller = await gate.admit(scope(x_api_key=text, x_forwarded_for="198.51.100.1", origin="https://ui.example"))
    assert caller.principal.user == "ann"


async def test_a_key_that_is_sent_twice_is_not_taken(gate: Gate, keys: CountingKeys) -> None:
    _, text = await create(keys)
    for name in (b"x-api-key", b"authorization"):
        doubled = scope()
        doubled["headers"] += [(name, f"Bearer {text}".encode()), (name, b"another")]
        with pytest.raises(AuthenticationRequired, match="more than once"):
            await gate.admit(doubled)


async def test_of_both_headers_the_key_s_own_counts(gate: Gate, keys: CountingKeys) -> None:
    _, text = await create(keys)
    caller = await gate.admit(scope(x_api_key=text, authorization="Basic cHJveHk6cHJveHk="))
    assert caller.principal.user == "ann"
    with pytest.raises(AuthenticationRequired):
        await gate.admit(scope(x_api_key="nonsense", authorization=f"Bearer {text}"))


async def test_a_proxy_that_adds_no_header_is_known_by_its_http(gate: Gate) -> None:
    """nginx with a bare proxy_pass: HTTP/1.0, and Host as in its configuration."""
    with pytest.raises(PermissionDenied, match=r"HTTP/1\.0.*`ragents keys create`.*curl --http1\.1"):
        await gate.admit({**scope(client="127.0.0.1"), "http_version": "1.0"})


async def test_a_forwarding_header_is_named_whatever_address_the_server_has_taken_from_it(gate: Gate) -> None:
    for client in ("127.0.0.1", "203.0.113.9"):
        with pytest.raises(PermissionDenied, match=r"header 'x-forwarded-for'.*`ragents keys create`"):
            await gate.admit(scope(client=client, x_forwarded_for="203.0.113.9"))


async def test_what_is_wrong_with_a_key_is_not_told(gate: Gate, keys: CountingKeys) -> None:
    stored, text = await create(keys)
    revoked, revoked_text = await create(keys)
    await keys.revoke(revoked.id, actor="test")
    _, expired_text = await create(keys, lasts=timedelta(seconds=-1))
    other_secret = f"rag_{stored.id}_{'A' * 43}"
    unknown = f"rag_{'0' * 12}_{'A' * 43}"
    told = set()
    for wrong in (revoked_text, expired_text, other_secret, unknown, "nonsense", text[:-1], text + "A", "ü" * 20):
        with pytest.raises(AuthenticationRequired) as refused:
            await gate.admit(scope(x_api_key=wrong))
        told.add(str(refused.value))
    assert len(told) == 1


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "rag_x"])
async def test_no_key_at_all_is_told_how_to_send_one(gate: Gate, keys: CountingKeys, header: str) -> None:
    await create(keys)
    with pytest.raises(AuthenticationRequired, match="Authorization: Bearer"):
        await gate.admit(scope(authorization=header))


async def test_a_key_is_looked_up_once_in_a_while_and_its_end_is_seen_within_that_time(
    gate: Gate, keys: CountingKeys, clock: Clock
) -> None:
    stored, text = await create(keys)
    for _ in range(10):
        await gate.admit(scope(x_api_key=text))
    assert keys.looked_up == 1
    await keys.revoke(stored.id, actor="test")
    clock.now += 4.9
    await gate.admit(scope(x_api_key=text))
    clock.now += 0.2
    with pytest.raises(AuthenticationRequired):
        await gate.admit(scope(x_api_key=text))


class RunningClock(Clock):
    step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def test_a_key_whose_time_in_the_cache_ends_while_it_is_looked_at_is_taken(keys: CountingKeys) -> None:
    clock = RunningClock()
    gate = Gate(keys, AuthConfig(cache_s=5), limits=Limits(), clock=clock)
    _, text = await create(keys)
    await gate.admit(scope(x_api_key=text))
    clock.step = 2.6
    assert (await gate.admit(scope(x_api_key=text))).principal.user == "ann"


async def test_what_cannot_be_a_key_is_not_looked_up(gate: Gate, keys: CountingKeys) -> None:
    await create(keys)
    for wrong in ("nonsense", "rag_", "rag_" + "0" * 12, "x" * 10_000):
        with pytest.raises(AuthenticationRequired):
            await gate.admit(scope(x_api_key=wrong))
    assert keys.looked_up == 0


async def test_a_store_that_is_down_lets_nobody_in_whom_it_does_not_know(
    gate: Gate, keys: CountingKeys, clock: Clock
) -> None:
    _, text = await create(keys)
    await gate.admit(scope(x_api_key=text))
    keys.down = True
    await gate.admit(scope(x_api_key=text))
    clock.now += 5.1
    with pytest.raises(StoreUnavailable):
        await gate.admit(scope(x_api_key=text))
    with pytest.raises(AuthenticationRequired):  # and nobody becomes the keyless admin
        await gate.admit(scope(client="127.0.0.1"))


async def test_without_keys_a_store_that_is_down_changes_nothing(gate: Gate, keys: CountingKeys, clock: Clock) -> None:
    await gate.admit(scope(client="127.0.0.1"))
    keys.down = True
    clock.now += 6
    assert (await gate.admit(scope(client="127.0.0.1"))).principal.role == "admin"


async def test_probes_and_metrics_need_no_key(gate: Gate, keys: CountingKeys) -> None:
    await create(keys)
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await gate.admit(scope(path=path))).principal == ANONYMOUS


async def test_the_bootstrap_key_is_an_admin_s_and_then_keys_are_needed(keys: CountingKeys) -> None:
    gate = Gate(keys, AuthConfig(bootstrap_key=BOOTSTRAP), limits=Limits())  # type: ignore[arg-type]
    caller = await gate.admit(scope(x_api_key=BOOTSTRAP))
    assert (caller.principal, caller.key) == (Principal("default", "bootstrap", "admin"), "bootstrap")
    with pytest.raises(AuthenticationRequired):
        await gate.admit(scope(client="127.0.0.1"))
    with pytest.raises(AuthenticationRequired):
        await gate.admit(scope(x_api_key=BOOTSTRAP + "x"))


@pytest.mark.parametrize("key", ["admin", "CHANGE-ME-BOOTSTRAP-KEY", "change-me-change-me-change-me"])
def test_a_bootstrap_key_that_can_be_guessed_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand"):
        AuthConfig(bootstrap_key=key)  # type: ignore[arg-type]


def test_the_bootstrap_key_of_the_examples_is_refused() -> None:
    lines = Path("deploy/.env.example").read_text("utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    with pytest.raises(ValidationError, match="openssl rand"):
        AuthConfig(bootstrap_key=given["BOOTSTRAP_KEY"])  # type: ignore[arg-type]


def test_a_bootstrap_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValidationError, match="a header cannot carry"):
        AuthConfig(bootstrap_key="schlüssel-der-verwaltung")  # type: ignore[arg-type]


async def test_a_bootstrap_key_from_a_file_is_taken_without_its_last_line_break(keys: CountingKeys) -> None:
    gate = Gate(keys, AuthConfig(bootstrap_key=f"{BOOTSTRAP}\n"), limits=Limits())  # type: ignore[arg-type]
    assert (await gate.admit(scope(x_api_key=BOOTSTRAP))).principal.user == "bootstrap"


def test_a_bootstrap_key_of_digits_is_text() -> None:
    found = AuthConfig.model_validate({"bootstrap_key": 12345678901234567890}).bootstrap_key
    assert found is not None
    assert found.get_secret_value() == "12345678901234567890"
