"""What every command shares: where output goes, how errors end the process, how an App is opened."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from ragents.errors import BackendUnavailable, ConfigError, InputError, RAGentsError
from ragents.principal import Principal

if TYPE_CHECKING:
    from ragents.deployment.config import ServiceConfig

T = TypeVar("T")

MAX_NAME = 200
EXIT_FAILED, EXIT_USAGE, EXIT_PARTIAL, EXIT_UNAVAILABLE, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else RAGENTS_CONFIG, else ./configuration.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines on stdout.")]


def _checked_collection(collection: str | None) -> str | None:
    if collection is not None and not (collection.strip() and collection.isprintable() and len(collection) <= MAX_NAME):
        raise typer.BadParameter(f"{collection[:80]!r}: expected 1 to {MAX_NAME} printable characters")
    return collection


CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection", "-c", help="Collection; else rag.collection of the settings.", callback=_checked_collection
    ),
]


def _checked_tenant(tenant: str) -> str:
    if not tenant.strip() or len(tenant) > MAX_NAME:
        raise typer.BadParameter(f"expected 1 to {MAX_NAME} characters, not all of them blanks")
    return tenant


TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant whose data is meant.", callback=_checked_tenant)]

console = Console(stderr=True)
"""Progress and messages. stdout carries results only, so that it can be piped."""


def settings(path: Path | None) -> "ServiceConfig":
    from ragents.config import load_settings
    from ragents.deployment.config import ServiceConfig

    return load_settings(ServiceConfig, path=path)


def check_models(config: "ServiceConfig") -> None:
    """Make the language models as the service does, and ask them nothing. ConfigError, MissingExtra."""
    from ragents.llm import create_named_model

    for at, each in config.llm.in_order:
        if each.provider != "extractive":  # which the settings alone cannot get wrong
            create_named_model(each, at=at)


async def check_redis(config: "ServiceConfig") -> list[str]:
    """Make the clients of Redis as the service does, and connect none. The settings that name one; ConfigError."""
    named = []
    if config.cache.backend == "redis":
        from ragents.rag.cache import get_cache

        await get_cache(config.cache).close()
        named.append("cache.redis_url")
    if config.checkpoint.backend == "redis":
        from ragents.agents.checkpointing.redis.opening import create_client

        await create_client(config.checkpoint).aclose()
        named.append("checkpoint.redis_url")
    if config.rate_limit.redis_url is not None:
        from ragents.deployment.rate_limiting.redis import open_server

        async with open_server(config.rate_limit):
            named.append("rate_limit.redis_url")
    return named


def operator(tenant: str) -> Principal:
    """Whoever runs the command line on this machine may do everything within the tenant that is named."""
    return Principal(tenant=tenant, user="operator", role="admin")


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command. What RAGents raises on purpose becomes one clear line and an exit status."""
    try:
        return asyncio.run(main)
    except RAGentsError as error:
        fail(error)
    except KeyboardInterrupt:
        console.print("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def fail(error: RAGentsError) -> NoReturn:
    console.print(f"[bold red]error:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True)
    match error:
        case ConfigError() | InputError():
            status = EXIT_USAGE
        case BackendUnavailable():
            status = EXIT_UNAVAILABLE
        case _:
            status = EXIT_FAILED
    raise typer.Exit(status) from None


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
