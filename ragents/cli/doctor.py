"""ragents doctor: what this machine and these settings need, found out by trying it."""

import asyncio
import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

import typer
from rich.table import Table

from ragents.cli.output import (
    EXIT_FAILED,
    ConfigOption,
    JsonOption,
    check_models,
    check_redis,
    console,
    print_json,
    run,
    settings,
)
from ragents.config import data_home
from ragents.errors import RAGentsError

if TYPE_CHECKING:
    from ragents.deployment.config import ServiceConfig

NEEDED = ("asyncpg", "bentoml", "langgraph", "onnxruntime", "psycopg", "pydantic", "redis")
MIN_FREE_BYTES, GOOD_FREE_BYTES = 300 * 1024**2, 2 * 1024**3
CHECK_TIMEOUT_S, REACH_TIMEOUT_S = 120.0, 3.0

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check Python, packages, settings, disk, models, Redis, Postgres; say what to do. Ends with 1 when one fails."""
    findings = run(_examine(config))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


async def _examine(path: Path | None) -> list[Finding]:
    findings = [_python(), *_packages(), _disk()]
    try:
        loaded = settings(path)
    except RAGentsError as error:
        return [*findings, Finding("settings", "failed", str(error), "correct the settings, then run doctor again")]
    findings.append(Finding("settings", "ok", _summary(loaded)))
    findings.append(await _language_model(loaded))
    if "redis" in (loaded.cache.backend, loaded.checkpoint.backend) or loaded.rate_limit.redis_url is not None:
        findings.append(await _try("redis", lambda: _redis(loaded)))
    findings.append(await _try("model", lambda: _model(loaded)))
    findings.append(await _try("postgres", lambda: _postgres(loaded)))
    return findings


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{version} ({sys.executable})")


def _packages() -> list[Finding]:
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return [Finding("packages", "failed", f"missing: {', '.join(missing)}", "pip install ragents, or make setup")]
    torch = "torch is installed" if importlib.util.find_spec("torch") else "no torch (not needed)"
    return [Finding("packages", "ok", ", ".join([*found, torch]))]


def _disk() -> Finding:
    home = data_home()
    existing = next(parent for parent in (home, *home.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1024**3:.1f} GB free for {home}"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "failed", found, "free some space, or set RAGENTS_HOME to another disk")
    if free < GOOD_FREE_BYTES:
        return Finding("disk", "warning", found, "large collections will need more")
    return Finding("disk", "ok", found)


def _summary(config: "ServiceConfig") -> str:
    where = (
        "own Postgres (store.dsn)"
        if config.store.dsn
        else "embedded Postgres"
        if config.store.backend != "memory"
        else "memory"
    )
    if config.store.class_:
        where += f" with {config.store.class_}"
    return f"store {where}, cache {config.cache.backend}"


async def _language_model(config: "ServiceConfig") -> Finding:
    """As the service makes it. Its server is looked for, and not asked anything: a question may cost money."""
    try:
        check_models(config)
    except RAGentsError as error:
        return Finding("llm", "failed", str(error), "correct the settings, then run doctor again")
    named = [f"{each.provider}/{each.model_name}" for each in (config.llm, *config.llm.fallbacks)]
    found = ", then ".join(named)
    if unused := [each for each in (config.llm, *config.llm.fallbacks) if each.provider == "extractive"]:
        addresses = [_shown(address) for each in unused for address in each.addresses if address is not None]
        if addresses:
            return Finding(
                "llm",
                "warning",
                f"{found}: the extractive model asks no server, so {', '.join(addresses)} is not used",
                "set llm.provider to openai or vllm, or take base_url out",
            )
    servers = [
        address
        for each in (config.llm, *config.llm.fallbacks)
        if each.provider in ("openai", "vllm")
        for address in each.addresses
        if address is not None
    ]
    away = [told for told in await asyncio.gather(*map(_unreachable, servers)) if told is not None]
    if away:
        return Finding("llm", "warning", f"{found}: {'; '.join(away)}", "start the server, or correct its base_url")
    return Finding("llm", "ok", found)


async def _unreachable(address: str) -> str | None:
    """Why no server answers there; None when one does, whatever it says."""
    import httpx

    try:
        async with httpx.AsyncClient(timeout=REACH_TIMEOUT_S) as client, client.stream("GET", address):
            return None
    except (httpx.TransportError, httpx.InvalidURL, ValueError) as error:  # ValueError: a proxy's address
        return f"{_shown(address)} cannot be reached ({str(error) or type(error).__name__})"


def _shown(address: str) -> str:
    """Without the password it may hold."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def _redis(config: "ServiceConfig") -> Finding:
    """The threads are lost without theirs, so it is asked; the service starts without the others."""
    named = await check_redis(config)
    if config.checkpoint.backend == "redis":
        from ragents.agents.checkpointing.redis.opening import open_redis

        async with open_redis(config.checkpoint):
            named[named.index("checkpoint.redis_url")] += " (reached)"
    return Finding("redis", "ok", ", ".join(named))


async def _model(config: "ServiceConfig") -> Finding:
    from ragents.embeddings import open_embedder

    async with open_embedder(config.embeddings, model=config.rag.embedding_model) as embedder:
        vector = await embedder.embed_query("Is the encoder there?")
        found = f"{embedder.model}, {vector.shape[0]} dimensions, {embedder.max_tokens} tokens a text"
    return Finding("model", "ok", found)


async def _postgres(config: "ServiceConfig") -> Finding:
    if config.store.backend == "memory":
        return Finding("postgres", "warning", "store.backend = 'memory'", "documents are gone when the process ends")
    from ragents.deployment.app import open_database
    from ragents.rag.store import open_store

    async with (
        open_database(config.store) as database,
        open_store(config.store, dsn=database.dsn, migrate_dsn=database.migrate_dsn) as store,
    ):
        await store.ping()
        where = _embedded(database.migrate_dsn) if database.embedded and database.migrate_dsn else ""
    kind = "embedded" if database.embedded else "store.dsn"
    return Finding("postgres", "ok", f"{kind}: reached, pgvector and schema are right{where}")


def _embedded(owner: str) -> str:
    """What pg_dump and psql of the embedded server's own version need, while something keeps it running."""
    from ragents.embedded.binaries import MAJOR_VERSION, find_install

    host = parse_qs(urlsplit(owner).query)["host"][0]
    return f"; Postgres {MAJOR_VERSION}, programs in {find_install() / 'bin'}, socket in {host}"


async def _try(check: str, attempt: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await attempt()
    except RAGentsError as error:
        return Finding(check, "failed", str(error), "see the message; `ragents doctor` again when it is done")
    except TimeoutError:
        return Finding(check, "failed", f"no answer within {CHECK_TIMEOUT_S:g} s", "look for a hanging disk or server")


def _show(findings: list[Finding]) -> None:
    colours: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = Table("check", "", "found", "what to do", box=None, header_style="dim")
    for each in findings:
        table.add_row(each.check, f"[{colours[each.verdict]}]{each.verdict}[/]", each.found, each.remedy)
    console.print(table)
