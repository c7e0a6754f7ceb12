"""ragents reembed: a collection moves to the model of the settings while it is served."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ragents.cli.output import (
    CollectionOption,
    ConfigOption,
    JsonOption,
    TenantOption,
    console,
    operator,
    print_json,
    run,
    settings,
)

if TYPE_CHECKING:
    from ragents.ingestion.reembedding import ReembedReport


def reembed(
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what a run before has embedded, for this model or another.")
    ] = False,
    collection: CollectionOption = None,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed a collection with rag.embedding_model, beside the old vectors, then switch. It is served all the time.

    A run that was cut off is gone on with by the next.
    """

    async def move() -> "ReembedReport":
        from ragents.deployment.app import open_app
        from ragents.ingestion.reembedding import reembed as reembed_collection

        loaded = settings(config)
        bar = Progress(
            SpinnerColumn(),
            MofNCompleteColumn(),
            TextColumn("chunks"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=as_json or not console.is_terminal,
        )
        async with open_app(loaded) as app:
            with bar:
                task = bar.add_task("", total=None)
                return await reembed_collection(
                    app.store,
                    app.encoder,
                    principal=operator(tenant),
                    collection=collection or loaded.rag.collection,
                    restart=restart,
                    on_progress=lambda done, total: bar.update(task, completed=done, total=total),
                )

    from ragents.embeddings.types import settings_of

    report = run(move())
    if as_json:
        print_json(asdict(report))
        return
    console.print(
        f"{report.collection!r} is searched with {report.model} now, and was with {report.before}: {report.chunks} "
        f"chunks, {report.embedded} of them embedded in this run, {report.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"restart every server with {settings_of(report.model)}", highlight=False, soft_wrap=True)
    if not report.indexed:
        console.print("its vector index is missing; build it with: ragents db index", highlight=False)
