"""Which of a thread's state belongs to the turn that is running."""

from collections.abc import Mapping, Sequence
from typing import cast

from langchain_core.messages import BaseMessage

from ragents.agents.langgraph_base import AgentState
from ragents.agents.threads import RESPONSE
from ragents.rag.types import RAGResponse


class TurnState(AgentState, total=False):
    """`response` holds what the turn has found so far. `question_id`, the id of the HumanMessage that began it, tells
    it from the turn before."""

    question_id: str | None


def this_turn(messages: Sequence[BaseMessage]) -> tuple[Sequence[BaseMessage], Sequence[BaseMessage]]:
    """What was said before, and this turn's messages, from its question on."""
    start = next(n for n in reversed(range(len(messages))) if messages[n].type == "human")
    return messages[:start], messages[start:]


def question_of(state: AgentState) -> BaseMessage:
    return this_turn(state["messages"])[1][0]


def found_in(state: AgentState) -> RAGResponse:
    """What this turn has found so far; nothing while `response` is that of the turn before."""
    question = question_of(state)
    if "response" not in state or cast("TurnState", state).get("question_id") != question.id:
        return RAGResponse(str(question.content).strip())
    return RESPONSE.validate_python(state["response"])


def with_ms(timings: Mapping[str, float], stage: str, seconds: float) -> dict[str, float]:
    return {**timings, stage: timings.get(stage, 0.0) + seconds * 1000}
