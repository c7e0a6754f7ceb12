"""What every room on Postgres needs: bounded connections, migrations, statements in files."""

from ragents.postgres.connections import Connections, PoolUse, open_connections
from ragents.postgres.migrations import Migration, load_migrations

__all__ = ["Connections", "Migration", "PoolUse", "load_migrations", "open_connections"]
