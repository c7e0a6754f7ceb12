"""Who is asking. A Principal goes with every call that reads or writes a tenant's data."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """`tenant` isolates data, `user` owns threads and quotas, `role` opens the admin routes."""

    tenant: str = "default"
    user: str = "anonymous"
    role: Role = "user"


ANONYMOUS = Principal()
