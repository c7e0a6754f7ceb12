"""ragents reembed: what it says, and its exit statuses."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragents.cli.main import cli
from ragents.embeddings.hashing import HashingEmbedder
from ragents.ingestion import ingest
from ragents.principal import Principal
from ragents.rag.store import StoreConfig, open_store

RUNNER = CliRunner()


@pytest.fixture
def tenant(migrated: str, postgres: str, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a collection of another model than the settings'."""
    (tmp_path / "a.md").write_text("# Alpha\n\nThe alpha text.\n")

    async def prepare() -> None:
        async with open_store(StoreConfig(), dsn=migrated) as store:
            await ingest([tmp_path], store=store, embedder=HashingEmbedder(dimension=64), principal=principal)

    asyncio.run(prepare())
    for name, value in {
        "RAGENTS_STORE__DSN": migrated,
        "RAGENTS_STORE__MIGRATE_DSN": postgres,
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_CHECKPOINT__BACKEND": "memory",
    }.items():
        monkeypatch.setenv(name, value)
    return principal.tenant


def test_an_unknown_collection_is_one_line_and_a_status(tenant: str) -> None:
    result = RUNNER.invoke(cli, ["reembed", "--tenant", tenant, "-c", "nowhere"])
    assert (result.exit_code, "no collection 'nowhere'" in result.output) == (1, True)


def test_documents_of_the_new_model_are_told_what_to_do_and_taken_after_it(tenant: str, tmp_path: Path) -> None:
    refused = RUNNER.invoke(cli, ["ingest", str(tmp_path), "--tenant", tenant])
    assert (refused.exit_code, "ragents reembed" in refused.output) == (1, True)
    moved = RUNNER.invoke(cli, ["reembed", "--tenant", tenant, "--json"])
    report = json.loads(moved.stdout)
    assert (report["before"], report["model"], report["embedded"]) == ("hashing-64", "hashing-384", 1)
    assert RUNNER.invoke(cli, ["ingest", str(tmp_path), "--tenant", tenant]).exit_code == 0
    again = RUNNER.invoke(cli, ["reembed", "--tenant", tenant])
    assert (again.exit_code, "nothing to do" in again.output) == (1, True)
