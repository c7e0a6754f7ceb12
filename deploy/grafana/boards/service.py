"""Whether it answers."""

from deploy.grafana.parts import ERRORS, FILLING, SLOW, Dashboard, Panel, quantiles, rate

SERVICE = Dashboard(
    "service",
    "service",
    "Whether it answers, how fast, and how full it is.",
    (
        Panel(
            "Servers up",
            "Of those that Prometheus knows.",
            (('sum(up{job=~"(.*/)?ragents"})', "up"), ('count(up{job=~"(.*/)?ragents"})', "known")),
            "short",
            "stat",
        ),
        Panel(
            "Failed questions",
            "Share that ended in a 5xx, over five minutes. 429 and wrong requests do not count.",
            (("rag:queries_failed:ratio_rate5m", "failed"),),
            "percentunit",
            "stat",
            ERRORS,
        ),
        Panel(
            "95th percentile",
            "Of all answers, over five minutes.",
            (("rag:answers_seconds:p95_5m", "p95"),),
            "s",
            "stat",
            SLOW,
        ),
        Panel(
            "Questions",
            "By outcome. limited: 429; invalid: another 4xx; cancelled: the caller left.",
            rate("rag_queries_total", "status"),
            "reqps",
        ),
        Panel(
            "Time to answer",
            "From admission to the answer.",
            quantiles("rag_query_duration_seconds"),
            "s",
            thresholds=SLOW,
        ),
        Panel(
            "HTTP requests",
            "BentoML's count of all routes, by status.",
            rate("bentoml_service_request_total", "endpoint, http_response_code"),
            "reqps",
        ),
        Panel(
            "In flight",
            "Questions being answered, of all servers.",
            (("sum(rag_in_flight)", "in flight"), ("sum(rag_queue_depth)", "waiting")),
            "short",
        ),
        Panel(
            "Memory",
            "Of the container's limit, or of the machine's memory.",
            (("rag:memory_used:ratio", "{{instance}}"),),
            "percentunit",
            thresholds=FILLING,
            most=1,
        ),
        Panel(
            "Workers started",
            "Worker processes that began in the last hour; those of a new server are among them.",
            (("sum by (instance) (increase(rag_worker_starts_total[1h]))", "{{instance}}"),),
            "short",
        ),
        Panel(
            "Spans thrown away",
            "Of traces, whose receiver is slow or down. Answers are not slower for it.",
            (("sum(rate(rag_tracing_dropped_total[$__rate_interval])) or vector(0)", "spans"),),
            "ops",
        ),
    ),
)
