"""What another prompt, description of a tool, rule or query has made is never found again, though nobody says so."""

import shutil
from pathlib import Path

import pytest

from ragents.agents.langgraph import REWRITE_PROMPT
from ragents.rag.cache import CacheScope, types
from ragents.rag.cache.version import PACKAGE, code_version, digest_of
from ragents.rag.prompt import SYSTEM_PROMPT

TALKING = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob("*.py")
    if any(word in path.read_text("utf-8") for word in ("SystemMessage(", "HumanMessage(", "PROMPT =", "create_tool("))
)
"""Files whose words reach a model."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("installed") / "ragents"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def test_the_files_that_talk_to_a_model_are_known() -> None:
    """Or the next test would look at none."""
    names = {path.as_posix() for path in TALKING}
    assert names >= {
        "rag/prompt.py",
        "rag/query/planning.py",
        "llm/passages.py",
        "agents/langgraph.py",
        "agents/grading.py",
        "agents/claims.py",
        "agents/react/messages.py",
        "agents/logical/form.py",
        "agents/tools/builtin.py",
    }
    for words, name in ((SYSTEM_PROMPT, "rag/prompt.py"), (REWRITE_PROMPT, "agents/langgraph.py")):
        assert words[:60] in (PACKAGE / name).read_text("utf-8")


@pytest.mark.parametrize("name", TALKING, ids=str)
def test_a_word_changed_where_a_model_is_talked_to_is_another_version(name: Path, package: Path) -> None:
    before, text = digest_of(package), (package / name).read_text("utf-8")
    (package / name).write_text(text.replace("answer", "reply") if "answer" in text else f"{text}\n", "utf-8")
    assert digest_of(package) != before
    (package / name).write_text(text, "utf-8")
    assert digest_of(package) == before


def test_so_is_another_query_and_a_file_that_is_new_gone_or_renamed(package: Path) -> None:
    seen = [digest_of(package)]
    query = next(package.rglob("*.sql"))
    query.write_text(query.read_text() + "-- and more\n")
    seen.append(digest_of(package))
    (package / "new.py").write_text("")
    seen.append(digest_of(package))
    (package / "new.py").rename(package / "other.py")
    seen.append(digest_of(package))
    assert len(set(seen)) == 4


def test_an_installed_copy_has_the_same_version_wherever_it_stands(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "elsewhere")  # with what Python has compiled
    assert digest_of(tmp_path / "elsewhere") == code_version()


def test_the_version_is_in_every_key_that_a_scope_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CacheScope().key("answer", "q")
    monkeypatch.setattr(types, "code_version", lambda: "another")
    assert CacheScope().key("answer", "q") != before
