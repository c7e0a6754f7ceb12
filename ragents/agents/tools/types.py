"""The vocabulary of tools: what one is, what it is given, what it gives back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ragents.llm.types import Usage
from ragents.principal import Principal
from ragents.rag.engine import RAGEngine
from ragents.rag.filters import Filters
from ragents.rag.types import Source


@dataclass(frozen=True, slots=True)
class ToolContext:
    """On whose behalf a tool runs. `sources` are those the turn has found so far: sources[0] is passage [1].

    `idempotency_key` is the same each time this call is run, also after a crash: hand it to the system that the tool
    changes.
    """

    principal: Principal
    engine: RAGEngine
    idempotency_key: str
    collection: str | None = None
    filters: Filters = field(default_factory=dict)
    top_k: int | None = None
    use_cache: bool = True
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`sources` are shown to the model as numbered passages below `text`, and may be cited."""

    text: str
    sources: tuple[Source, ...] = ()
    failed: bool = False
    usage: Usage = field(default_factory=Usage)
    """what models took on the way"""
    passing: bool = False
    """it is of this moment: an answer that rests on it is not kept"""


@dataclass(frozen=True, slots=True)
class Tool:
    """`run` takes an instance of `arguments`, hence Any: each tool has a class of its own.

    With `side_effects` a call runs at most once, whatever crashes. `grounds`: whether an answer may rest on its result
    alone (a search that found nothing is no ground).
    """

    name: str
    description: str
    arguments: type[BaseModel]
    run: Callable[[Any, ToolContext], Awaitable[str | ToolResult]]
    side_effects: bool = False
    timeout_s: float = 20.0
    grounds: bool = True
