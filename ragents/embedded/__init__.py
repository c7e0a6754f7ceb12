"""The local Postgres that runs when no DSN is given."""

from ragents.embedded.postgres import open_postgres

__all__ = ["open_postgres"]
