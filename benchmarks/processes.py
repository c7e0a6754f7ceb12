"""CPU time of server processes on this machine."""

import psutil


def cpu_ms(pid: int) -> float:
    """Milliseconds since the process began, in the kernel's steps of 10: sums over many calls are meant."""
    times = psutil.Process(pid).cpu_times()
    return (times.user + times.system) * 1000.0
