"""ragents db: the schema of the store."""

import typer

from ragents.cli.output import ConfigOption, JsonOption, console, print_json, run, settings
from ragents.errors import ConfigError

cli = typer.Typer(help="The schema of the store.", no_args_is_help=True)


@cli.callback()
def _group() -> None:
    """Keeps `db` a group while it has one command."""


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
        return await migrate_all(store.migrate_dsn.get_secret_value(), dsn=store.dsn.get_secret_value())

    applied = run(apply())
    if as_json:
        print_json({"applied": applied})
    else:
        console.print("applied: " + ", ".join(applied) if applied else "the schema is up to date")
