"""API keys: who calls, for which tenant, with which rights."""

from ragents.deployment.keys.audit import Audit, LoggedAudit
from ragents.deployment.keys.gate import Gate
from ragents.deployment.keys.memory import MemoryKeys
from ragents.deployment.keys.types import AuditEntry, AuthConfig, KeyLimits, KeyOwner, KeyStore, StoredKey

__all__ = [
    "Audit",
    "AuditEntry",
    "AuthConfig",
    "Gate",
    "KeyLimits",
    "KeyOwner",
    "KeyStore",
    "LoggedAudit",
    "MemoryKeys",
    "StoredKey",
]
