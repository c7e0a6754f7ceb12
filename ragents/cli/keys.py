"""ragents keys: who may call the server."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from ragents.cli.output import ConfigOption, JsonOption, TenantOption, console, print_json, run, settings
from ragents.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from ragents.deployment.keys import StoredKey
    from ragents.deployment.keys.postgres import PostgresKeys

cli = typer.Typer(help="API keys: make, list, revoke, rotate.", no_args_is_help=True)

OPERATOR = "operator"
LONGEST = timedelta(days=36_500)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
KeyArgument = Annotated[str, typer.Argument(help="The key's id, as `list` shows it (or the key itself).")]


@cli.command("create")
def create(
    user: Annotated[str, typer.Option("--user", help="Whose threads and limits it is.")],
    tenant: TenantOption = "default",
    role: Annotated[str, typer.Option(help="user, or admin: clears caches, sees all statistics.")] = "user",
    note: Annotated[str, typer.Option(help="A word for yourself.")] = "",
    expires: Annotated[str | None, typer.Option(help="After this time: 90d, 12h, 30m; else never.")] = None,
    max_priority: Annotated[
        str, typer.Option(help="CRITICAL, HIGH, NORMAL or LOW: what a request may ask for at most.")
    ] = "HIGH",
    weight: Annotated[float, typer.Option(min=0.001, max=1000, help="Share of the places where users queue.")] = 1.0,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Else rate_limit of the settings; so the next.")
    ] = None,
    requests_per_hour: Annotated[int | None, typer.Option()] = None,
    burst_size: Annotated[int | None, typer.Option()] = None,
    tokens_per_minute: Annotated[int | None, typer.Option()] = None,
    cost_usd_per_day: Annotated[float | None, typer.Option()] = None,
    concurrent_requests: Annotated[int | None, typer.Option()] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is printed once; what is stored is its hash."""
    from ragents.deployment.keys import KeyLimits, KeyOwner
    from ragents.deployment.rate_limiting import Priority

    async def make() -> "tuple[StoredKey, str]":
        if role not in ("user", "admin"):
            raise InputError(f"--role {role!r}: expected user or admin", field="role")
        if max_priority.upper() not in Priority.__members__:
            raise InputError(f"--max-priority {max_priority!r}: expected {', '.join(Priority)}", field="max_priority")
        for name, value in (("tenant", tenant), ("user", user)):
            if not value or len(value) > 200 or "\x00" in value:
                raise InputError(f"--{name} {value!r}: expected 1 to 200 characters", field=name)
        try:
            limits = KeyLimits(
                requests_per_minute=requests_per_minute,
                requests_per_hour=requests_per_hour,
                burst_size=burst_size,
                tokens_per_minute=tokens_per_minute,
                cost_usd_per_day=cost_usd_per_day,
                concurrent_requests=concurrent_requests,
            )
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            option = str(problem["loc"][0]).replace("_", "-")
            raise InputError(f"--{option} {problem['input']!r}: {problem['msg']}", field=option) from None
        owner = KeyOwner(
            tenant, user, "admin" if role == "admin" else "user", note, Priority(max_priority.upper()), limits, weight
        )
        lasts = None if expires is None else duration(expires)
        if lasts is not None and not lasts:
            raise InputError(
                f"--expires {expires!r}: the key would be over at once; write 30m, 90d or 4w", field="expires"
            )
        async with _keys(config) as keys:
            return await keys.create(owner, lasts=lasts, actor=OPERATOR)

    _told(*run(make()), as_json=as_json)


@cli.command("list")
def list_keys(tenant: TenantOption = "default", config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The keys of a tenant, without their secrets."""

    async def read() -> "list[StoredKey]":
        async with _keys(config) as keys:
            return await keys.list(tenant)

    found = run(read())
    if as_json:
        print_json({"keys": [_shown(each) for each in found]})
        return
    table = Table("id", "user", "role", "state", "priority", "created", "expires", "note", box=None, header_style="dim")
    for each in found:
        shown = _shown(each)
        names = ("id", "user", "role", "state", "max_priority", "created_at", "expires_at", "note")
        table.add_row(*(str(shown[name] or "-")[:19] for name in names))
    type(console)().print(table)


@cli.command("revoke")
def revoke(key: KeyArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a key now. Servers know within auth.cache_s (5 seconds)."""

    async def end() -> "StoredKey":
        async with _keys(config) as keys:
            return await keys.revoke(id_of(key), actor=OPERATOR)

    stored = run(end())
    if as_json:
        print_json(_shown(stored))
    else:
        console.print(f"revoked {stored.id} of {stored.owner.user} ({stored.owner.tenant})", highlight=False)


@cli.command("rotate")
def rotate(
    key: KeyArgument,
    grace: Annotated[str, typer.Option(help="So long the old key goes on: 0s, 1h, 7d.")] = "0s",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make another key with the same rights, and end the old one after a time of grace."""

    async def replace() -> "tuple[StoredKey, str]":
        ends = duration(grace)
        async with _keys(config) as keys:
            return await keys.rotate(id_of(key), grace=ends, actor=OPERATOR)

    _told(*run(replace()), as_json=as_json)


@asynccontextmanager
async def _keys(config: "Path | None") -> "AsyncIterator[PostgresKeys]":
    """As the role that owns the tables: the serving one may only read keys."""
    from ragents.deployment.app import open_database
    from ragents.deployment.keys.postgres import PostgresKeys
    from ragents.deployment.observability.logs import configure_logging
    from ragents.postgres import open_connections

    loaded = settings(config)
    configure_logging(loaded.observability)
    async with open_database(loaded.store) as database:
        if database.dsn is None:
            raise ConfigError("store.backend = 'memory' keeps no keys; set RAGENTS_AUTH__BOOTSTRAP_KEY instead")
        if database.migrate_dsn is None:
            raise ConfigError(
                "store.migrate_dsn is not set; set RAGENTS_STORE__MIGRATE_DSN to the role that owns the tables: "
                "the role that serves cannot make keys"
            )
        async with open_connections(
            database.migrate_dsn,
            component="store",
            pool_size=1,
            connect_timeout_s=loaded.store.connect_timeout_s,
            acquire_timeout_s=loaded.store.acquire_timeout_s,
            statement_timeout_s=loaded.store.statement_timeout_s,
            check=_no_check,
        ) as connections:
            yield PostgresKeys(connections)


async def _no_check(connection: "asyncpg.Connection") -> None:
    """The schema was brought up to date by `open_database`."""


def duration(text: str) -> timedelta:
    """ "90d" and the like. InputError for anything else."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a time; write 30m, 12h, 90d or 4w", field="expires")
    found = timedelta(**{UNITS[match[2]]: int(match[1])})
    if found > LONGEST:
        raise InputError(f"{text!r} is too long a time; at most {LONGEST.days}d", field="expires")
    return found


def id_of(text: str) -> str:
    """The id alone, or that of a whole key."""
    return text.split("_")[1] if text.startswith("rag_") and text.count("_") >= 1 else text


def _told(stored: "StoredKey", text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_shown(stored), "key": text})
        return
    typer.echo(text)
    console.print(f"[dim]key {stored.id}; it is shown this once. Send it as X-API-Key, or as a bearer token.[/]")


def _shown(stored: "StoredKey") -> dict[str, Any]:
    from ragents.deployment.keys.types import now

    owner = stored.owner
    return {
        "id": stored.id,
        "prefix": f"rag_{stored.id}",
        "tenant": owner.tenant,
        "user": owner.user,
        "role": owner.role,
        "state": stored.state(now()),
        "max_priority": owner.max_priority.value,
        "weight": owner.weight,
        "limits": owner.limits.model_dump(exclude_none=True),
        "note": owner.note,
        "created_at": stored.created_at.isoformat(timespec="seconds"),
        "expires_at": stored.expires_at.isoformat(timespec="seconds") if stored.expires_at else None,
        "revoked_at": stored.revoked_at.isoformat(timespec="seconds") if stored.revoked_at else None,
    }
