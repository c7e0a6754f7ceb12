"""What `ragents eval` measured, as Opik's experiments: one for each mode, with its scores."""

from collections.abc import Mapping

import httpx

from ragents.deployment.config import ServiceConfig
from ragents.deployment.observability.opik import opik_headers
from ragents.errors import BackendUnavailable

DATASETS, EXPERIMENTS = "/v1/private/datasets", "/v1/private/experiments"
Scores = Mapping[str, float | None]


async def keep_experiments(config: ServiceConfig, dataset: str, modes: Mapping[str, Scores]) -> int:
    """How many were made: 0 where no Opik is configured. BackendUnavailable when it does not take them.

    They say what they were measured with; the questions themselves stay here.
    """
    opik = config.observability.opik
    if opik.address is None:
        return 0
    reranker = config.rerank.provider if config.rerank.provider != "none" else None
    about = {"embedding_model": config.rag.embedding_model, "llm": config.llm.model_name, "reranker": reranker}
    async with httpx.AsyncClient(
        base_url=opik.address, headers=opik_headers(opik), timeout=config.observability.export_timeout_s
    ) as http:
        await _post(http, DATASETS, {"name": dataset}, known=httpx.codes.CONFLICT)
        for mode, scores in modes.items():
            experiment = {
                "dataset_name": dataset,
                "project_name": opik.project,
                "name": f"{dataset} {mode}",
                "metadata": {**about, "mode": mode},
                "experiment_scores": [
                    {"name": name, "value": value} for name, value in scores.items() if value is not None
                ],
            }
            await _post(http, EXPERIMENTS, experiment)
    return len(modes)


async def _post(http: httpx.AsyncClient, path: str, body: Mapping[str, object], *, known: int | None = None) -> None:
    """`known`: a status that says that it is there already."""
    try:
        response = await http.post(path, json=body)
    except httpx.HTTPError as error:
        raise BackendUnavailable("opik", type(error).__name__) from error
    if not response.is_success and response.status_code != known:
        raise BackendUnavailable("opik", f"it answered with status {response.status_code}")
