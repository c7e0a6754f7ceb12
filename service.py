"""The entry point for BentoML: `bentoml serve` here, and in a bento."""

import os
from pathlib import Path

# In a bento the encoder's weights lie beside this file: nothing is downloaded.
models = Path(__file__).parent / "models"
if models.is_dir():
    os.environ.setdefault("RAGENTS_MODEL_DIR", str(models))

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

from ragents.deployment.bentoml_service import RAGentsService  # noqa: E402  # the variables above come first

__all__ = ["RAGentsService"]
