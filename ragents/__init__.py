"""RAGents: LangGraph agents over a RAG engine, hosted by BentoML."""

import os

# onnxruntime 1.29 and later tells its maker about each process, unless this is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
