"""Memory and disk, as the process's surroundings bound them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Version 1 writes a number of this size where there is no limit."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes used, and bytes that there are."""

    used: int
    size: int


class ContainerMemory:
    """The memory of the container that this process is in, by its cgroup (version 2 or 1)."""

    def __init__(self, used: Path, limit: Path, stat: Path, inactive: str) -> None:
        self._used, self._limit, self._stat, self._inactive = used, limit, stat, inactive

    def room(self) -> Room | None:
        """None without a limit. Pages of files that the kernel can drop at any time do not count, as in Kubernetes."""
        try:
            limit, used = self._limit.read_text("ascii").strip(), int(self._used.read_text("ascii"))
            inactive = dict(line.split() for line in self._stat.read_text("ascii").splitlines()).get(self._inactive, 0)
        except (OSError, ValueError):
            return None
        if not limit.isdigit() or int(limit) >= UNLIMITED:
            return None
        return Room(max(0, used - int(inactive)), int(limit))


def container_memory(root: Path = CGROUP) -> ContainerMemory | None:
    """None where no limit holds."""
    old = root / "memory"
    for found in (
        ContainerMemory(root / "memory.current", root / "memory.max", root / "memory.stat", "inactive_file"),
        ContainerMemory(
            old / "memory.usage_in_bytes", old / "memory.limit_in_bytes", old / "memory.stat", "total_inactive_file"
        ),
    ):
        if found.room() is not None:
            return found
    return None


def process_memory() -> Room:
    """What this process holds, of the machine's memory."""
    return Room(psutil.Process().memory_info().rss, psutil.virtual_memory().total)


def disk(folder: Path) -> Room | None:
    """Of the file system that the folder is on; what only root may use counts as used. None when it cannot be read."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Room(usage.total - usage.free, usage.total)
