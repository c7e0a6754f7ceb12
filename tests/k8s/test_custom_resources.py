import copy
from collections.abc import Callable

import pytest
import yaml
from pydantic import ValidationError

from tests.k8s.crds import CUSTOM
from tests.k8s.manifests import Document, load, of_kind

DOCUMENTS = of_kind(load("monitoring.yaml", "keda.yaml"), *CUSTOM)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: f"{each['kind']}/{each['metadata']['name']}")
def test_a_custom_resource_has_the_fields_that_it_may_have(document: Document) -> None:
    CUSTOM[document["kind"]].model_validate(document)


def test_every_kind_is_there() -> None:
    assert {each["kind"] for each in DOCUMENTS} == set(CUSTOM)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("PodMonitor", lambda spec: spec.update(podMetricsEndpoint=[])),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(interval="10")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(fore="5m")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(record="a", alert="b")),
        ("ScaledObject", lambda spec: spec["triggers"][0]["metadata"].update(threshold=20)),
        ("ScaledObject", lambda spec: spec.update(maxReplicas=20)),
    ],
)
def test_a_broken_copy_is_refused(kind: str, spoil: Callable[[Document], object]) -> None:
    document = copy.deepcopy(next(each for each in DOCUMENTS if each["kind"] == kind))
    spoil(document["spec"])

    with pytest.raises(ValidationError):
        CUSTOM[kind].model_validate(document)


def test_the_adapters_rules_ask_for_metrics_that_ragents_has() -> None:
    from prometheus_client import REGISTRY

    from ragents.deployment.observability.metrics import get_metrics

    get_metrics()
    known = {name for collector in list(REGISTRY._collector_to_names.values()) for name in collector}
    config = next(each for each in load("monitoring.yaml") if each["kind"] == "ConfigMap")["data"]["config.yaml"]

    rules = {rule["name"]["as"]: rule for rule in yaml.safe_load(config)["rules"]}

    assert set(rules) == {"rag_in_flight_and_queued", "http_requests_per_second", "vllm_requests_waiting"}
    assert {"rag_in_flight", "rag_queue_depth"} <= known
    for name in ("rag_in_flight", "rag_queue_depth"):
        assert name in rules["rag_in_flight_and_queued"]["metricsQuery"]
    for rule in rules.values():
        assert "<<.GroupBy>>" in rule["metricsQuery"]
        assert "<<.LabelMatchers>>" in rule["metricsQuery"]
