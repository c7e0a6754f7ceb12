"""The settings that readers are shown are those there are, with the defaults that these have."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from ragents.deployment.config import ServiceConfig

PAGE, OTHER = Path("docs/configuration.md"), Path("docs/semantic-cache.md")


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any, bool]]:
    """Dotted name, default, and whether it is a secret that has none."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from settings_of(type(default), f"{above}{name}.")
        else:
            yield above + (field.alias or name), default, "SecretStr" in str(field.annotation) and default in (None, [])


SETTINGS = list(settings_of(ServiceConfig))


def rows(page: Path, sections: list[str]) -> Iterator[tuple[list[str], str]]:
    """What a name in a table's first column may be short for, and the default beside it."""
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("## ") and page == PAGE:
            sections = line[3:].split(", ")
        if row := re.match(r"\| (`[a-z][^|]+`) \| ([^|]+) \|", line):
            names = re.findall(r"`([^`]+)`", row[1])
            defaults = re.split(r", (?![^\[]*\])", re.sub(r" \(.*?\)|`", "", row[2]))
            above = names[0].rpartition(".")[0]
            for number, name in enumerate(names):
                short_for = [name, f"{above}.{name}", *(f"{section}.{name}" for section in sections)]
                yield short_for, defaults[min(number, len(defaults) - 1)]


def written(default: Any) -> str:
    match default:
        case None | []:
            return "none"
        case SecretStr():
            return default.get_secret_value()
        case tuple():
            return f"[{', '.join(default)}]"
        case bool() | dict():
            return str(default).lower()
        case int() | float():
            return f"{default:.10g}"
    return str(default)


def test_each_setting_is_told_with_its_default() -> None:
    told = [*rows(PAGE, []), *rows(OTHER, ["semantic_cache"])]
    wrong = {}
    for name, default, _ in SETTINGS:
        found = next((text for short_for, text in told if name in short_for), "nothing")
        if found.removesuffix(".0") != written(default):
            wrong[name] = (found, written(default))
    assert wrong == {}


def test_nothing_is_told_of_settings_that_are_not_there() -> None:
    known = {name for name, _, _ in SETTINGS}
    assert [short_for for short_for, _ in rows(PAGE, []) if not known & set(short_for)] == []


def test_the_shipped_file_shows_all_settings_but_secrets() -> None:
    def names(section: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, value in section.items():
            if isinstance(value, dict) and value:
                yield from names(value, f"{above}{name}.")
            else:
                yield above + name

    shown = set(names(yaml.safe_load(Path("configuration.yaml").read_text("utf-8"))))
    assert shown == {name for name, _, secret in SETTINGS if not secret}
