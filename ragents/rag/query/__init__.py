"""One question searched as several: other wordings of it, or its parts, fused with the question itself first."""

from ragents.rag.query.fusing import fuse_lists
from ragents.rag.query.planning import Plan, plan_queries
from ragents.rag.query.searching import Found, search_all

__all__ = ["Found", "Plan", "fuse_lists", "plan_queries", "search_all"]
