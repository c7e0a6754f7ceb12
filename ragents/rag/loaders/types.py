"""What a loader is given and what it gives."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import Field

from ragents.config.base import Config
from ragents.rag.types import Metadata, TextBlock


class LoadLimits(Config):
    """Beyond them a file is named as too_large instead of filling the memory."""

    max_file_mb: float = Field(default=100, gt=0)
    max_text_characters: int = Field(default=20_000_000, ge=1)
    max_unzipped_mb: float = Field(default=500, gt=0, description="of office and epub files, which are zip archives")
    max_zip_ratio: float = Field(default=500, gt=1, description="unpacked to packed size; more is taken for a bomb")
    timeout_s: float = Field(default=120, gt=0, description="for one document")


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """`blocks` are made while they are read. `digest` stands for the content where one file holds many documents."""

    uri: str
    title: str
    format: str
    blocks: Iterable[TextBlock]
    metadata: Metadata = field(default_factory=dict)
    digest: str | None = None
