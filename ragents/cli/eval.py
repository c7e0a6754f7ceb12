"""ragents eval: how good retrieval is on a BEIR folder, or answers on a file of questions."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from ragents.cli.ingest import progress_bar
from ragents.cli.output import (
    EXIT_FAILED,
    CollectionOption,
    ConfigOption,
    JsonOption,
    console,
    operator,
    print_json,
    run,
    settings,
)
from ragents.errors import BackendUnavailable, InputError
from ragents.rag.types import SearchMode

if TYPE_CHECKING:
    from ragents.deployment.app import App
    from ragents.evaluation import AnswerReport, Ranked, Scores
    from ragents.principal import Principal

TENANT = "evaluation"
"""Test collections are kept apart from what the team has: nobody's search finds them."""
MODES: tuple[SearchMode, ...] = ("dense", "lexical", "hybrid")
DEPTH = 300
"""Chunks of a list that is not fused, so that 100 documents are among them."""
RANKING_MEASURES = dict.fromkeys(("hybrid", "dense", "lexical"), ("ndcg@10", "recall@100", "mrr@10"))
ANSWER_MEASURES = {"answers": ("exact_match", "f1", "contains", "citations_valid", "declined_rightly")}
BOUND = re.compile(r"^(?:(\w+)\.)?([\w@]+)=(\d*\.?\d+)$")


def evaluate(
    directory: Annotated[
        Path | None, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", help='JSON lines {"question", "answers": [...]} to ask instead; none = to be declined.'
        ),
    ] = None,
    agent: Annotated[str, typer.Option("--agent", "-a", help="With --answers: the agent that is asked.")] = "simple",
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            help="[MODE.]MEASURE=VALUE, such as ndcg@10=0.70 (of hybrid) or dense.recall@100=0.9: else exit 1."
        ),
    ] = None,
    collection: CollectionOption = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help=f"Tenant; else {TENANT!r}, with --answers 'default'.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure retrieval on a BEIR folder (its corpus is ingested; a second run is quick), or answers with --answers."""
    if (directory is None) == (answers is None):
        raise typer.BadParameter("give a BEIR folder, or --answers with a file of questions")
    known = ANSWER_MEASURES if answers else RANKING_MEASURES
    bounds = [_bound(each, known) for each in fail_under or []]
    found: dict[str, dict[str, float | None]] = {}
    if answers is not None:
        asked = run(_ask_all(answers, agent, collection, operator(tenant or "default"), config, quiet=as_json))
        found["answers"] = asked.as_json()
        print_json(found) if as_json else _show_answers(found["answers"])
    elif directory is not None:
        scores = run(_search_all(directory, split, collection, operator(tenant or TENANT), config, quiet=as_json))
        found.update((mode, {**each.as_json()}) for mode, each in scores.items())
        print_json({"modes": found}) if as_json else _show_scores(found)
    _keep(config, (directory or answers or Path()).stem, found)
    _check(found, bounds)


def _keep(config: Path | None, name: str, found: Mapping[str, Mapping[str, float | None]]) -> None:
    """Among Opik's experiments, where one is configured. Without it the measurement stands all the same."""
    from ragents.deployment.observability.experiments import keep_experiments

    try:
        made = asyncio.run(keep_experiments(settings(config), name, found))
    except BackendUnavailable as error:
        console.print(f"[yellow]not among Opik's experiments: {error}[/]", highlight=False)
    else:
        if made:
            console.print(f"{made} experiments of {name!r} are in Opik", style="dim", highlight=False)


async def _search_all(
    directory: Path, split: str, collection: str | None, principal: "Principal", config: Path | None, *, quiet: bool
) -> "dict[str, Scores]":
    from ragents import evaluation, ingestion
    from ragents.deployment.app import open_app

    dataset = evaluation.read_dataset(directory, split=split)
    name = collection or dataset.name
    async with open_app(settings(config)) as app:
        with progress_bar(quiet=quiet) as on_progress:
            report = await ingestion.ingest(
                [dataset.corpus],
                store=app.store,
                embedder=app.encoder,
                config=app.config.rag,
                collection=name,
                principal=principal,
                on_progress=on_progress,
            )
        for failure in report.failures:
            if failure.reason != "empty":  # a document without text can be found by nothing; collections have some
                raise InputError(f"{dataset.corpus}: {failure.uri}: {failure.detail}")
        modes: dict[str, SearchMode] = {mode: mode for mode in MODES}
        if app.engine.reranking is not None:
            modes["reranked"] = "hybrid"
        scores = {}
        with _track(quiet=quiet, total=len(modes) * len(dataset.queries)) as (bar, task):
            for label, mode in modes.items():
                bar.update(task, description=label)
                search = _searching(app, mode, name, principal, rerank=label == "reranked")
                scores[label] = await evaluation.measure(dataset, search, on_query=lambda: bar.advance(task))
    return scores


def _searching(app: "App", mode: SearchMode, collection: str, principal: "Principal", *, rerank: bool) -> Any:
    """One mode as the service searches, but for the number of results."""
    from ragents.rag.nearness import by_nearness
    from ragents.rag.store.types import SearchQuery

    rag = app.config.rag
    # What is fused depends on the lists' length, so that one of another length would not be what the service finds.
    depth = rag.candidates if mode == "hybrid" else max(DEPTH, rag.candidates)

    async def search(text: str) -> "Ranked":
        query = SearchQuery(
            text=text,
            embedding=None if mode == "lexical" else await app.encoder.embed_query(text),
            collection=collection,
            mode=mode,
            top_k=depth,
            candidates=depth,
            dense_weight=rag.dense_weight,
        )
        sources = await app.store.search(query, principal=principal)
        if mode == "hybrid":
            sources = list(by_nearness(text, sources))
        if rerank and app.engine.reranking is not None:
            first = sources[: app.engine.reranking.candidates]
            best, note = await app.engine.reranking.best(text, first, len(first))
            if note is not None:
                raise InputError(f"{note}; raise rerank.timeout_s: a query without it would be measured as one with it")
            sources = [*best, *sources[len(first) :]]
        return [(source.uri.partition("#")[2], source.score) for source in sources]

    return search


async def _ask_all(
    file: Path, agent: str, collection: str | None, principal: "Principal", config: Path | None, *, quiet: bool
) -> "AnswerReport":
    from ragents import evaluation
    from ragents.agents.types import Turn
    from ragents.deployment.app import open_app
    from ragents.rag.types import RAGResponse

    questions = evaluation.read_questions(file)
    async with open_app(settings(config)) as app:

        async def ask(question: str) -> RAGResponse:
            turn = Turn(principal=principal, collection=collection, use_cache=False)
            return (await app.conversations.ask(question, agent_type=agent, turn=turn)).response

        with _track(quiet=quiet, total=len(questions)) as (bar, task):
            return await evaluation.evaluate_answers(questions, ask, on_answer=lambda: bar.advance(task))


@contextmanager
def _track(*, quiet: bool, total: int) -> Iterator[tuple[Progress, Any]]:
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        yield bar, bar.add_task("asking", total=total)


def _show_scores(modes: Mapping[str, Mapping[str, float | None]]) -> None:
    table = Table("", *next(iter(modes.values())), box=None, header_style="dim")
    for mode, scores in modes.items():
        table.add_row(mode, *(f"{value:.4g}" for value in scores.values()))
    type(console)().print(table)


def _show_answers(report: Mapping[str, float | None]) -> None:
    table = Table(box=None, show_header=False)
    for name, value in report.items():
        table.add_row(name.replace("_", " "), "-" if value is None else f"{value:.4g}")
    type(console)().print(table)


def _bound(text: str, known: Mapping[str, Sequence[str]]) -> tuple[str, str, float]:
    """Before anything runs. The first mode of `known` is meant where none is named."""
    given = BOUND.match(text)
    mode, measure = (given[1] or next(iter(known)), given[2].lower()) if given else ("", "")
    if given is None or measure not in known.get(mode, ()):
        names = ", ".join(f"{each}.{name}" for each, measures in known.items() for name in measures)
        raise typer.BadParameter(f"--fail-under {text!r}: expected MEASURE=VALUE with one of {names}")
    return mode, measure, float(given[3])


def _check(found: Mapping[str, Mapping[str, float | None]], bounds: Sequence[tuple[str, str, float]]) -> None:
    failed = False
    for mode, measure, least in bounds:
        if mode not in found:
            raise typer.BadParameter("--fail-under reranked: no reranker is configured; set rerank.provider")
        value = found[mode][measure]
        if value is None or value < least:
            console.print(f"[bold red]{mode} {measure} is {value}, below {least:g}[/]", highlight=False)
            failed = True
    if failed:
        raise typer.Exit(EXIT_FAILED)
