"""Settings from four places: arguments > environment > YAML file > defaults.

`RAGENTS_LLM__PROVIDER=openai` sets the leaf `llm.provider`; a value is read as YAML, so numbers and lists work, and a
JSON object sets a leaf that has parts: `RAGENTS_LLM__PRICE={"prompt": 1, "completion": 2}`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ragents.errors import ConfigError

PREFIX = "RAGENTS_"
# Read by other parts of the system, not sections of the settings.
OTHER_VARIABLES = frozenset({"RAGENTS_HOME", "RAGENTS_CONFIG", "RAGENTS_IMAGE", "RAGENTS_MODEL_DIR"})
DEFAULT_FILE = "configuration.yaml"

M = TypeVar("M", bound=BaseModel)


def load_settings(
    model: type[M],
    *,
    path: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> M:
    """Read and validate the settings. The file: `path`, else RAGENTS_CONFIG, else ./configuration.yaml if it exists.

    Raises ConfigError that names the place, the key, the value and what to do.
    """
    environ = os.environ if environ is None else environ
    file = _settings_file(path, environ)
    values = _read_yaml(file) if file else {}
    _merge(values, _from_environment(environ))
    _merge(values, dict(arguments or {}))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from None


def _settings_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or (Path(environ["RAGENTS_CONFIG"]) if environ.get("RAGENTS_CONFIG") else None)
    if named is None:
        default = Path(DEFAULT_FILE)
        return default if default.exists() else None
    if not named.exists():
        raise ConfigError(f"settings file {str(named)!r} does not exist; create it or unset RAGENTS_CONFIG")
    return named


class _OneOfEachKey(yaml.SafeLoader):
    """YAML forbids a key twice in one mapping (1.2, 3.2.1.3); PyYAML takes the last and forgets the others."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Here, since later the keys that `<<` brings are among the mapping's own."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if first := lines.get(key.value):
                    problem = f"the key {key.value!r} is there twice, first in line {first}; keep one of them"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                lines[key.value] = key.start_mark.line + 1
        return node


def _read_yaml(file: Path) -> dict[str, Any]:
    if file.is_dir():
        raise ConfigError(f"settings file {str(file)!r} is a directory; name a YAML file")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _OneOfEachKey)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{file}{line}: cannot be read as YAML: {problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected sections such as 'rag:' and 'llm:', found {type(content).__name__}")
    return content


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        *sections, leaf = name.removeprefix(PREFIX).lower().split("__")
        if not sections:
            raise ConfigError(
                f"environment variable {name}: expected RAGENTS_SECTION__KEY, for example RAGENTS_RAG__TOP_K"
            )
        node = values
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"environment variable {name}: {section!r} is set as a whole by another one; keep one"
                )
        node[leaf] = _scalar(text)
    return values


def _scalar(text: str) -> Any:
    """A leaf as YAML reads it, where that keeps every character; a key such as 0123 or 1e5 stays text.

    An object must be JSON: a password that begins with a brace is none.
    """
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if value is None or isinstance(value, bool | list):
        return value
    return value if isinstance(value, int | float) and str(value) == text else text


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(error: ValidationError, file: Path | None) -> str:
    where = f"settings ({file}, environment, arguments)" if file else "settings (environment, arguments)"
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "(root)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; remove it or check its spelling")
        elif problem["type"] == "model_type":
            lines.append(f"{key}: expected keys and values below it, found {type(problem['input']).__name__}")
        elif "password" in key or "key" in key or "dsn" in key:
            lines.append(f"{key}: {problem['msg']}")
        else:
            lines.append(f"{key} = {problem['input']!r}: {problem['msg']}")
    return f"{where}: " + "; ".join(lines)
