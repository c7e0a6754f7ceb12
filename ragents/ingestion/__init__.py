"""From files to the store."""

from ragents.ingestion.pipeline import ingest
from ragents.ingestion.types import Failure, IngestReport, OnProgress, Outcome, Progress

__all__ = ["Failure", "IngestReport", "OnProgress", "Outcome", "Progress", "ingest"]
