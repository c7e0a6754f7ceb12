"""ragents db: the schema of the store, its indexes, and what it holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from ragents.cli.output import ConfigOption, JsonOption, console, print_json, run, settings
from ragents.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from ragents.rag.store.pgvector.stats import StoreStats

cli = typer.Typer(help="The schema of the store, its indexes, and what it holds.", no_args_is_help=True)


@cli.command("migrate")
def migrate(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Bring the schema up to date, as the role of store.migrate_dsn, and give the role of store.dsn its rights."""
    from ragents.deployment.app import migrate_all, open_database

    async def apply() -> list[str]:
        store = settings(config).store
        if store.dsn is None or store.backend == "memory":
            async with open_database(store) as database:
                if database.dsn is None:
                    raise ConfigError("store.backend = 'memory' has no schema; nothing to migrate")
            return []
        if store.migrate_dsn is None:
            raise ConfigError(
                "store.migrate_dsn is not set; set RAGENTS_STORE__MIGRATE_DSN to a role that owns the database"
            )
        owner, dsn = store.migrate_dsn.get_secret_value(), store.dsn.get_secret_value()
        applied = await migrate_all(owner, dsn=dsn)
        if store.backend == "langchain":
            from ragents.rag.store.langchain import migrate_vectors

            applied += await migrate_vectors(owner, dsn=dsn)
        return applied

    applied = run(apply())
    if as_json:
        print_json({"applied": applied})
    else:
        console.print("applied: " + ", ".join(applied) if applied else "the schema is up to date")


@cli.command("index")
def index(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Build the vector indexes that are missing, and drop what is not needed. Writers and readers go on meanwhile."""
    from ragents.rag.store.pgvector.indexes import IndexChange, build_indexes

    async def build() -> list[IndexChange]:
        async with _owner(config) as dsn:
            with console.status("building indexes ..."):
                return await build_indexes(dsn)

    changes = run(build())
    if as_json:
        print_json({"changes": [asdict(change) for change in changes]})
        return
    for change in changes:
        console.print(f"{change.action} {change.index} ({change.chunks} chunks)")
    if not changes:
        console.print("every index that is needed is there")


@cli.command("stats")
def stats(
    samples: Annotated[
        int, typer.Option(min=0, max=1000, help="Questions per indexed collection for the recall; 0 = none.")
    ] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sizes of tables, indexes and collections of all tenants, and how much of the exact answer the indexes find."""
    from ragents.rag.store.pgvector.stats import store_stats

    async def read() -> "StoreStats":
        async with _owner(config) as dsn:
            return await store_stats(dsn, samples=samples)

    found = run(read())
    print_json(asdict(found)) if as_json else _show(found)


@asynccontextmanager
async def _owner(config: "Path | None") -> AsyncIterator[str]:
    """DSN of the role that owns the tables: it alone builds indexes, and it sees every tenant."""
    from ragents.deployment.app import open_database

    store = settings(config).store
    async with open_database(store) as database:
        if database.dsn is None:
            raise ConfigError("store.backend = 'memory' has neither tables nor indexes")
        if database.migrate_dsn is None:
            raise ConfigError(
                "store.migrate_dsn is not set; set RAGENTS_STORE__MIGRATE_DSN to the role that owns the tables"
            )
        yield database.migrate_dsn


def _show(found: "StoreStats") -> None:
    out = type(console)()
    tables = Table("table", "rows", "size", "indexes", box=None, header_style="dim")
    for each in found.tables:
        rows = "?" if each.rows is None else f"~{each.rows}"
        tables.add_row(each.name, rows, decimal(each.table_bytes), decimal(each.index_bytes))
        for index in each.indexes:
            tables.add_row(f"  [dim]{index.name}[/]", "" if index.valid else "invalid", "", decimal(index.bytes))
    out.print(tables)
    collections = Table(
        "tenant", "collection", "documents", "chunks", "size", "vector index", "recall@10", box=None, header_style="dim"
    )
    for one in found.collections:
        state = one.index + (f" ({decimal(one.index_bytes)})" if one.index_bytes else "")
        recall = "exact" if one.index != "valid" else "?" if one.recall is None else f"{one.recall:.3f}"
        collections.add_row(
            one.tenant, one.name, str(one.documents), str(one.chunks), f"~{decimal(one.bytes)}", state, recall
        )
    out.print(collections)
    console.print(f"[dim]database: {decimal(found.database_bytes)}[/]", highlight=False)
    if any(one.index in ("missing", "invalid") for one in found.collections):
        console.print("[dim]build what is missing with: ragents db index[/]", highlight=False)
