"""ragents query: one question, or a file of them with a summary of where the time goes."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from ragents.cli.output import (
    CollectionOption,
    ConfigOption,
    JsonOption,
    TenantOption,
    console,
    fail,
    operator,
    print_json,
    run,
    settings,
)
from ragents.errors import InputError

if TYPE_CHECKING:
    from ragents.agents.types import AgentAnswer
    from ragents.deployment.app import App
    from ragents.rag.filters import Filters

STAGES = ("embed_ms", "retrieve_ms", "generate_ms")


def query(
    question: Annotated[str | None, typer.Argument(help="The question.")] = None,
    agent: Annotated[str, typer.Option("--agent", "-a", help="Agent that answers.")] = "simple",
    thread: Annotated[str | None, typer.Option("--thread", help="Go on with this conversation.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --thread: the text answers what the agent has asked.")
    ] = False,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", min=1, max=50, help="Number of sources.")] = None,
    filters: Annotated[
        str | None,
        typer.Option("--filters", help='Metadata that documents must have, as JSON: \'{"year": {"gte": 2020}}\'.'),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help='Questions: one per line, or .jsonl with "text" or "question". Ends with a summary of times.',
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --file: the first N questions only.")] = None,
    retrieve_only: Annotated[bool, typer.Option("--retrieve-only", help="Sources without an answer.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor fill the caches.")] = False,
    collection: CollectionOption = None,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a question; the answer comes with its sources."""
    if (question is None) == (file is None):
        raise typer.BadParameter("give a question, or --file with questions")
    if question is not None and not question.strip():
        raise typer.BadParameter("the question is empty")
    if resume and (thread is None or file is not None):
        raise typer.BadParameter("--resume needs --thread, and the answer instead of a question")
    from ragents.agents.types import AgentAnswer, Turn
    from ragents.deployment.app import open_app

    wanted = _filters(filters)
    turn = Turn(principal=operator(tenant), collection=collection, top_k=top_k, filters=wanted, use_cache=not no_cache)

    async def ask(app: "App", text: str) -> "AgentAnswer":
        if resume and thread is not None:
            return await app.conversations.resume(text, thread_id=thread, turn=turn)
        if not retrieve_only:
            return await app.conversations.ask(text, agent_type=agent, thread_id=thread, turn=turn)
        found = await app.engine.retrieve(
            text,
            principal=turn.principal,
            collection=collection,
            top_k=top_k,
            filters=wanted,
            use_cache=turn.use_cache,
        )
        return AgentAnswer(thread or "", agent, found)

    async def answer_all() -> None:
        questions = [] if file is None else _questions(file, limit)
        async with open_app(settings(config)) as app:
            if question is not None:
                answer = await ask(app, question)
                print_json(_as_json(answer)) if as_json else _show(answer)
                return
            answers = []
            for text in questions:
                answers.append(await ask(app, text))
                if as_json:
                    print_json(_as_json(answers[-1]))
                    continue
                type(console)().print(f"[bold]{escape(text)}[/]", highlight=False)
                _show(answers[-1])
            console.print(_times(answers))

    run(answer_all())


def _filters(text: str | None) -> "Filters":
    from ragents.rag.filters import parse_filters

    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        fail(InputError(f"--filters is not JSON: {error}", field="filters"))
    if not isinstance(found, dict):
        fail(InputError(f"--filters = {text[:60]!r} is no JSON object", field="filters"))
    try:
        parse_filters(found)
    except InputError as error:
        fail(error)
    return found


def _questions(file: Path, limit: int | None) -> list[str]:
    """All of them, before anything opens. InputError that names the line which is none."""
    from ragents.evaluation.beir import read_jsonl

    if not file.is_file():
        raise InputError(f"--file {str(file)!r} is not a file", field="file")
    if file.suffix == ".jsonl":
        asked = [_asked(file, number, record) for number, record in islice(read_jsonl(file), limit)]
    else:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"--file {str(file)!r} is not text in UTF-8 ({error})", field="file") from None
        asked = [line.strip() for line in lines if line.strip()][:limit]
    if not asked:
        raise InputError(f"--file {str(file)!r} holds no question", field="file")
    return asked


def _asked(file: Path, number: int, record: dict[str, Any]) -> str:
    text = record.get("text", record.get("question"))
    if isinstance(text, str) and text.strip():
        return text
    raise InputError(f'{file}, line {number}: expected {{"text": "..."}} or {{"question": "..."}}', field="file")


def _as_json(answer: "AgentAnswer") -> dict[str, Any]:
    pending = asdict(answer.pending) if answer.pending else None
    return {
        "thread_id": answer.thread_id,
        "agent_type": answer.agent_type,
        **asdict(answer.response),
        "pending": pending,
    }


def _show(answer: "AgentAnswer") -> None:
    response = answer.response
    out = type(console)()
    out.print(Markdown(answer.answer))
    table = Table("", "source", "page", "score", title_justify="left", box=None, header_style="dim")
    table.columns[1].overflow = "fold"
    cited = {citation.marker for citation in response.citations}
    for number, source in enumerate(response.sources, start=1):
        place = source.uri + (f"  ({source.headings[-1][:60]})" if source.headings else "")
        marker = f"\\[{number}]" if number in cited else f" {number} "
        table.add_row(marker, place, str(source.page or ""), f"{source.score:.2f}")
    out.print(table)
    spent = ", ".join(f"{name.removesuffix('_ms')} {value:.0f} ms" for name, value in response.timings.items())
    console.print(
        f"[dim]model {response.model}, confidence {response.confidence:.2f}, {spent}; thread {answer.thread_id}[/]",
        highlight=False,
    )
    if answer.pending:
        console.print(f"[dim]answer with: ragents query --thread {answer.thread_id} --resume '...'[/]", highlight=False)
    for note in response.notes:
        console.print(f"[dim]note: {note}[/]")


def _times(answers: Sequence["AgentAnswer"]) -> Table:
    table = Table("stage", "median ms", "p95 ms", "max ms", title=f"{len(answers)} questions", box=None)
    for stage in STAGES:
        values = sorted(a.response.timings[stage] for a in answers if stage in a.response.timings)
        if values:
            p95 = values[min(len(values) - 1, int(len(values) * 0.95))]
            table.add_row(stage, f"{statistics.median(values):.1f}", f"{p95:.1f}", f"{values[-1]:.1f}")
    return table
