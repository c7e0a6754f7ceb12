"""What the shipped HPA does under load, by the model of tests/k8s/hpa.py: a step, a burst, a calm, an evening.

`pytest -s tests/k8s/test_autoscaling.py` prints the table of docs/deployment.md.
"""

import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ragents.deployment.serving import ServingConfig
from tests.k8s.checks.service import settings_of
from tests.k8s.fleet import Run, Traits, simulate
from tests.k8s.hpa import Sample
from tests.k8s.manifests import K8S, containers, kustomize, load, named, quantity

SEEDS = range(3)
STEP_AT = 600
IDLE_BYTES_BASE, IDLE_BYTES_WORKER = 110e6, 480e6
"""Resident memory measured on 2026-11-21 (Python 3.11, onnxruntime, fp32): 502 MB with one worker, 889 with two,
1,063 with two that had to build the encoder's graph, of which the listening process has 102; rounded up. The sum of
RSS, so that shared pages count more than once.
"""

COMMON = {
    "scaleUp": {
        "stabilizationWindowSeconds": 60,
        "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 60},
            {"type": "Pods", "value": 2, "periodSeconds": 60},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
    },
}
"""What many a chart comes with: half as many again (or two pods) in a minute."""

WAITING = Traits(answer_s=2.0, cpu_s=0.014)
COMPUTING = Traits(answer_s=0.25, cpu_s=0.06)
"""A question that waits for a model elsewhere, and one that is all our own work."""

BASE = {"waiting": (WAITING, 22.5), "computing": (COMPUTING, 52.0)}
"""With the questions per second that three pods have before the step: 45 of 60 places wanted, 1.04 CPUs a pod."""


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return named(load("deployment.yaml"), "Deployment", "ragents")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return named(load("deployment.yaml"), "HorizontalPodAutoscaler", "ragents-hpa")["spec"]


@pytest.fixture(scope="module")
def requests(deployment: dict[str, Any]) -> dict[str, float]:
    main = next(each for each in containers(deployment) if each["name"] == "ragents")
    return {name: quantity(value) for name, value in main["resources"]["requests"].items()}


@pytest.fixture(scope="module")
def serving() -> ServingConfig:
    return settings_of(load("deployment.yaml")).serving


def run(
    spec: dict[str, Any], requests: dict[str, float], traits: Traits, load: Callable[[float], float], **options: Any
) -> list[Run]:
    return [simulate(spec, requests, load, traits=traits, seed=seed, **options) for seed in SEEDS]


def step(base: float, factor: float = 10) -> Callable[[float], float]:
    return lambda now: base * (factor if now >= STEP_AT else 1)


def burst(base: float, factor: float = 10, seconds: float = 20) -> Callable[[float], float]:
    return lambda now: base * (factor if STEP_AT <= now < STEP_AT + seconds else 1)


def evening(base: float) -> Callable[[float], float]:
    return lambda now: base * (10 if now < STEP_AT else 1)


def target_in_flight(spec: dict[str, Any]) -> float:
    return next(float(each["pods"]["target"]["averageValue"]) for each in spec["metrics"] if each["type"] == "Pods")


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("pending_s", [5.0, 60.0])
def test_a_step_of_ten_reaches_twenty_pods_within_two_minutes(
    kind: str, pending_s: float, shipped: dict[str, Any], requests: dict[str, float]
) -> None:
    traits, base = BASE[kind]

    runs = run(shipped, requests, replace(traits, pending_s=pending_s), step(base), seconds=STEP_AT + 300, pods=3)

    assert all(each.replicas[STEP_AT - 1] == 3 for each in runs)
    assert max(each.first(20, after=STEP_AT) or 999 for each in runs) <= 120


def test_a_burst_of_twenty_seconds_adds_no_pod(shipped: dict[str, Any], requests: dict[str, float]) -> None:
    runs = run(shipped, requests, WAITING, burst(22.5), seconds=STEP_AT + 600, pods=3)

    assert [max(each.replicas) for each in runs] == [3] * len(runs)
    assert sum(each.refused for each in runs) == 0


def test_a_burst_that_the_pods_can_compute_adds_none_and_one_that_piles_up_work_does(
    shipped: dict[str, Any], requests: dict[str, float]
) -> None:
    """Ten times 1.04 CPUs is more than twice a pod's limit: what 20 s leave behind takes longer than the window."""
    small = run(shipped, requests, COMPUTING, burst(52.0, 3.5), seconds=STEP_AT + 600, pods=3)
    large = run(shipped, requests, COMPUTING, burst(52.0, 10), seconds=STEP_AT + 600, pods=3)

    assert [max(each.replicas) for each in small] == [3] * len(small)
    assert all(3 < max(each.replicas) <= 10 for each in large)


def test_without_the_window_for_going_up_the_burst_would_add_pods(
    shipped: dict[str, Any], requests: dict[str, float]
) -> None:
    hasty = shipped | {"behavior": shipped["behavior"] | {"scaleUp": {}}}

    runs = run(hasty, requests, WAITING, burst(22.5), seconds=STEP_AT + 600, pods=3)

    assert all(max(each.replicas) > 3 for each in runs)


@pytest.mark.parametrize("kind", BASE)
def test_a_noisy_hour_does_not_flap(kind: str, shipped: dict[str, Any], requests: dict[str, float]) -> None:
    traits, base = BASE[kind]

    runs = run(shipped, requests, replace(traits, noise=0.3), lambda _: base * 3, seconds=3600, pods=10)

    assert max(each.turns for each in runs) <= 2
    assert max(len(each.changes) for each in runs) <= 10


def test_waves_of_six_minutes_do_not_flap(shipped: dict[str, Any], requests: dict[str, float]) -> None:
    """Shorter than the window for going down: the fleet stays at what the crests need."""
    runs = run(shipped, requests, WAITING, lambda now: 60 if now % 360 < 180 else 150, seconds=7200, pods=8)

    assert all(not [at for at, change in each.changes if change < 0 and at > 720] for each in runs)


def test_going_down_waits_five_minutes_and_is_slow(shipped: dict[str, Any], requests: dict[str, float]) -> None:
    runs = run(shipped, requests, WAITING, evening(22.5), seconds=STEP_AT + 3600, pods=20)

    for each in runs:
        downs = [(at, change) for at, change in each.changes if at >= STEP_AT]
        assert downs[0][0] >= STEP_AT + 290
        assert min(change for _, change in downs) >= -2
        assert all(later - earlier >= 59 for (earlier, _), (later, _) in itertools.pairwise(downs))
        assert each.replicas[-1] == 3
        assert each.turns == 0


def test_the_common_policy_takes_more_than_twice_as_long(shipped: dict[str, Any], requests: dict[str, float]) -> None:
    runs = run(shipped | {"behavior": COMMON}, requests, WAITING, step(22.5), seconds=STEP_AT + 600, pods=3)

    assert min(each.first(20, after=STEP_AT) or 999 for each in runs) > 240


def test_without_the_adapter_pods_are_added_by_cpu_and_never_taken_away(
    shipped: dict[str, Any], requests: dict[str, float]
) -> None:
    def no_adapter(found: dict[str, dict[str, Sample]]) -> dict[str, dict[str, Sample]]:
        return found | {"rag_in_flight_and_queued": {}}

    runs = run(shipped, requests, COMPUTING, evening(45.0), seconds=3600, pods=3, metrics=no_adapter)
    small = named(kustomize(K8S / "overlays" / "small"), "HorizontalPodAutoscaler", "ragents-hpa")["spec"]
    without = run(
        small | {"maxReplicas": 20}, requests, COMPUTING, evening(45.0), seconds=3600, pods=3, metrics=no_adapter
    )

    assert all(each.replicas[-1] == max(each.replicas) > 3 for each in runs)
    assert all(each.replicas[-1] <= 3 for each in without)


def idle_bytes(workers: int) -> float:
    return IDLE_BYTES_BASE + IDLE_BYTES_WORKER * workers


@pytest.mark.parametrize("overlay", ["small", "production", "gpu"])
def test_an_idle_pod_holds_less_than_half_of_the_memory_it_requests(overlay: str) -> None:
    """At 80 % of the request memory would ask for more pods, which lower nothing: it must never be what pins them."""
    documents = kustomize(K8S / "overlays" / overlay)
    main = next(each for each in containers(named(documents, "Deployment", "ragents")) if each["name"] == "ragents")

    assert idle_bytes(settings_of(documents).serving.workers) < quantity(main["resources"]["requests"]["memory"]) / 2


def test_memory_does_not_pin_the_fleet(
    shipped: dict[str, Any], requests: dict[str, float], serving: ServingConfig
) -> None:
    idle = replace(WAITING, memory_idle=idle_bytes(serving.workers))
    fat = replace(WAITING, memory_idle=0.8 * requests["memory"])

    assert all(each.replicas[-1] == 3 for each in run(shipped, requests, idle, lambda _: 1, seconds=3600, pods=20))
    assert all(each.replicas[-1] == 20 for each in run(shipped, requests, fat, lambda _: 1, seconds=3600, pods=20))


def test_the_target_in_flight_is_at_most_a_quarter_of_what_a_pod_admits(
    shipped: dict[str, Any], serving: ServingConfig
) -> None:
    """Counted are the places alone. The queue is let grow only as far as it moves within queue_timeout_s: behind
    answers of 30 s it holds one round of the places, behind the longest ones hardly any.
    """
    places = serving.workers * serving.max_in_flight

    assert target_in_flight(shipped) <= places / 4


def test_the_model_has_the_manifests_numbers(deployment: dict[str, Any], serving: ServingConfig) -> None:
    main = next(each for each in containers(deployment) if each["name"] == "ragents")

    for traits, _ in BASE.values():
        assert traits.places == serving.workers * serving.max_in_flight
        assert traits.queue_s == serving.queue_timeout_s
        assert traits.cpu_limit == quantity(main["resources"]["limits"]["cpu"])
        assert traits.memory_idle <= idle_bytes(serving.workers) * 1.01
    monitor = next(each for each in load("monitoring.yaml") if each["kind"] == "PodMonitor")
    assert f"{WAITING.scrape_s:.0f}s" == monitor["spec"]["podMetricsEndpoints"][0]["interval"]


def test_keda_says_the_same(shipped: dict[str, Any]) -> None:
    keda = load("keda.yaml")[0]["spec"]
    triggers = {each["type"]: each["metadata"] for each in keda["triggers"]}
    utilization = {
        each["resource"]["name"]: each["resource"]["target"]["averageUtilization"]
        for each in shipped["metrics"]
        if each["type"] == "Resource"
    }

    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == shipped["behavior"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (shipped["minReplicas"], shipped["maxReplicas"])
    assert float(triggers["prometheus"]["threshold"]) == target_in_flight(shipped)
    assert {name: int(triggers[name]["value"]) for name in ("cpu", "memory")} == utilization


def test_the_table(shipped: dict[str, Any], requests: dict[str, float]) -> None:
    lines = list(_table(shipped, requests))

    sys.stdout.write("\n".join(["", *lines, ""]))
    assert len(lines) == 2 + 2 * len(BASE)


def _table(shipped: dict[str, Any], requests: dict[str, float]) -> Iterator[str]:
    yield (
        "| load | policy | 10x step: 20 pods | all ready | refused | 20-s burst adds | noisy hour: changes, turns "
        "| 20 to 3 pods | most at once |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for kind, (traits, base) in BASE.items():
        for policy, spec in (("shipped", shipped), ("common", shipped | {"behavior": COMMON})):
            ups = run(spec, requests, traits, step(base), seconds=STEP_AT + 600, pods=3)
            bursts = run(spec, requests, traits, burst(base), seconds=STEP_AT + 600, pods=3)
            calm = run(spec, requests, replace(traits, noise=0.3), lambda _, b=base: b * 3, seconds=3600, pods=10)
            downs = run(spec, requests, traits, evening(base), seconds=STEP_AT + 3600, pods=20)
            yield (
                f"| {kind} | {policy} | {_median(ups, lambda each: each.first(20, after=STEP_AT))} s "
                f"| {_median(ups, lambda each: each.first(20, after=STEP_AT, ready=True))} s "
                f"| {_median(ups, lambda each: each.refused)} "
                f"| {_median(bursts, lambda each: max(each.replicas) - 3)} "
                f"| {_median(calm, lambda each: len(each.changes))}, {_median(calm, lambda each: each.turns)} "
                f"| {_median(downs, lambda each: each.down_to(3, after=STEP_AT))} s "
                f"| {_median(downs, lambda each: -min(change for _, change in each.changes))} |"
            )


def _median(runs: list[Run], of: Callable[[Run], float | None]) -> str:
    found = [of(each) for each in runs]
    return f"{statistics.median([value for value in found if value is not None]):.0f}" if None not in found else "never"
