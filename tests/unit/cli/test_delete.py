"""ragents delete: what it says, and what it leaves in the log."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from ragents.cli.main import cli
from ragents.principal import Principal

RUNNER = CliRunner()


def test_a_document_is_deleted_by_its_uri_and_the_audit_log_says_so(
    migrated: str, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "RAGENTS_STORE__DSN": migrated,
        "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
        "RAGENTS_CHECKPOINT__BACKEND": "memory",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.md").write_text("# Alpha\n\nThe alpha text.\n")
    assert RUNNER.invoke(cli, ["ingest", str(tmp_path / "a.md"), "--tenant", principal.tenant]).exit_code == 0
    deleted = RUNNER.invoke(cli, ["delete", "a.md", "--tenant", principal.tenant, "--json"])
    assert deleted.exit_code == 0, deleted.output

    (line,) = [each for each in deleted.stderr.splitlines() if "ragents.audit" in each]
    assert '"action": "document.delete"' in line

    async def logged() -> list[tuple[str, ...]]:
        connection = await asyncpg.connect(migrated)
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('ragents.tenant', $1, true)", principal.tenant)
                rows = await connection.fetch("SELECT actor, action, target FROM ragents.audit_log")
        finally:
            await connection.close()
        return [tuple(row) for row in rows]

    assert asyncio.run(logged()) == [("operator", "document.delete", json.loads(deleted.stdout)["id"])]
