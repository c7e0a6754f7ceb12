"""A neighbour whose name nobody answers does not keep the others from being found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMELESS = """
mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/hosts" /etc/hosts && exec "$2" -c "$3"
"""
LOOK_UP = """
import asyncio, os, socket, time

silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.53.53.53", 53))  # takes every question of DNS and answers none
import service  # for what it sets
import uvloop

async def find(name, timeout_s):
    try:
        await asyncio.wait_for(asyncio.open_connection(name, 1), timeout_s)
    except OSError:
        pass

async def main():
    slowest = 0.0
    for _ in range(10):
        await asyncio.gather(*(find(f"redis{n}.nowhere.test", 0.05) for n in range(3)), return_exceptions=True)
        began = time.monotonic()
        await find("postgres.test", 30)
        slowest = max(slowest, time.monotonic() - began)
    print(slowest, flush=True)
    os._exit(0)  # without waiting for the names

uvloop.run(main())
"""

pytestmark = pytest.mark.deploy


def test_names_that_no_dns_server_answers_hold_up_no_other(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.53.53.53\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost postgres.test\n")
    command = ["unshare", "--mount", "sh", "-c", NAMELESS, "sh"]
    environment = {name: value for name, value in os.environ.items() if name != "UV_THREADPOOL_SIZE"}
    found = subprocess.run(
        [*command, str(tmp_path), sys.executable, LOOK_UP],
        check=False,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 3
