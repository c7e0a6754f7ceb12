"""The pages lead to each other and leave nothing out: links into nothing; pages, routes and errors not told."""

import re
from pathlib import Path

import pytest

from ragents.deployment.http import STATUS

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "k8s" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def words(page: Path) -> str:
    """Without what is quoted as code."""
    return re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)


def links(page: Path) -> list[tuple[Path, str]]:
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", words(page))
    return [((page.parent / file).resolve() if file else page, anchor) for file, anchor in found]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", words(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    assert [file for file, _ in links(page) if not file.exists()] == []
    assert [(file, anchor) for file, anchor in links(page) if anchor and anchor not in anchors(file)] == []


def test_each_page_can_be_found_from_the_readme() -> None:
    found, coming = set(), [PAGES[0]]
    while coming:
        page = coming.pop()
        if page not in found:
            found.add(page)
            coming += [file for file, _ in links(page) if file.suffix == ".md" and file.exists()]
    assert [page for page in PAGES if page not in found] == []


def test_each_route_is_told() -> None:
    code = "".join((ROOT / "ragents/deployment" / file).read_text() for file in ("routes.py", "bentoml_service.py"))
    paths = {re.sub(r"{\w+}", "{}", path) for path in re.findall(r"(?:Route\(|route=)\"(/[^\"]+)\"", code)}
    told = re.sub(r"{[\w-]+}", "{}", words(ROOT / "docs/http.md"))
    assert len(paths) > 15
    assert {path for path in paths if path not in told} == set()


def test_each_error_of_http_is_told() -> None:
    codes = {each.code for kind, _ in STATUS for each in (kind, *kind.__subclasses__())}
    assert {code for code in codes if f"`{code}`" not in words(ROOT / "docs/http.md")} == set()
