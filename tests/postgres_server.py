"""A Postgres of the packaged binaries on a TCP port, and the programs that come with it, such as pg_dump."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from ragents.embedded.binaries import ENVIRONMENT, choose_account, demotion, install_for
from tests.ports import free_port

TIMEOUT_S = 120


class PostgresServer:
    """A cluster in `directory` (its parents must be open to other users). `stop` leaves the data, for another start."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.port = free_port()
        self.directory, self.data = directory, directory / "data"
        self.settings = {"max_wal_senders": "4"} | settings
        directory.mkdir(parents=True, exist_ok=True)
        self._account = choose_account(self.data)
        self._install = install_for(self._account)
        if self._account is not None:
            os.chown(directory, self._account.uid, self._account.gid)

    def dsn(self, *, user: str = "postgres", password: str = "", database: str = "postgres") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def program(self, name: str, *arguments: str | Path, **variables: str) -> str:
        """Run one of Postgres' programs in `directory`, as the user of the cluster; what it printed."""
        done = subprocess.run(
            [self._install / "bin" / name, *arguments],
            env=ENVIRONMENT | variables,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            **demotion(self._account),
        )
        if done.returncode != 0:
            raise AssertionError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def create(self) -> "PostgresServer":
        self.program("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        return self

    def start(self) -> "PostgresServer":
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "dynamic_shared_memory_type": "mmap",
            "huge_pages": "off",
        } | self.settings
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = self.directory / "server.log"
        try:
            self.program("pg_ctl", "start", "-w", "-s", "-D", self.data, "-l", log, "-o", options)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-2000:] if log.exists() else ''}") from None
        return self

    def stop(self) -> None:
        with contextlib.suppress(AssertionError):  # it had not been started
            self.program("pg_ctl", "stop", "-w", "-s", "-m", "fast", "-D", self.data)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
