"""The tools that every agent with tools has: search, open a document, calculate."""

from typing import Annotated

from pydantic import Field

from ragents.agents.tools.making import create_tool
from ragents.agents.tools.types import Tool, ToolContext, ToolResult
from ragents.errors import NotFound
from ragents.llm.passages import MARKER
from ragents.rag.filters import matches
from ragents.rag.types import Source

MAX_PASSAGES = 20
OPENED_PASSAGES = 5


def builtin_tools() -> tuple[Tool, ...]:
    return (
        create_tool(search_documents, grounds=False),
        create_tool(open_document, grounds=False),
        create_tool(calculate),
    )


async def search_documents(
    query: Annotated[str, Field(min_length=1, max_length=2_000, description="what to look for, in full words")],
    context: ToolContext,
    top_k: Annotated[int | None, Field(ge=1, le=MAX_PASSAGES, description="how many passages")] = None,
) -> ToolResult:
    """Search the documents. Gives numbered passages, best first; cite them as [n]."""
    found = await context.engine.retrieve(
        query,
        principal=context.principal,
        collection=context.collection,
        top_k=top_k or context.top_k,
        filters=context.filters,
        use_cache=context.use_cache,
    )
    told = f"Passages found: {len(found.sources) or 'none'}."
    return ToolResult(told, found.sources, usage=found.usage, passing=found.passing)


async def open_document(
    document: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2_000,
            description="its uri or id; or the number of a passage, such as [2], to read what stands around it",
        ),
    ],
    context: ToolContext,
    from_position: Annotated[int, Field(ge=0, le=1_000_000, description="the first passage to read, from 0")] = 0,
) -> ToolResult:
    """Read a document's passages in its own order. Gives a few at a time, and says where to go on."""
    passage = _passage(document, context)
    excerpt = await context.engine.store.read_document(
        passage.document_id if passage else await _document_id(document, context),
        principal=context.principal,
        start=from_position,
        around=passage.id if passage and not from_position else None,
        limit=OPENED_PASSAGES,
    )
    read = excerpt.document
    # What a search of this turn could not find, cannot be opened either.
    if read.collection != _collection(context) or not matches(read.metadata, context.filters):
        raise NotFound("document", document)
    if not excerpt.sources:
        return ToolResult(f"{read.uri} has {read.chunks} passages; none from position {excerpt.start} on.")
    end = excerpt.start + len(excerpt.sources)
    more = f"; go on with from_position={end}" if end < read.chunks else "; that is its end"
    return ToolResult(f"{read.uri}: positions {excerpt.start} to {end - 1} of {read.chunks}{more}.", excerpt.sources)


async def calculate(
    expression: Annotated[str, Field(min_length=1, max_length=300, description="such as 15% of 80, or 3 km in miles")],
) -> ToolResult:
    """Calculate exactly: arithmetic, units, dates and comparisons."""
    # Imported here: sympy takes longer to load than most turns take, and most turns calculate nothing.
    from ragents.agents.computation import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        calculate as computed,
    )

    result = await computed(expression)
    return ToolResult("\n".join((f"{expression} = {result.value}", *result.steps)), passing=result.of_today)


def _passage(document: str, context: ToolContext) -> Source | None:
    """The source that "[2]" names. NotFound for a number that no passage of this turn has."""
    marker = MARKER.fullmatch(document.strip())
    if marker is None or not marker[1].isdecimal():
        return None
    if not 1 <= int(marker[1]) <= len(context.sources):
        raise NotFound("passage", document, remedy="search first, then use a number that the search gave")
    return context.sources[int(marker[1]) - 1]


async def _document_id(document: str, context: ToolContext) -> str:
    """A uri's document in the turn's collection; anything else is taken for an id."""
    of_uri = await context.engine.store.documents(
        principal=context.principal, collection=_collection(context), uri=document, limit=1
    )
    return of_uri[0].id if of_uri else document


def _collection(context: ToolContext) -> str:
    return context.collection or context.engine.config.collection
