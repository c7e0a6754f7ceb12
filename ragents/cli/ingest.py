"""ragents ingest: files and directories into a collection, with progress and a summary."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ragents.cli.output import (
    EXIT_PARTIAL,
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
from ragents.principal import Principal

if TYPE_CHECKING:
    from ragents import ingestion
    from ragents.deployment.config import ServiceConfig
    from ragents.ingestion import IngestReport, OnProgress


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and directories.")],
    force: Annotated[
        bool, typer.Option("--force", help="Read and embed unchanged documents too, in a new version of each.")
    ] = False,
    collection: CollectionOption = None,
    tenant: TenantOption = "default",
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve /metrics here while it runs.", min=1, max=65_535)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take documents. Unchanged ones are skipped; what cannot be read is listed with the reason."""

    async def take() -> "IngestReport":
        return await ingest_paths(
            paths,
            config=settings(config),
            principal=operator(tenant),
            collection=collection,
            force=force,
            quiet=as_json,
            metrics_port=metrics_port,
        )

    report = run(take())
    if as_json:
        print_json({**asdict(report), "documents": report.documents})
    if report.failures:
        raise typer.Exit(EXIT_PARTIAL)


async def ingest_paths(
    paths: Sequence[Path],
    *,
    config: "ServiceConfig",
    principal: Principal,
    collection: str | None = None,
    force: bool = False,
    quiet: bool = False,
    metrics_port: int | None = None,
) -> "IngestReport":
    """Ingest with a progress bar and a summary on stderr. With `metrics_port` Prometheus can look on."""
    from ragents import ingestion
    from ragents.deployment.app import open_app

    async with open_app(config) as app:
        with progress_bar(quiet=quiet) as shown, _watched(shown, config, metrics_port) as on_progress:
            report = await ingestion.ingest(
                paths,
                store=app.store,
                embedder=app.encoder,
                config=config.rag,
                collection=collection,
                principal=principal,
                on_progress=on_progress,
                force=force,
                cache=app.cache.chunk_vectors(principal.tenant) if app.cache.shared else None,
            )
    if not quiet:
        _summarise(report)
    return report


@contextmanager
def _watched(shown: "OnProgress", config: "ServiceConfig", port: int | None) -> Iterator["OnProgress"]:
    if port is None:
        yield shown
        return
    from prometheus_client import start_http_server

    from ragents.deployment.observability.ingesting import IngestMetrics
    from ragents.errors import ConfigError

    try:
        server, thread = start_http_server(port, addr=config.serving.host)
    except OSError as error:
        raise ConfigError(f"--metrics-port {port} cannot be listened on ({error.strerror}); choose another") from None
    try:
        with IngestMetrics().running(shown) as on_progress:
            yield on_progress
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator["OnProgress"]:
    bar = Progress(
        SpinnerColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        BarColumn(),
        TextColumn("{task.fields[chunks]} chunks"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None, chunks=0)

        def show(progress: "ingestion.Progress") -> None:
            name = escape(progress.uri[-50:])
            bar.update(
                task, total=progress.files, completed=progress.files_done, chunks=progress.chunks, description=name
            )

        yield show


def _summarise(report: "IngestReport") -> None:
    if report.failures:
        table = Table("file", "reason", "detail", title="not taken", title_justify="left", box=None, header_style="dim")
        for failure in sorted(report.failures, key=lambda each: each.uri):
            table.add_row(escape(failure.uri), failure.reason, escape(failure.detail))
        console.print(table)
    if report.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.skipped.items()))
        console.print(f"[dim]passed over: {escape(kinds)}[/]", highlight=False)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.stage_s.items())
    left = f"{len(report.failures)} not taken" + (", files or single documents in them" if report.failures else "")
    console.print(
        f"{report.files} files in {report.seconds:.1f} s: {report.created} documents new, {report.replaced} replaced, "
        f"{report.unchanged} unchanged; {left}; {report.chunks} chunks ({stages})",
        highlight=False,
        soft_wrap=True,
    )
