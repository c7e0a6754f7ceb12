"""Settings of logs and traces. Nothing leaves the process until an address is set."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ragents.config.base import Config
from ragents.tracing import Content

OTLP_PATH = "/v1/traces"
OPIK_PATH = "/api"
OPIK_CLOUD = "https://www.comet.com/opik/api"


class OtlpConfig(Config):
    """Where spans go as OTLP over HTTP: Jaeger, Tempo, Phoenix, LangSmith, a collector."""

    endpoint: str | None = Field(default=None, description=f"http://HOST:4318; {OTLP_PATH} is added where it lacks")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="keys of a hosted service")
    sample_rate: float = Field(default=1.0, ge=0, le=1, description="share of the questions")

    @field_validator("headers", mode="before")
    @classmethod
    def _names_from_the_environment(cls, headers: object) -> object:
        """RAGENTS_OBSERVABILITY__OTLP__HEADERS__X_API_KEY: variables have no dashes, and headers no underscores."""
        return {str(k).replace("_", "-"): v for k, v in headers.items()} if isinstance(headers, dict) else headers

    @field_validator("headers")
    @classmethod
    def _fit_into_a_request(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not (name.isascii() and name.replace("-", "").isalnum() and _printable(value)):
                raise ValueError(f"header {name!r} has characters that no header may have (a line break?); correct it")
        return headers

    @field_validator("endpoint")
    @classmethod
    def _whole_address(cls, endpoint: str | None) -> str | None:
        return None if endpoint is None else _address(endpoint, OTLP_PATH)


class OpikConfig(Config):
    """Where questions go as Opik's traces. `url` alone: a server of one's own; `api_key` alone: Comet's."""

    url: str | None = Field(default=None, description=f"http://HOST:5173; {OPIK_PATH} is added where it lacks")
    api_key: SecretStr | None = None
    workspace: str = "default"
    project: str = Field(default="ragents", min_length=1)
    sample_rate: float = Field(default=1.0, ge=0, le=1, description="share of the questions")

    @field_validator("url")
    @classmethod
    def _whole_address(cls, url: str | None) -> str | None:
        return None if url is None else _address(url, OPIK_PATH)

    @property
    def address(self) -> str | None:
        """None: Opik is off."""
        return self.url or (OPIK_CLOUD if self.api_key else None)


class ObservabilityConfig(Config):
    """Logs go to stderr. The words of questions and answers are in logs and traces only where it is asked for."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: json in an image, text elsewhere"
    )
    log_content: bool = Field(default=False, description="each question in a line of its own")
    access_log: bool = False
    backup_stamp: Path | None = Field(
        default=None, description="a file that the backup touches when it has succeeded; its age is a metric"
    )
    trace_content: Content = Field(default="off", description="words in spans: off, keyed hashes, or full")
    trace_hash_key: SecretStr | None = Field(
        default=None, description="for trace_content: hash; None: a new one per process"
    )
    max_queued_spans: int = Field(
        default=4096, ge=1, le=1_000_000, description="for each destination; then spans are dropped"
    )
    export_timeout_s: float = Field(default=5.0, gt=0, le=60, description="of one request with spans")
    otlp: OtlpConfig = Field(default_factory=OtlpConfig)
    opik: OpikConfig = Field(default_factory=OpikConfig)

    @field_validator("trace_content", mode="before")
    @classmethod
    def _off_in_yaml(cls, content: object) -> object:
        """YAML reads a bare `off` as false."""
        return "off" if content is False else content

    @model_validator(mode="after")
    def _a_hash_key_is_long(self) -> Self:
        if self.trace_hash_key is not None and len(self.trace_hash_key.get_secret_value()) < 16:
            raise ValueError("trace_hash_key is shorter than 16 characters: its hashes could be guessed; set another")
        return self


def _printable(value: SecretStr) -> bool:
    return value.get_secret_value().isascii() and value.get_secret_value().isprintable()


def _address(url: str, path: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address; expected http://HOST:PORT or https://...")
    bare = url.rstrip("/")
    return bare if bare.endswith(path) else bare + path
