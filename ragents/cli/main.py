"""The `ragents` program: its commands and their order."""

import typer

from ragents import __version__
from ragents.cli import agents, db, delete, doctor, eval, ingest, keys, plan, query, reembed, serve

EPILOG = (
    "Exit status: 0 done, 1 failed, 2 bad usage or settings, 3 done but some files could not be taken, "
    "4 a backend is down."
)

cli = typer.Typer(
    name="ragents",
    help="Agents that answer questions over your documents, with sources.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.command("serve")(serve.serve)
cli.command("ingest")(ingest.ingest)
cli.command("query")(query.query)
cli.command("delete")(delete.delete)
cli.command("reembed")(reembed.reembed)
cli.command("eval")(eval.evaluate)
cli.command("doctor")(doctor.doctor)
cli.command("plan")(plan.plan)
cli.add_typer(agents.cli, name="agents")
cli.add_typer(db.cli, name="db")
cli.add_typer(keys.cli, name="keys")


@cli.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"ragents {__version__}")
        raise typer.Exit


def main() -> None:
    cli()
