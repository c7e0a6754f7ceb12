"""The model of the controller agrees with the table of Kubernetes' own replica_calculator_test.go, and with its rules
of stabilization and rate.
"""

from typing import Any, Literal

import pytest

from tests.k8s.hpa import CPU_INITIALIZATION_S, Controller, Pod, Sample, Unavailable, calculate

NOW = 10_000.0
OLD = NOW - 3600


def pods(
    count: int, *, unready: tuple[int, ...] = (), pending: tuple[int, ...] = (), hot: tuple[int, ...] = ()
) -> list[Pod]:
    """`unready`: never ready, `hot`: ready since five seconds."""
    made = []
    for number in range(count):
        phase: Literal["Pending", "Running"] = "Pending" if number in pending else "Running"
        started = NOW - 30 if number in hot else OLD
        changed = NOW - 5 if number in hot else OLD + 10
        made.append(Pod(f"p{number}", phase, number not in unready and number not in pending, started, changed))
    return made


def samples(*values: float | None, window_s: float = 30) -> dict[str, Sample]:
    return {f"p{number}": Sample(value, NOW, window_s) for number, value in enumerate(values) if value is not None}


@pytest.mark.parametrize(
    ("replicas", "listed", "levels", "target_percent", "expected"),
    [
        pytest.param(3, pods(3), (0.3, 0.5, 0.7), 30, 5, id="up"),
        pytest.param(3, pods(3, unready=(0,)), (0.3, 0.5, 0.7), 30, 4, id="up, less for one that is not ready"),
        pytest.param(3, pods(3, hot=(0,)), (0.3, 0.5, 0.7), 30, 4, id="up, less for one that has just started"),
        pytest.param(3, pods(3, unready=(1, 2)), (0.4, 0.5, 0.7), 30, 3, id="two that are not ready hold it"),
        pytest.param(3, pods(3, unready=(1, 2), hot=(1, 2)), (0.4, 0.5, 0.7), 30, 3, id="two that start hold it"),
        pytest.param(5, pods(5), (0.1, 0.3, 0.5, 0.25, 0.25), 50, 3, id="down"),
        pytest.param(5, pods(5, unready=(3, 4)), (0.1, 0.3, 0.5, 0.25, 0.25), 50, 2, id="down, the ready ones alone"),
        pytest.param(5, pods(5, pending=(1, 2, 3, 4)), (0.1,), 50, 1, id="down, whatever is not scheduled"),
        pytest.param(4, pods(4), (0.4, 0.095), 100, 3, id="one without a sample counts as busy when going down"),
        pytest.param(5, pods(5, hot=(3, 4)), (0.1, 0.3, 0.5, 0.25, 0.25), 50, 2, id="down, without those that start"),
        pytest.param(4, pods(4), (4.0, 9.5, 3.0, 7.0, 3.2, 2.0), 100, 24, id="samples of pods that are gone"),
        pytest.param(2, pods(2), (1.0,), 100, 2, id="one without a sample, the other at its target"),
        pytest.param(2, pods(2), (1.9,), 100, 2, id="one without a sample counts as idle when going up"),
        pytest.param(2, pods(2), (0.6,), 100, 2, id="one without a sample would turn the direction"),
        pytest.param(3, pods(3, unready=(0,)), (0.1, 0.45), 50, 3, id="one not ready, one without a sample"),
        pytest.param(3, pods(3, hot=(0,)), (0.1, 0.45), 50, 3, id="one starts, one without a sample"),
        pytest.param(3, pods(3, unready=(0,)), (0.1, 2.0), 50, 4, id="one not ready, one without a sample, up"),
        pytest.param(3, pods(3, hot=(0,)), (0.1, 2.0), 50, 4, id="one starts, one without a sample, up"),
        pytest.param(4, pods(4, unready=(0,)), (0.1, 0.1, 0.1), 50, 3, id="one not ready, one without a sample, down"),
        pytest.param(2, pods(3), (0.1, 0.1), 50, 2, id="a third pod in a roll-out"),
    ],
)
def test_cpu_as_in_kubernetes_own_table(
    replicas: int, listed: list[Pod], levels: tuple[float, ...], target_percent: int, expected: int
) -> None:
    target = target_percent / 100

    assert calculate(NOW, replicas, listed, samples(*levels), target=target, full=1.0, cpu=True) == expected


@pytest.mark.parametrize(
    ("replicas", "listed", "levels", "target", "expected"),
    [
        pytest.param(3, pods(3), (20, 10, 30), 15, 4, id="up"),
        pytest.param(3, pods(3, unready=(2,)), (50, 10, 30), 15, 6, id="readiness is nothing to a Pods metric"),
        pytest.param(3, pods(3, unready=(0, 2)), (50, 15, 30), 15, 7, id="of two neither"),
        pytest.param(5, pods(5), (12, 12, 12, 12, 12), 20, 3, id="down"),
        pytest.param(3, pods(3), (20, 21, 21), 20, 3, id="within the tolerance"),
    ],
)
def test_pods_metrics_as_in_kubernetes_own_table(
    replicas: int, listed: list[Pod], levels: tuple[float, ...], target: float, expected: int
) -> None:
    assert calculate(NOW, replicas, listed, samples(*levels), target=target) == expected


@pytest.mark.parametrize(("value", "expected"), [(109.0, 10), (111.0, 12), (91.0, 10), (89.0, 9)])
def test_a_tenth_off_the_target_changes_nothing(value: float, expected: int) -> None:
    assert calculate(NOW, 10, pods(10), samples(*[value] * 10), target=100) == expected


def test_a_pod_counts_again_after_the_cpu_initialization_period() -> None:
    late = [Pod("p0", "Running", True, NOW - CPU_INITIALIZATION_S, NOW - 5)]

    assert calculate(NOW, 1, late, samples(0.9), target=0.3, full=1, cpu=True) == 3


def test_no_samples_at_all_are_no_answer() -> None:
    with pytest.raises(Unavailable):
        calculate(NOW, 3, pods(3), {}, target=1)


def spec(**behavior: Any) -> dict[str, Any]:
    metric = {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "10"}}}
    return {"minReplicas": 1, "maxReplicas": 100, "metrics": [metric], "behavior": behavior}


def drive(controller: Controller, replicas: int, loads: list[float], *, every: float = 15.1) -> list[int]:
    """Replicas after each sync; `loads`: the total over all pods."""
    series = []
    for number, load in enumerate(loads):
        shown = {"m": samples(*[load / replicas] * replicas)}
        replicas = controller.sync(NOW + number * every, replicas, pods(replicas), shown)
        series.append(replicas)
    return series


def test_without_behavior_it_doubles_every_fifteen_seconds_and_stays_for_five_minutes() -> None:
    found = drive(Controller(spec(), {}), 2, [400.0] * 5 + [10.0] * 25)

    assert found[:5] == [6, 12, 24, 40, 40]  # four pods are more than double, then double is more
    assert found[5 + 18] == 40
    assert found[5 + 19] == 1


def test_going_up_takes_the_least_of_its_window() -> None:
    up = {"stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}

    found = drive(Controller(spec(scaleUp=up), {}), 2, [20.0] + [200.0] * 3 + [20.0] + [200.0] * 6)

    assert found == [2, 2, 2, 2, 2, 2, 2, 2, 20, 20, 20]


@pytest.mark.parametrize(
    ("select", "expected"), [("Max", [14, 20, 28]), ("Min", [11, 12, 13]), ("Disabled", [10, 10, 10])]
)
def test_of_several_policies_the_chosen_one_holds(select: str, expected: list[int]) -> None:
    policies = [
        {"type": "Percent", "value": 40, "periodSeconds": 15},
        {"type": "Pods", "value": 1, "periodSeconds": 15},
    ]
    up = {"stabilizationWindowSeconds": 0, "policies": policies, "selectPolicy": select}

    assert drive(Controller(spec(scaleUp=up), {}), 10, [9000.0] * 3) == expected


def test_a_period_counts_what_was_added_within_it() -> None:
    up = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}

    assert drive(Controller(spec(scaleUp=up), {}), 1, [9000.0] * 6) == [3, 3, 3, 3, 5, 5]


def test_a_percentage_down_is_cut_off_and_never_below_the_minimum() -> None:
    down = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 30, "periodSeconds": 15}]}
    limited = spec(scaleDown=down) | {"minReplicas": 3}

    assert drive(Controller(limited, {}), 10, [0.1] * 5) == [7, 4, 3, 3, 3]


def test_a_metric_that_is_missing_forbids_going_down_and_not_going_up() -> None:
    other = {"type": "Pods", "pods": {"metric": {"name": "other"}, "target": {"averageValue": "10"}}}
    two = spec() | {"metrics": [*spec()["metrics"], other]}

    assert drive(Controller(two, {}), 4, [1.0]) == [4]
    assert drive(Controller(two, {}), 4, [400.0]) == [8]


def test_outside_of_minimum_and_maximum_it_goes_there_at_once() -> None:
    limited = spec() | {"minReplicas": 3, "maxReplicas": 20}

    assert Controller(limited, {}).sync(NOW, 1, pods(1), {}) == 3
    assert Controller(limited, {}).sync(NOW, 30, pods(30), {}) == 20
    assert Controller(limited, {}).sync(NOW, 0, [], {}) == 0
