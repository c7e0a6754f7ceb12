"""A step of an agent's graph, seen as a span."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from langgraph.errors import GraphBubbleUp

from ragents.tracing import span

P = ParamSpec("P")
T = TypeVar("T")


def step(name: str, node: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`node`, for `add_node`: LangGraph reads the signature, which stays. An agent that asks back has not failed."""

    @wraps(node)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        asking: GraphBubbleUp | None = None
        with span(f"step {name}", {"ragents.step": name}) as opened:
            try:
                return await node(*args, **kwargs)
            except GraphBubbleUp as error:
                opened.set_attribute("ragents.interrupted", True)
                asking = error
        raise asking

    return run
