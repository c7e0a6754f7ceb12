"""Who waits, who is refused."""

from deploy.grafana.parts import BROKEN, ERRORS, Dashboard, Panel, quantiles, rate

LIMITS = Dashboard(
    "limits",
    "limits",
    "Who waits, and who is refused.",
    (
        Panel(
            "Refused",
            "429 by reason: the limits' names, or no place (queue_full, queue_timeout, deadline).",
            rate("rag_rate_limited_total", "reason"),
            "reqps",
        ),
        Panel(
            "No place",
            "Share of the questions that were refused since the queue is full or too slow, over five minutes.",
            (("rag:shed:ratio_rate5m", "refused"),),
            "percentunit",
            "stat",
            ERRORS,
        ),
        Panel(
            "Refused by a limit or the queue",
            "Share of all questions.",
            (
                (
                    'sum(rate(rag_queries_total{status="limited"}[$__rate_interval])) '
                    "/ sum(rate(rag_queries_total[$__rate_interval]))",
                    "429",
                ),
            ),
            "percentunit",
            most=1,
        ),
        Panel(
            "Waiting",
            "Questions in the queue, by priority.",
            (("sum by (priority) (rag_queue_depth)", "{{priority}}"),),
            "short",
        ),
        Panel(
            "Wait",
            "For admission.",
            quantiles("rag_queue_wait_seconds", of=(0.5, 0.95, 0.99)),
            "s",
            thresholds=((5, "red"),),
        ),
        Panel("In flight", "Of each server.", (("sum by (instance) (rag_in_flight)", "{{instance}}"),), "short"),
        Panel(
            "Limits of one's own share",
            "1: the Redis of the limits is away, and each process gives its share.",
            (("max by (instance) (rag_rate_limit_local_share)", "{{instance}}"),),
            "short",
            thresholds=BROKEN,
            most=1,
        ),
    ),
)
