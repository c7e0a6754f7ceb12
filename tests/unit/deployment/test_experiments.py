"""What `ragents eval` measured, among Opik's experiments."""

import pytest

from ragents.deployment.config import ServiceConfig
from ragents.deployment.observability.experiments import keep_experiments
from ragents.errors import BackendUnavailable
from tests.otlp import Receiver

MODES = {"dense": {"ndcg@10": 0.64, "mrr@10": None}, "hybrid": {"ndcg@10": 0.7}}


def configured(receiver: Receiver) -> ServiceConfig:
    return ServiceConfig.model_validate({"observability": {"opik": {"url": receiver.url, "project": "ours"}}})


async def test_without_opik_nothing_is_kept() -> None:
    assert await keep_experiments(ServiceConfig(), "scifact", MODES) == 0


async def test_an_opik_that_fails_is_said_so(receiver: Receiver) -> None:
    receiver.answer = lambda _: (500, b"")
    with pytest.raises(BackendUnavailable, match="status 500"):
        await keep_experiments(configured(receiver), "scifact", MODES)


async def test_each_mode_is_an_experiment_with_its_scores_also_when_the_dataset_is_known(receiver: Receiver) -> None:
    receiver.answer = lambda request: (409 if request.path.endswith("/datasets") else 201, b"{}")
    assert await keep_experiments(configured(receiver), "scifact", MODES) == 2
    dataset, dense, hybrid = receiver.requests
    assert dataset.json() == {"name": "scifact"}
    assert dense.path == "/api/v1/private/experiments"
    assert dense.json()["experiment_scores"] == [{"name": "ndcg@10", "value": 0.64}]
    assert (hybrid.json()["name"], hybrid.json()["project_name"]) == ("scifact hybrid", "ours")
    assert hybrid.json()["metadata"]["mode"] == "hybrid"
