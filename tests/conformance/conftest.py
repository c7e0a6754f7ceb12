"""A saver of each backend, plain, compressed and encrypted."""

from collections.abc import AsyncIterator

import pytest

from ragents.agents.checkpointing.base import DurableSaver
from tests.savers import STORES, VARIANTS, Store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param](request)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, object]:
    return VARIANTS[request.param]


@pytest.fixture
async def saver(store: Store) -> AsyncIterator[DurableSaver]:
    async with store.open() as opened:
        yield opened
