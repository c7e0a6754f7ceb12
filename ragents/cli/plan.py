"""ragents plan: how large an installation has to be, and what it costs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ragents.cli.output import JsonOption, fail, print_json
from ragents.errors import ConfigError, InputError, RAGentsError
from ragents.planning.types import MAX_CHUNKS, MAX_QUESTIONS_PER_DAY, MAX_USERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ragents.planning import Assumption, Plan, Workload
    from ragents.planning.types import Model

QUESTIONS_OF_A_USER = 20


def plan(
    users: Annotated[int, typer.Option(min=1, max=MAX_USERS, help="People who ask.")],
    questions_per_day: Annotated[
        float | None,
        typer.Option(
            min=0, max=MAX_QUESTIONS_PER_DAY, help=f"Of all users together; else {QUESTIONS_OF_A_USER} of each."
        ),
    ] = None,
    chunks: Annotated[
        int | None, typer.Option(min=0, max=MAX_CHUNKS, help="What is searched; or give --documents.")
    ] = None,
    documents: Annotated[
        int | None, typer.Option(min=0, max=MAX_CHUNKS, help="Files; chunks_per_document makes chunks of them.")
    ] = None,
    hit_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of the questions that the cache answers.")] = 0.0,
    model: Annotated[str, typer.Option(help="extractive, api (priced by tokens) or gpu (a vLLM of your own).")] = "api",
    assume: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE instead of an assumption; again for another one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sizes and costs from users, questions and documents, with the arithmetic and every assumption."""
    from ragents import planning

    try:
        assumptions = planning.assume(assume or [])
        workload = planning.Workload(
            users=users,
            questions_per_day=users * QUESTIONS_OF_A_USER if questions_per_day is None else questions_per_day,
            chunks=_chunks(chunks, documents, assumptions),
            hit_rate=hit_rate,
            model=_model(model),
        )
    except InputError as error:  # a product, such as --documents x chunks_per_document, or NaN
        flag = "documents" if error.field == "chunks" and chunks is None else error.field or "users"
        fail(ConfigError(f"--{flag.replace('_', '-')}: {error}"))
    except RAGentsError as error:
        fail(error)
    found = planning.plan(workload, assumptions)
    if as_json:
        print_json(_as_json(workload, found, assumptions))
        return
    _show(workload, found, assumptions)


def _chunks(chunks: int | None, documents: int | None, assumptions: "Mapping[str, Assumption]") -> int:
    if (chunks is None) == (documents is None):
        raise ConfigError("give --chunks or --documents, one of them")
    if chunks is not None:
        return chunks
    each = assumptions["chunks_per_document"].value
    return round((documents or 0) * (each or 0))


def _model(name: str) -> "Model":
    match name:
        case "extractive" | "api" | "gpu":
            return name
        case _:
            raise ConfigError(f"--model {name!r}: expected extractive, api or gpu")


def _as_json(workload: "Workload", found: "Plan", assumptions: "Mapping[str, Assumption]") -> dict[str, object]:
    return {
        "workload": asdict(workload),
        **asdict(found),
        "assumptions": [asdict(assumption) for assumption in assumptions.values()],
    }


def _show(workload: "Workload", found: "Plan", assumptions: "Mapping[str, Assumption]") -> None:
    out = Console()
    out.print(
        f"{workload.users} users, {workload.questions_per_day:g} questions a day, {workload.chunks} chunks, "
        f"{workload.hit_rate:.0%} from the cache, model: {workload.model}",
        highlight=False,
    )
    sizes = Table("", "", "", "arithmetic", box=None, header_style="dim", pad_edge=False)
    section = ""
    for line in found.lines:
        value = line.value if isinstance(line.value, str) else f"{line.value:,.4g}"
        head = "" if line.section == section else line.section
        sizes.add_row(f"[bold]{head}[/]", line.name, f"{value} {line.unit}".strip(), f"[dim]{line.how}[/]")
        section = line.section
    out.print(sizes)
    _show_cost(out, found)
    for advice in found.advice:
        out.print(f"* {advice}", highlight=False)
    table = Table("assumption", "value", "origin", "source", title="assumed (--assume NAME=VALUE)", box=None)
    table.title_justify, table.header_style, table.pad_edge = "left", "dim", False
    for each in assumptions.values():
        value = "?" if each.value is None else f"{each.value:,.10g}"
        table.add_row(each.name, f"{value} {each.unit}".strip(), each.origin, each.source)
    out.print(table)


def _show_cost(out: Console, found: "Plan") -> None:
    if found.monthly_cost is None:
        lines = ["a month costs what your prices make of:", *(f"  {each}" for each in found.unpriced)]
    else:
        each = "" if found.cost_per_question is None else f", {found.cost_per_question:.4g} a question"
        lines = [f"a month costs {found.monthly_cost:,.2f}{each}, by your prices"]
    for line in lines:
        out.print(line, highlight=False)
