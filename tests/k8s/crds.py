"""The custom resources of k8s/, which kubernetes-validate has no schema for: as much of theirs as the manifests use.

After monitoring.coreos.com/v1 (Prometheus operator 0.70 and later) and keda.sh/v1alpha1 (KEDA 2.12 and later). What
is not listed here is refused, so that a misspelt field cannot pass.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Duration = Annotated[str, StringConstraints(pattern=r"^(\d+(ms|s|m|h|d|w))+$")]
Names = dict[str, str]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: str
    namespace: str
    labels: Names = {}
    annotations: Names = {}


class Selector(Strict):
    matchLabels: Names


class Endpoint(Strict):
    port: str
    path: str
    interval: Duration
    scrapeTimeout: Duration


class PodMonitorSpec(Strict):
    jobLabel: str
    selector: Selector
    podMetricsEndpoints: list[Endpoint]


class PodMonitor(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


class Rule(Strict):
    record: str | None = None
    alert: str | None = None
    expr: str | int
    for_: Duration | None = Field(default=None, alias="for")
    keep_firing_for: Duration | None = None
    labels: Names = {}
    annotations: Names = {}

    def model_post_init(self, context: Any) -> None:
        if (self.record is None) == (self.alert is None):
            raise ValueError("a rule either records or alerts")


class Group(Strict):
    name: str
    interval: Duration | None = None
    rules: list[Rule]


class Groups(Strict):
    groups: list[Group]


class PrometheusRule(Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: Groups


class Target(Strict):
    apiVersion: str
    kind: str
    name: str


class Fallback(Strict):
    failureThreshold: int
    replicas: int


class Policy(Strict):
    type: Literal["Pods", "Percent"]
    value: int
    periodSeconds: Annotated[int, Field(ge=1, le=1800)]


class Rules(Strict):
    stabilizationWindowSeconds: Annotated[int, Field(ge=0, le=3600)]
    selectPolicy: Literal["Max", "Min", "Disabled"]
    policies: list[Policy]


class Behavior(Strict):
    scaleUp: Rules
    scaleDown: Rules


class HpaConfig(Strict):
    name: str
    behavior: Behavior


class Advanced(Strict):
    horizontalPodAutoscalerConfig: HpaConfig


class Trigger(Strict):
    type: Literal["prometheus", "cpu", "memory"]
    metricType: Literal["AverageValue", "Value", "Utilization"]
    metadata: Names  # KEDA takes strings alone


class ScaledSpec(Strict):
    scaleTargetRef: Target
    pollingInterval: int
    minReplicaCount: int
    maxReplicaCount: int
    fallback: Fallback
    advanced: Advanced
    triggers: list[Trigger]


class ScaledObject(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledSpec


CUSTOM: dict[str, type[Strict]] = {each.__name__: each for each in (PodMonitor, PrometheusRule, ScaledObject)}
