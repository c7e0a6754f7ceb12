"""What the HorizontalPodAutoscaler controller does with an autoscaling/v2 object: no cluster, no clock.

Modelled on Kubernetes' pkg/controller/podautoscaler (horizontal.go, replica_calculator.go; 1.27 and later) with the
defaults of kube-controller-manager: a sync every 15 s, tolerance 0.1, 300 s of CPU initialization, 30 s of initial
readiness. Left out: ContainerResource, Object and External metrics, configurable tolerance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SYNC_S = 15.0
TOLERANCE = 0.1
CPU_INITIALIZATION_S = 300.0
INITIAL_READINESS_S = 30.0
DEFAULT_UP = {
    "stabilizationWindowSeconds": 0,
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
DEFAULT_DOWN = {
    "stabilizationWindowSeconds": 300,
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest sample of one pod. `window_s`: what it is an average over."""

    value: float
    at: float
    window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pod:
    """As the controller's lister shows it. `ready_changed_at`: the last transition of its condition Ready."""

    name: str
    phase: Literal["Pending", "Running"]
    ready: bool
    started_at: float
    ready_changed_at: float


class Unavailable(Exception):
    """A metric from which nothing can be computed."""


@dataclass(slots=True)
class Controller:
    """`spec` is the object's own. `requests`: of one pod, for the metrics of type Resource."""

    spec: Mapping[str, Any]
    requests: Mapping[str, float]
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _ups: list[tuple[float, int]] = field(default_factory=list)
    _downs: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, replicas: int, pods: Sequence[Pod], metrics: Mapping[str, Mapping[str, Sample]]) -> int:
        """The replicas asked for after one reconciliation. `metrics`: by metric name, then by pod."""
        low, high = self.spec.get("minReplicas", 1), self.spec["maxReplicas"]
        if replicas == 0:
            return 0  # switched off
        if replicas > high:
            wanted = high
        elif replicas < low:
            wanted = low
        else:
            try:
                proposed = self._proposed(now, replicas, pods, metrics)
            except Unavailable:
                return replicas
            wanted = self._limited(now, replicas, self._stabilized(now, replicas, proposed))
        if wanted > replicas:
            self._ups.append((now, wanted - replicas))
        elif wanted < replicas:
            self._downs.append((now, replicas - wanted))
        return wanted

    def _proposed(
        self, now: float, replicas: int, pods: Sequence[Pod], metrics: Mapping[str, Mapping[str, Sample]]
    ) -> int:
        """The most that any metric asks for. One that is missing forbids going down, not going up."""
        found, missing = [], 0
        for metric in self.spec["metrics"]:
            try:
                found.append(self._replicas_for(metric, now, replicas, pods, metrics))
            except Unavailable:
                missing += 1
        if not found or (missing and max(found) < replicas):
            raise Unavailable
        return max(found)

    def _replicas_for(
        self,
        metric: Mapping[str, Any],
        now: float,
        replicas: int,
        pods: Sequence[Pod],
        metrics: Mapping[str, Mapping[str, Sample]],
    ) -> int:
        match metric["type"]:
            case "Pods":
                name = metric["pods"]["metric"]["name"]
                target = float(metric["pods"]["target"]["averageValue"])
                return calculate(now, replicas, pods, metrics.get(name, {}), target=target)
            case "Resource":
                name = metric["resource"]["name"]
                percent = metric["resource"]["target"]["averageUtilization"]
                target = self.requests[name] * percent / 100
                full = self.requests[name]
                return calculate(
                    now, replicas, pods, metrics.get(name, {}), target=target, full=full, cpu=name == "cpu"
                )
            case other:
                raise NotImplementedError(other)

    def _stabilized(self, now: float, replicas: int, proposed: int) -> int:
        """Not above the least of the window for going up, not below the most of the window for going down."""
        up_s, down_s = self._rules("scaleUp")["window"], self._rules("scaleDown")["window"]
        least = min([proposed, *(value for at, value in self._recommendations if at > now - up_s)])
        most = max([proposed, *(value for at, value in self._recommendations if at > now - down_s)])
        self._recommendations = [each for each in self._recommendations if each[0] > now - max(up_s, down_s)]
        self._recommendations.append((now, proposed))
        return min(max(replicas, least), most)

    def _limited(self, now: float, replicas: int, wanted: int) -> int:
        """Within minReplicas and maxReplicas, and no faster than the policies let it."""
        if wanted > replicas:
            return min(wanted, self.spec["maxReplicas"], max(replicas, self._limit(now, replicas, "scaleUp")))
        if wanted < replicas:
            return max(wanted, self.spec.get("minReplicas", 1), min(replicas, self._limit(now, replicas, "scaleDown")))
        return wanted

    def _limit(self, now: float, replicas: int, direction: Literal["scaleUp", "scaleDown"]) -> int:
        rules = self._rules(direction)
        up = direction == "scaleUp"
        if rules["select"] == "Disabled":
            return replicas
        limits = []
        for policy in rules["policies"]:
            since = now - policy["periodSeconds"]
            added = sum(change for at, change in self._ups if at > since)
            removed = sum(change for at, change in self._downs if at > since)
            start, value = replicas - added + removed, policy["value"]
            if policy["type"] == "Pods":
                limits.append(start + value if up else start - value)
            elif up:
                limits.append(math.ceil(start * (1 + value / 100)))
            else:
                limits.append(int(start * (1 - value / 100)))
        farthest = rules["select"] == "Max"
        return max(limits) if up == farthest else min(limits)

    def _rules(self, direction: Literal["scaleUp", "scaleDown"]) -> dict[str, Any]:
        default = DEFAULT_UP if direction == "scaleUp" else DEFAULT_DOWN
        given = self.spec.get("behavior", {}).get(direction, {})
        return {
            "window": given.get("stabilizationWindowSeconds", default["stabilizationWindowSeconds"]),
            "policies": given.get("policies", default["policies"]),
            "select": given.get("selectPolicy", "Max"),
        }


def calculate(
    now: float,
    replicas: int,
    pods: Sequence[Pod],
    samples: Mapping[str, Sample],
    *,
    target: float,
    full: float | None = None,
    cpu: bool = False,
) -> int:
    """Replicas for an average of `target`. A pod without a sample counts as idle when more pods are wanted, and as
    `full` (100 % of its request; of a Pods metric: the target) when fewer are; one that is not ready counts as idle
    when more are wanted.
    """
    unready, missing, values = set(), set(), {}
    for pod in pods:
        if pod.phase == "Pending":
            unready.add(pod.name)
        elif pod.name not in samples:
            missing.add(pod.name)
        elif cpu and _too_young(pod, samples[pod.name], now):
            unready.add(pod.name)
        else:
            values[pod.name] = samples[pod.name].value
    if not values:
        raise Unavailable
    ready = len(values)
    ratio = sum(values.values()) / ready / target
    rebalance = bool(unready) and ratio > 1
    if not rebalance and not missing:
        return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * ready - 1e-9)
    assumed = dict(values)
    if ratio < 1:
        assumed |= dict.fromkeys(missing, target if full is None else full)
    elif ratio > 1 or full is None:  # of a Pods metric also at the target
        assumed |= dict.fromkeys(missing, 0.0)
    if rebalance:
        assumed |= dict.fromkeys(unready, 0.0)
    again = sum(assumed.values()) / len(assumed) / target
    if abs(1 - again) <= TOLERANCE or (ratio < 1 < again) or (ratio > 1 > again):
        return replicas
    wanted = math.ceil(again * len(assumed) - 1e-9)
    if (again < 1 and wanted > replicas) or (again > 1 and wanted < replicas):
        return replicas
    return wanted


def _too_young(pod: Pod, sample: Sample, now: float) -> bool:
    """Of CPU alone: what a pod burns while it starts says nothing about the load."""
    if pod.started_at + CPU_INITIALIZATION_S > now:
        return not pod.ready or sample.at < pod.ready_changed_at + sample.window_s
    return not pod.ready and pod.started_at + INITIAL_READINESS_S > pod.ready_changed_at
