"""RAGents: LangGraph agents over a RAG engine, hosted by BentoML."""

__version__ = "0.1.0"
