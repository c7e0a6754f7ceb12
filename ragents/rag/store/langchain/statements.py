"""The statements of queries.sql, and what both sides call a collection."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg

from ragents.postgres.queries import load_queries

SQL = load_queries(Path(__file__).with_name("queries.sql"))

Transactions = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]
"""A transaction as a tenant."""


def scope_of(tenant: str, collection_id: int) -> str:
    return hashlib.sha256(f"{collection_id} {tenant}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
