"""The base of every config class."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen; a key that does not exist, and a number that is none (.inf, .nan), is refused instead of ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )
