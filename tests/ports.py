"""Ports for servers of the tests."""

import contextlib
import random
import socket

_given: set[int] = set()


def free_port(*, and_above: int = 0) -> int:
    """One that nobody has, and that no outgoing connection gets until a server listens there: those have higher ones.

    Never the same twice in a process. `and_above`: the port so much higher is free too.
    """
    for port in random.SystemRandom().sample(range(15_000, 22_000), 200):
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            if and_above:
                other.bind(("127.0.0.1", port + and_above))
            if port not in _given:
                _given.add(port)
                return port
    raise RuntimeError("no free port")
