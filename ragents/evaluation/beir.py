"""Test collections as BEIR lays them out: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv (Thakur et al. 2021)."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragents.errors import InputError

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"


@dataclass(frozen=True, slots=True)
class Dataset:
    """`queries` are those of the split that have judgements: id -> text. `judged`: query id -> document id -> grade."""

    name: str
    corpus: Path
    queries: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]


def read_dataset(directory: Path, *, split: str = "test") -> Dataset:
    """InputError that names the file, and the line, which is not as BEIR has it. The corpus itself is not read."""
    corpus = directory / CORPUS
    for file in (corpus, directory / QUERIES):
        if not file.is_file():
            raise InputError(f"{file} is missing; a BEIR folder has {CORPUS}, {QUERIES} and {QRELS}/SPLIT.tsv")
    judgements = directory / QRELS / f"{split}.tsv"
    if not judgements.is_file():
        there = ", ".join(sorted(each.stem for each in (directory / QRELS).glob("*.tsv"))) or "none"
        raise InputError(f"{judgements} is missing; splits that are there: {there}", field="split")
    judged = _read_qrels(judgements)
    texts = dict(_read_queries(directory / QUERIES))
    if unknown := [query for query in judged if query not in texts]:
        raise InputError(f"{judgements}: query {unknown[0]!r} is not in {QUERIES}")
    return Dataset(directory.resolve().name, corpus, {query: texts[query] for query in judged}, judged)


def _read_queries(file: Path) -> Iterator[tuple[str, str]]:
    for number, record in read_jsonl(file):
        try:
            yield str(record["_id"]), str(record["text"])
        except KeyError as error:
            raise InputError(f"{file}, line {number}: the field {error} is missing") from None


def _read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Grades above 0. A first line of names is passed over."""
    judged: dict[str, dict[str, int]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            try:
                query, document, grade = row
                value = int(grade)
            except ValueError:
                if number == 1:
                    continue
                raise InputError(
                    f"{file}, line {number}: {row!r}: expected query, document and a whole number, with tabs between"
                ) from None
            if value > 0:
                judged.setdefault(query, {})[document] = value
    if not judged:
        raise InputError(f"{file} judges no document as relevant")
    return judged


def read_jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not empty."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except ValueError as error:
                raise InputError(f"{file}, line {number}: not JSON in UTF-8 ({error})") from None
            if not isinstance(record, dict):
                raise InputError(f"{file}, line {number}: a JSON {type(record).__name__}; expected an object")
            yield number, record
