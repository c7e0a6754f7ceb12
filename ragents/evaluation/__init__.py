"""How good retrieval and answers are, on collections whose right answers are known."""

from ragents.evaluation.answers import AnswerReport, Asked, evaluate_answers, read_questions
from ragents.evaluation.beir import Dataset, read_dataset
from ragents.evaluation.ranking import Ranked, Scores, measure

__all__ = [
    "AnswerReport",
    "Asked",
    "Dataset",
    "Ranked",
    "Scores",
    "evaluate_answers",
    "measure",
    "read_dataset",
    "read_questions",
]
