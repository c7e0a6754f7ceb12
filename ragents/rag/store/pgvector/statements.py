"""The statements of queries.sql, by name."""

from pathlib import Path

from ragents.postgres.queries import load_queries

SQL = load_queries(Path(__file__).with_name("queries.sql"))
