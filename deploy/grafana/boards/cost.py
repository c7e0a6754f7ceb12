"""What the language models are paid."""

from deploy.grafana.parts import Dashboard, Panel, quantiles, rate

COST = Dashboard(
    "cost",
    "LLM cost",
    "What the language models are paid, and what the caches save. llm.price makes tokens dollars.",
    (
        Panel(
            "Cost",
            "US dollars an hour, by model.",
            (("sum by (model) (rate(rag_cost_usd_total[$__rate_interval])) * 3600", "{{model}}"),),
            "currencyUSD",
        ),
        Panel("Last day", "US dollars.", (("sum(increase(rag_cost_usd_total[1d]))", "24 h"),), "currencyUSD", "stat"),
        Panel(
            "An answer",
            "Mean cost of an answer, those from a cache among them.",
            (
                (
                    "sum(increase(rag_cost_usd_total[1h])) / sum(increase(rag_query_duration_seconds_count[1h]))",
                    "US dollars",
                ),
            ),
            "currencyUSD",
            "stat",
        ),
        Panel("Tokens", "A second, by model and kind.", rate("rag_tokens_total", "model, kind"), "short"),
        Panel(
            "Tokens of an answer",
            "Mean over the answers that a model wrote.",
            (
                (
                    "sum by (kind) (rate(rag_tokens_total[$__rate_interval])) "
                    "/ ignoring (kind) group_left "
                    'sum(rate(rag_query_duration_seconds_count{cached="none"}[$__rate_interval]))',
                    "{{kind}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Saved by caches",
            "US dollars of the last day: cached answers at the mean cost of a written one.",
            (
                (
                    'sum(increase(rag_query_duration_seconds_count{cached!="none"}[1d])) '
                    "* sum(increase(rag_cost_usd_total[1d])) "
                    '/ sum(increase(rag_query_duration_seconds_count{cached="none"}[1d]))',
                    "24 h",
                ),
            ),
            "currencyUSD",
            "stat",
        ),
        Panel(
            "Failed calls",
            "Of the models, by kind; a retry or a fallback may have made them good.",
            rate("rag_llm_errors_total", "kind"),
            "ops",
        ),
        Panel(
            "Writing",
            "Time of the model's stage.",
            quantiles("rag_stage_duration_seconds", "", '{stage="generate"}'),
            "s",
        ),
    ),
)
