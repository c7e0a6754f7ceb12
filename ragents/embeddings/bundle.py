"""Copies the encoder's files out of the installed package, so that a bento carries them as plain files.

    python -m ragents.embeddings.bundle models

An image's requirements cannot say "without dependencies", and the package that carries the weights declares torch.
"""

import shutil
import sys
from pathlib import Path

from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings.weights import check_weights, find_model

NEEDED = ("config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json", "1_Pooling/config.json")
OPTIONAL = ("modules.json", "tokenizer_config.json", "config_sentence_transformers.json")


def bundle(destination: Path, *, model: str = DEFAULT_EMBEDDING_MODEL) -> Path:
    """The model's folder under `destination`, complete and checked; what is there already is left alone."""
    source = find_model(model)
    target = destination / model.rpartition("/")[2]
    for name in (*NEEDED, *(each for each in OPTIONAL if (source / each).is_file())):
        if not (target / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            _link(source / name, target / name)
    check_weights(model, target / "model.safetensors")
    return target


def _link(source: Path, target: Path) -> None:
    """A second name for the same bytes where the disk allows it."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.stdout.write(f"{bundle(Path(sys.argv[1]))}\n")
