"""What a thread's state tells of its turns."""

import hashlib
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.types import Interrupt, StateSnapshot
from pydantic import TypeAdapter

from ragents.agents.types import Pending
from ragents.errors import Conflict
from ragents.rag.types import RAGResponse

RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)
CUT_OFF = "(This turn was cut off and has no answer.)"


def pending_of(interrupts: Sequence[Interrupt]) -> Pending | None:
    """What the agent has asked, if it has."""
    if not interrupts:
        return None
    match interrupts[0].value:
        case {"question": str(question), "missing": [*missing]}:
            return Pending(question, tuple(str(name) for name in missing))
        case other:
            return Pending(str(other))


def asked_with(snapshot: StateSnapshot, turn_id: str) -> str | None:
    """The question of a turn that the thread has; None for a turn it has not."""
    messages: list[BaseMessage] = snapshot.values.get("messages", [])
    return next((str(message.content) for message in messages if message.id == turn_id), None)


def told_again(snapshot: StateSnapshot, turn_id: str) -> RAGResponse | None:
    """The answer of a turn that the thread has already, for a client that asks again; None for a turn it has not."""
    messages: list[BaseMessage] = snapshot.values.get("messages", [])
    at = next((n for n, message in enumerate(messages) if message.id == turn_id), None)
    if at is None:
        return None
    later = next((n for n in range(at + 1, len(messages)) if messages[n].type == "human"), len(messages))
    answers = [message for message in messages[at + 1 : later] if isinstance(message, AIMessage)]
    if not answers or answers[-1].text == CUT_OFF:
        raise Conflict("this turn was cut off by a later question on the thread; ask it with a new Idempotency-Key")
    if later == len(messages) and snapshot.values.get("response"):
        return RESPONSE.validate_python(snapshot.values["response"])
    note = "told again: an earlier turn of the thread, without its sources"
    return RAGResponse(str(messages[at].content), answer=answers[-1].text, notes=(note,))


def history_digest(messages: Sequence[BaseMessage]) -> str:
    """Equal for equal conversations; "" for none."""
    if not messages:
        return ""
    digest = hashlib.sha256()
    for message in messages:
        for part in (message.type, str(message.content)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
