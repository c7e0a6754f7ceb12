"""What dashboards are made of. Ratios are 0..1 (unit percentunit); thresholds as in deploy/prometheus/rules.yml."""

from dataclasses import dataclass
from typing import Literal

Threshold = tuple[float, Literal["yellow", "red"]]


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: PromQL and its legend. `thresholds`: from which value on it is shown in which colour."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    unit: str
    kind: Literal["timeseries", "stat", "gauge"] = "timeseries"
    thresholds: tuple[Threshold, ...] = ()
    least: float | None = 0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    name: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def quantiles(
    metric: str, by: str = "", where: str = "", *, of: tuple[float, ...] = (0.5, 0.95)
) -> tuple[tuple[str, str], ...]:
    """Percentiles of a histogram, for each value of the label `by`."""
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))",
            f"p{q * 100:g}{legend}",
        )
        for q in of
    )


def mean(metric: str) -> str:
    return f"sum(rate({metric}_sum[$__rate_interval])) / sum(rate({metric}_count[$__rate_interval]))"


def rate(metric: str, by: str, where: str = "") -> tuple[tuple[str, str], ...]:
    labels = [each.strip() for each in by.split(",")]
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return ((f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", legend),)


ERRORS: tuple[Threshold, ...] = ((0.01, "yellow"), (0.05, "red"))
SLOW: tuple[Threshold, ...] = ((15, "yellow"), (30, "red"))
FILLING: tuple[Threshold, ...] = ((0.8, "yellow"), (0.9, "red"))
BROKEN: tuple[Threshold, ...] = ((1, "red"),)
