"""What an ingestion is told and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ragents.rag.store.types import Upserted

Outcome = Literal["created", "replaced", "unchanged", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is one of errors.DocumentReason, or the code of another error."""

    uri: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One more document is done. `files_done` never falls; `files` is known from the start."""

    files: int
    files_done: int
    chunks: int
    uri: str
    outcome: Outcome


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class IngestReport:
    """Counts of documents by outcome, and what could not be taken. `stage_s` sums the seconds of each stage's work."""

    files: int = 0
    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    chunks: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """extension -> files of a kind that is not taken"""
    stage_s: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "embed": 0.0, "store": 0.0})

    @property
    def documents(self) -> int:
        return self.created + self.replaced + self.unchanged

    def count(self, stored: Upserted) -> None:
        match stored.outcome:
            case "created":
                self.created += 1
            case "replaced":
                self.replaced += 1
            case "unchanged":
                self.unchanged += 1
        if stored.outcome != "unchanged":
            self.chunks += stored.chunks
