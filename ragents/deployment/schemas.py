"""What comes in and goes out over HTTP."""

from typing import Annotated, Any

from bentoml import IODescriptor
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from starlette.requests import Request

from ragents.deployment.parsing import parse
from ragents.deployment.rate_limiting.types import Priority
from ragents.errors import RAGentsError
from ragents.llm.types import Ending
from ragents.rag.filters import parse_filters
from ragents.rag.types import Scalar

ThreadId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MAX_FILTERS = 20


class ApiRequest(IODescriptor):
    """The body of a POST route. Unknown fields are refused.

    BentoML would log a trace for a client's mistake and answer in its own shape, so the body is read here; a mistake is
    handed on to the endpoint in place of the request.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Any:  # noqa: ARG003  # BentoML's signature
        try:
            return parse(cls, request.headers.get("content-type", ""), await request.body())
        except RAGentsError as error:
            return error


class Asking(ApiRequest):
    """What every way of asking takes."""

    query: str = Field(description="the question")
    agent_type: str = "simple"
    thread_id: ThreadId | None = Field(default=None, description="go on with this conversation")
    filters: dict[str, Scalar | dict[str, Scalar | list[Scalar]]] | None = Field(
        default=None,
        description='what a document\'s metadata must be: a value, or {"in": [...]}, {"ne": x}, {"exists": true}, '
        '{"gt" | "gte" | "lt" | "lte": x}; all must hold',
    )
    use_cache: bool = True
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)

    @field_validator("query")
    @classmethod
    def _query_is_not_empty(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("it is empty; ask a question")
        return query

    @field_validator("filters", mode="before")
    @classmethod
    def _filters_can_be_asked(cls, filters: object) -> object:
        if isinstance(filters, dict):
            if len(filters) > MAX_FILTERS:
                raise ValueError(f"filters has {len(filters)} keys; at most {MAX_FILTERS} are taken")
            parse_filters(filters)  # its InputError names key and remedy, and passes through pydantic as it is
        return filters


class QueryRequest(Asking):
    """POST /query"""

    collection: Name | None = None
    top_k: int | None = Field(default=None, ge=1, le=50)


class TableQueryRequest(Asking):
    """POST /api/v1/query: the published shape; `table_name` is the collection."""

    table_name: Name | None = None
    top_k: int = Field(default=4, ge=1, le=20)


class ResumeRequest(ApiRequest):
    """POST /threads/{thread_id}/resume: the answer to what the agent asked; none to go on with a turn cut off."""

    answer: str | None = Field(default=None, min_length=1)


class BatchRequest(ApiRequest):
    """POST /query/batch. Each item is read on its own, so that one mistake spoils one item."""

    requests: list[dict[str, Any]] = Field(min_length=1)


class ClearRequest(ApiRequest):
    """POST /cache/clear; without `layer` all of them."""

    layer: str | None = None


class FeedbackRequest(ApiRequest):
    """POST /feedback: `request_id` is that of the answer, `score` from 0 (bad) to 1 (good)."""

    request_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
    score: Annotated[float, Field(ge=0, le=1, strict=False)]
    comment: Annotated[str, StringConstraints(max_length=2_000)] | None = None

    @field_validator("score", mode="before")
    @classmethod
    def _a_score_is_a_number(cls, score: object) -> object:
        if isinstance(score, bool | str):
            raise ValueError("expected a number from 0 to 1")  # noqa: TRY004  # pydantic wants ValueError
        return score


class SourceOut(BaseModel):
    id: str
    document_id: str
    title: str
    uri: str
    page: int | None
    headings: list[str]
    text: str
    score: float
    metadata: dict[str, Any]


class CitationOut(BaseModel):
    marker: int
    source_id: str
    quote: str


class UsageOut(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    estimated: bool = Field(default=False, description="a model did not count, and its tokens are estimated")


class TimingsOut(BaseModel):
    queue_ms: float = 0.0
    embed_ms: float = 0.0
    retrieve_ms: float = 0.0
    rerank_ms: float = 0.0
    generate_ms: float = 0.0


class PendingOut(BaseModel):
    question: str
    missing: list[str]


class Answered(BaseModel):
    """What every answer carries."""

    answer: str
    sources: list[SourceOut]
    citations: list[CitationOut]
    thread_id: str
    agent_type: str
    confidence: float
    cache_age_s: float | None = Field(default=None, description="how old an answer from the cache is")
    cache_similarity: float | None = Field(
        default=None, description="of the question that a semantic hit was stored for, to this one"
    )
    model: str
    usage: UsageOut
    timings: TimingsOut
    latency_ms: float
    request_id: str
    notes: list[str]
    finish_reason: Ending = Field(default="stop", description="length, content_filter: the answer is cut short")
    pending: PendingOut | None = Field(description="what the agent asks back; answer with POST /threads/{id}/resume")


class QueryResponse(Answered):
    cached: str | None = Field(description='null, "answer" or "semantic"')


class StreamedResponse(QueryResponse):
    """The event "done" of POST /query/stream."""

    retracted: list[str] = Field(description="sentences that came as tokens and did not stand up to the last check")


class TableQueryResponse(Answered):
    cached: bool
    cache_layer: str | None


class ErrorOut(BaseModel):
    """`retry_after_s`: when asking again may help, in whole seconds."""

    error: str
    code: str
    retry_after_s: int | None = None


class BatchResponse(BaseModel):
    """Results in the order of the requests, each an answer or an error."""

    results: list[QueryResponse | ErrorOut]
    latency_ms: float
    request_id: str


class FeedbackResponse(BaseModel):
    taken: bool
    forwarded: bool = Field(description="whether Opik has it; without Opik it is counted and logged alone")
    answers: int = Field(description="that were scored: a batch has several")
    note: str | None
    request_id: str


class ClearResponse(BaseModel):
    removed: dict[str, int]
    request_id: str
