"""Where the time of an answer goes."""

from deploy.grafana.parts import SLOW, Dashboard, Panel, mean, quantiles, rate

ANSWERS = Dashboard(
    "answers",
    "answers",
    "Where the time of an answer goes, and how sure answers are.",
    (
        Panel(
            "Stages",
            "95th percentile of each stage: wait, embed the question, search, rank anew, write.",
            quantiles("rag_stage_duration_seconds", "stage", of=(0.95,)),
            "s",
        ),
        Panel(
            "Time by agent",
            "95th percentile.",
            quantiles("rag_query_duration_seconds", "agent_type", of=(0.95,)),
            "s",
            thresholds=SLOW,
        ),
        Panel(
            "Time by cache",
            "95th percentile; none: the answer was written.",
            quantiles("rag_query_duration_seconds", "cached", of=(0.95,)),
            "s",
        ),
        Panel("Agents", "Questions by agent.", rate("rag_queries_total", "agent_type"), "reqps"),
        Panel(
            "Confidence",
            "Median and lowest tenth.",
            quantiles("rag_confidence_score", of=(0.1, 0.5)),
            "percentunit",
            most=1,
        ),
        Panel(
            "Low confidence",
            "Share of answers at 0.2 or below, where the documents do not tell by default.",
            (
                (
                    'sum(rate(rag_confidence_score_bucket{le="0.2"}[$__rate_interval])) '
                    "/ sum(rate(rag_confidence_score_count[$__rate_interval]))",
                    "0.2 or below",
                ),
            ),
            "percentunit",
            most=1,
        ),
        Panel(
            "Sources", "Mean number of sources of an answer.", ((mean("rag_retrieved_docs_count"), "sources"),), "short"
        ),
        Panel(
            "Encoder",
            "95th percentile of the wait for the encoder and of a run.",
            (
                *quantiles("rag_encoder_wait_seconds", "kind", of=(0.95,)),
                *(
                    (query, f"run {legend}")
                    for query, legend in quantiles("rag_encoder_run_seconds", "kind", of=(0.95,))
                ),
            ),
            "s",
        ),
        Panel(
            "Encoder's batches",
            "Mean number of texts in one run.",
            (
                (
                    "sum by (kind) (rate(rag_encoder_batch_size_sum[$__rate_interval])) "
                    "/ sum by (kind) (rate(rag_encoder_batch_size_count[$__rate_interval]))",
                    "{{kind}}",
                ),
            ),
            "short",
        ),
        Panel("Feedback", "Scores that users gave, by their third.", rate("rag_feedback_total", "score"), "ops"),
    ),
)
