"""nDCG@10, Recall@100 and MRR@10 of a search, as pytrec_eval counts them."""

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from ragents.errors import ConfigError
from ragents.evaluation.beir import Dataset

Ranked = Sequence[tuple[str, float]]
"""(document id, score), best first; a document may come more than once, with each of its chunks"""
Search = Callable[[str], Awaitable[Ranked]]

NDCG, RECALL, MRR = "ndcg@10", "recall@100", "mrr@10"


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all judged queries; `ms_per_query` is the median of one search after the other."""

    ndcg: float
    recall: float
    mrr: float
    ms_per_query: float

    def as_json(self) -> dict[str, float]:
        return {
            NDCG: round(self.ndcg, 4),
            RECALL: round(self.recall, 4),
            MRR: round(self.mrr, 4),
            "ms_per_query": round(self.ms_per_query, 2),
        }


async def measure(dataset: Dataset, search: Search, *, on_query: Callable[[], None] = lambda: None) -> Scores:
    """A document counts with its best chunk. ConfigError without the library that counts."""
    try:
        import ir_measures  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigError("evaluation needs the library ir-measures; run: pip install 'ragents[eval]'") from None
    run, times = [], []
    for query, text in dataset.queries.items():
        started = time.perf_counter()
        found = await search(text)
        times.append((time.perf_counter() - started) * 1000)
        run += [ir_measures.ScoredDoc(query, document, score) for document, score in documents_of(found)]
        on_query()
    judged = [
        ir_measures.Qrel(query, document, grade)
        for query, grades in dataset.judged.items()
        for document, grade in grades.items()
    ]
    ndcg, recall, mrr = ir_measures.nDCG @ 10, ir_measures.R @ 100, ir_measures.RR @ 10
    counted = ir_measures.calc_aggregate([ndcg, recall, mrr], judged, run)
    return Scores(counted[ndcg], counted[recall], counted[mrr], statistics.median(times))


def documents_of(found: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Each document once, in the order of its best chunk; scores fall strictly, so that no tie is broken by name."""
    order = list(dict.fromkeys(document for document, _ in found))
    return [(document, float(len(order) - rank)) for rank, document in enumerate(order)]
