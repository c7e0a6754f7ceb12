"""The entry point for BentoML: `bentoml serve` here, and in a bento."""

import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent

# A bento runs the code that it carries, also where another version of the package is installed: for "ragents:latest"
# BentoML first tries to import a module `ragents`, and finds that one.
sys.path.insert(0, str(here))
if (found := sys.modules.get("ragents")) is not None and here not in Path(found.__file__ or "").resolve().parents:
    for name in [each for each in sys.modules if each.partition(".")[0] == "ragents"]:
        del sys.modules[name]

# In a bento the encoder's weights lie beside this file: nothing is downloaded.
models = here / "models"
if models.is_dir():
    os.environ.setdefault("RAGENTS_MODEL_DIR", str(models))

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
# A name that no DNS server answers holds one of libuv's threads for 10 s, also when nobody waits for it any more, and
# half of its 4 may look up names: with that of Redis gone, looking for it kept Postgres from being found for 15 s.
os.environ.setdefault("UV_THREADPOOL_SIZE", "64")

from ragents.deployment.bentoml_service import RAGentsService  # noqa: E402  # what stands above comes first

__all__ = ["RAGentsService"]
