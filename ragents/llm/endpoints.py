"""A model under its name, at one or more replicas, and which of them is asked next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

from ragents.llm.breaker import Breaker
from ragents.llm.failures import CircuitOpen, blames_the_request, reason_of
from ragents.llm.types import Price


@dataclass(eq=False)
class Replica:
    """`in_flight`: calls of this process that it has not answered yet. `failed`: why the last one that did failed."""

    model: BaseChatModel
    breaker: Breaker
    in_flight: int = 0
    failed: str = ""

    @contextmanager
    def call(self) -> Iterator[BaseChatModel]:
        """Counts the call, and tells the breaker how it ended."""
        self.breaker.begin()
        self.in_flight += 1
        try:
            yield self.model
        except Exception as error:
            if blames_the_request(error):
                self.breaker.abandoned()
            else:
                self.failed = reason_of(error)
                self.breaker.failed()
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        else:
            self.breaker.succeeded()
        finally:
            self.in_flight -= 1


@dataclass(eq=False)
class NamedModel:
    """A chat model under the name that answers report.

    `timeout_s` is for one call, `max_retries` how often it is made again. `context_tokens` is the window, of which an
    answer takes `answer_tokens` at most when the caller says nothing else. `body`: fields of the request that OpenAI
    has no name for; `salt` makes one more of them, `structured` another. `takes_headers`: a call may bring some, so
    that the server's spans join the question's. `tells_its_end`: a stream of its is whole only with a finish_reason.
    `fingerprint`: of the settings.
    """

    name: str
    model: BaseChatModel
    timeout_s: float = 60.0
    first_token_timeout_s: float | None = None
    max_retries: int = 0
    price: Price | None = None
    context_tokens: int | None = None
    answer_tokens: int = 0
    structured: bool = False
    salt: Callable[[], str] | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    provider: str = ""
    takes_headers: bool = False
    tells_its_end: bool = False
    fingerprint: str = ""
    others: Sequence[BaseChatModel] = ()
    breaker_failures: int = 5
    breaker_reset_s: float = 30.0
    replicas: list[Replica] = field(init=False)

    def __post_init__(self) -> None:
        self.replicas = [
            Replica(model, Breaker(failures=self.breaker_failures, reset_s=self.breaker_reset_s))
            for model in (self.model, *self.others)
        ]

    @property
    def extractive(self) -> bool:
        return self.model._llm_type == "extractive"

    @property
    def left_alone(self) -> bool:
        """Whether every replica has failed lately, so that none is asked now."""
        return not any(each.breaker.lets_through for each in self.replicas)

    def prompt_tokens(self, max_tokens: int | None) -> int | None:
        """What the window leaves for the prompt of an answer of `max_tokens`; None without bound."""
        return None if self.context_tokens is None else self.context_tokens - (max_tokens or self.answer_tokens)

    def arguments(self, *, max_tokens: int | None, schema: type[BaseModel] | None) -> dict[str, Any]:
        """Of one call, beside the messages."""
        arguments: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
        added: dict[str, Any] = {}
        if self.salt is not None:
            added["cache_salt"] = self.salt()
        if schema is not None and self.structured:
            form = {"name": schema.__name__, "schema": schema.model_json_schema()}
            added["response_format"] = {"type": "json_schema", "json_schema": form}
        # Not as an argument of LangChain's own name, which would parse the answer by itself and not stream it.
        if added:
            arguments["extra_body"] = {**self.body, **added}
        return arguments

    def next(self, *, but: Replica | None = None) -> Replica:
        """The one with the fewest calls among those that may be asked; `but` only if there is no other. CircuitOpen."""
        open_to_calls = [each for each in self.replicas if each.breaker.lets_through]
        if not open_to_calls:
            raise CircuitOpen(self.replicas[-1].failed)
        return min(open_to_calls, key=lambda each: (each is but, each.in_flight))
