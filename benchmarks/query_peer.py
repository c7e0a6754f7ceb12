"""LangChain + FastAPI: the same encoder, the same Postgres, the same model behind it. Settings by environment."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langchain_postgres import PGEngine, PGVectorStore
from pydantic import BaseModel

from ragents.embeddings import Embedder, EmbeddingConfig, open_embedder

TABLE = "peer"
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from the passages and cite them by their numbers, such as [1]."),
        ("human", "Passages:\n\n{passages}\n\nQuestion: {question}"),
    ]
)


class Encoder(Embeddings):
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def aembed_query(self, text: str) -> list[float]:
        vector: list[float] = (await self._embedder.embed_query(text)).tolist()
        return vector

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError


class Query(BaseModel):
    query: str


def numbered(found: list[Document]) -> str:
    return "\n\n".join(f"[{n}] {each.page_content}" for n, each in enumerate(found, start=1))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = PGEngine.from_connection_string(url=os.environ["PEER_DSN"])
    async with open_embedder(EmbeddingConfig()) as embedder:
        store = await PGVectorStore.create(engine, Encoder(embedder), table_name=TABLE)
        app.state.retriever = store.as_retriever(search_kwargs={"k": 5})
        llm = ChatOpenAI(model="mock", base_url=os.environ["PEER_LLM"], api_key="none")  # type: ignore[arg-type]
        app.state.chain = PROMPT | llm | StrOutputParser()
        yield
    await engine.close()


app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/query")
async def query(asked: Query) -> dict[str, Any]:
    found = await app.state.retriever.ainvoke(asked.query)
    answer = await app.state.chain.ainvoke({"passages": numbered(found), "question": asked.query})
    return {"answer": answer, "sources": [{"text": each.page_content, "metadata": each.metadata} for each in found]}
