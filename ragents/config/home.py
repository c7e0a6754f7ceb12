"""The directory that holds everything RAGents writes on this machine."""

import os
from pathlib import Path

import platformdirs


def data_home() -> Path:
    """`RAGENTS_HOME`, or the user's data directory. Not created here."""
    if home := os.environ.get("RAGENTS_HOME"):
        return Path(home).expanduser().absolute()
    return Path(platformdirs.user_data_dir("ragents"))


def in_image() -> bool:
    """Whether this process runs in a container image, where data beside the process would be lost with it."""
    return any(os.environ.get(name, "").lower() == "true" for name in ("RAGENTS_IMAGE", "BENTOML_CONTAINERIZED"))
