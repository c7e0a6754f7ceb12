"""The planner's arithmetic, done again by hand for four sizes, and what must hold for every size."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragents.errors import ConfigError, InputError
from ragents.planning import ASSUMPTIONS, Plan, Workload, assume, plan
from ragents.planning.assumptions import RANGES, RANGES_OF_UNITS
from ragents.planning.types import MAX_CHUNKS, MAX_QUESTIONS_PER_DAY, MAX_USERS, Model

DOCS = Path(__file__).parents[3] / "docs" / "scaling.md"
PRICES = [
    "price_prompt=1",
    "price_completion=4",
    "price_gpu_hour=2",
    "price_core_month=20",
    "price_gb_month=3",
    "price_disk_gb_month=0.1",
]

FIVE = Workload(users=5, questions_per_day=100, chunks=100_000, model="extractive")
FIFTY = Workload(users=50, questions_per_day=1_000, chunks=1_000_000, hit_rate=0.3)
FIVE_HUNDRED = Workload(users=500, questions_per_day=10_000, chunks=1_000_000, hit_rate=0.4, model="gpu")
LARGEST = Workload(users=500, questions_per_day=10_000, chunks=5_000_000)


def planned(workload: Workload, *changes: str) -> Plan:
    return plan(workload, assume([*PRICES, *changes]))


@pytest.mark.parametrize("users", [0, -1, MAX_USERS + 1])
def test_nobody_who_asks_is_refused(users: int) -> None:
    with pytest.raises(InputError, match="users"):
        replace(FIFTY, users=users)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cpu_ms_per_answer", "expected NAME=VALUE"),
        ("cpu=20", "there is no 'cpu'"),
        ("cpu_ms_per_answer=fast", "is no number"),
        ("cpu_ms_per_answer=0", "above 0"),
        ("cpu_ms_per_answer=-1", "above 0"),
        ("cpu_ms_per_answer=nan", "above 0"),
        ("price_prompt=-1", "from 0 on"),
        ("utilisation=1.1", "a share"),
        ("utilisation=1e-300", r"0\.01 to 1"),
        ("busy_hours=48", r"0\.01 to 24 h"),
        ("peak_factor=1e300", "1 to 1000"),
        ("peak_factor=0.5", "1 to 1000"),
        ("days_per_month=32", "1 to 31 days"),
        ("gpu_tokens_per_s=1e-300", "tokens/s"),
        ("price_prompt=1e300", "per million tokens"),
    ],
)
def test_an_assumption_that_cannot_be_is_refused_by_name(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        assume([change])
    assert change in str(refused.value)


def test_without_prices_the_cost_is_open_and_says_what_it_is_made_of() -> None:
    found = plan(FIFTY, assume())
    assert found.monthly_cost is None
    assert found.cost_per_question is None
    # 1,000 x 30 x 0.7 = 21,000 answers of 1,500 and 200 tokens.
    assert found.unpriced[0].startswith("31.5 million tokens to the model x your price")
    assert found.unpriced[1].startswith("4.2 million tokens from the model x your price")
    assert len(found.unpriced) == 5


def test_no_price_is_ours() -> None:
    assert {each.name for each in ASSUMPTIONS.values() if each.value is None} == {
        name.partition("=")[0] for name in PRICES
    }
    assert {each.name for each in ASSUMPTIONS.values() if each.origin == "your price"} == {
        name.partition("=")[0] for name in PRICES
    }


def test_five_users_and_100_000_chunks_stay_on_one_process() -> None:
    found = planned(FIVE)
    assert found.shape == "local"
    assert found.value("load", "questions at the peak") == pytest.approx(100 / 36_000 * 3)
    assert found.value("service", "CPU at the peak") == pytest.approx(1 / 120 * 0.147)
    assert found.value("service", "replicas") == 1
    # 4,039 bytes of rows and 1,898 of indexes a chunk.
    assert found.value("postgres", "tables") == pytest.approx(0.4039 * 1.3)
    assert found.value("postgres", "indexes") == pytest.approx(0.1898)
    assert found.value("postgres", "threads") == pytest.approx(100 * 90 * 38_500 / 1e9)
    # .525 + .190 + .347 + .289 + 4 of WAL.
    assert found.value("postgres", "disk") == 6
    assert found.value("postgres", "memory") == 1
    assert found.value("postgres", "CPU of a search") == pytest.approx(19.5, abs=0.1)
    assert found.value("redis", "cache and limits") == "in the process"
    # 2 cores, 2 x (110 + 450) MB and 1 GB, 6 GB of disk; no model to pay.
    assert found.monthly_cost == pytest.approx(2 * 20 + 2.12 * 3 + 0.6)
    assert found.cost_per_question == pytest.approx(found.monthly_cost / 3_000)


def test_fifty_users_and_a_million_chunks_fit_on_one_machine() -> None:
    found = planned(FIFTY)
    assert found.shape == "one machine"
    assert found.value("load", "of them answered afresh") == pytest.approx(1_000 / 36_000 * 3 * 0.7)
    # .0583/s x 25 ms + .025/s x 4.7 ms
    assert found.value("service", "CPU at the peak") == pytest.approx(0.001576, abs=1e-6)
    assert found.value("service", "answers in the making") == pytest.approx(0.2917, abs=1e-4)
    assert found.value("service", "replicas") == 2
    assert found.value("postgres", "connections") == 30
    # (1.898 of indexes + 2.916 of vectors and words) / .75 + 2.5 for the build
    assert found.value("postgres", "memory") == pytest.approx(8.919, abs=1e-3)
    assert found.value("postgres", "shared_buffers") == pytest.approx(8.919 / 4, abs=1e-3)
    # 5.25 + 1.90 + 3.47 + 2.89 + 4
    assert found.value("postgres", "disk") == 18
    assert found.value("postgres", "first ingestion") == pytest.approx(1e6 / 57.8 / 3600)
    assert found.value("redis", "cache (allkeys-lru)") == 0.064
    # 31.5 million tokens in, 4.2 out; 3 cores; 2 x 1.12 + 8.919 + .128 GB; 18 GB of disk.
    assert found.monthly_cost == pytest.approx(31.5 + 16.8 + 60 + 11.287 * 3 + 1.8, abs=0.01)
    assert found.cost_per_question == pytest.approx(found.monthly_cost / 30_000)


def test_five_hundred_users_with_a_gpu_get_a_cluster() -> None:
    found = planned(FIVE_HUNDRED)
    assert found.shape == "cluster"
    assert found.value("load", "of them answered afresh") == pytest.approx(0.5)
    assert found.value("model", "tokens to write at the peak") == pytest.approx(100)
    assert found.value("model", "GPUs") == 1
    assert found.value("service", "replicas") == 3
    assert found.value("service", "memory of a replica") == pytest.approx(2.02)
    # As many as the HPA may start, not as many as are needed.
    assert found.value("postgres", "connections") == 21 * 2 * 5 + 20
    assert any("3 take 6 and 12.9" in each for each in found.advice)
    # 10,000 x 90 days x 38,500 bytes: the threads outgrow the documents.
    assert found.value("postgres", "threads") == pytest.approx(34.65)
    assert found.value("redis", "cache (allkeys-lru)") == 0.064
    # 730 h of a GPU; 3 x 2 + 1 cores; 3 x 2.02 + 8.919 + .128 GB; 5.25 + 1.90 + 34.65 + 2.89 + 4 = 49 GB.
    assert found.monthly_cost == pytest.approx(1_460 + 140 + 15.107 * 3 + 4.9, abs=0.01)
    assert any("10" in each and "80 %" in each for each in found.advice)


def test_five_million_chunks_are_reckoned_and_said_to_be() -> None:
    found = planned(LARGEST)
    assert found.shape == "cluster"
    # (5 x 1.898 + 5 x 2.916) / .75 + 4: a build gets 4 GB at most.
    assert found.value("postgres", "memory") == pytest.approx(24.07 / 0.75 + 4)
    assert found.value("postgres", "CPU of a search") == pytest.approx(42.7 * 5**0.34)
    assert found.value("postgres", "cores") == math.ceil(10_000 / 36_000 * 3 * 42.7 * 5**0.34 / 1000 / 0.5) == 1
    assert found.value("postgres", "first ingestion") == pytest.approx(24.03, abs=0.01)
    assert any("not measured" in each for each in found.advice)
    # 26.25 + 9.49 + 34.65 + 14.46 + 4
    assert found.value("postgres", "disk") == 89
    # 2 x (.833/s x 3,600 s x 5,250 bytes + 10,000 x 1,850 bytes)
    assert found.value("redis", "cache (allkeys-lru)") == pytest.approx(0.0685)
    # 450 million tokens in, 60 out; 7 cores; 3 x 2.02 + 36.093 + .1325 GB.
    assert found.monthly_cost == pytest.approx(450 + 240 + 140 + (6.06 + 36.093 + 0.1325) * 3 + 8.9, abs=0.01)


def test_an_assumption_of_yours_replaces_ours_and_says_so() -> None:
    assumptions = assume(["cpu_ms_per_answer=5000"])
    assert assumptions["cpu_ms_per_answer"].source == "you"
    found = plan(replace(LARGEST, chunks=0), assumptions)
    # .833/s x 5 s = 4.17 cores, of which half may be used.
    assert found.value("service", "workers needed") == 9
    assert found.value("service", "replicas") == 5


@pytest.mark.parametrize("name", ASSUMPTIONS)
@pytest.mark.parametrize("model", ["extractive", "api", "gpu"])
def test_every_assumption_has_a_range_and_its_ends_give_a_plan(name: str, model: Model) -> None:
    largest = Workload(users=MAX_USERS, questions_per_day=MAX_QUESTIONS_PER_DAY, chunks=MAX_CHUNKS, model=model)
    least, most = RANGES[name] if name in RANGES else RANGES_OF_UNITS[ASSUMPTIONS[name].unit]
    default = ASSUMPTIONS[name].value
    assert default is None or least <= default <= most
    for value in (least or 1e-9, most):
        found = planned(largest, f"{name}={value}")
        assert found.monthly_cost is not None
        assert math.isfinite(found.monthly_cost)
        assert all(math.isfinite(line.value) for line in found.lines if not isinstance(line.value, str))


workloads = st.builds(
    Workload,
    users=st.integers(1, 10_000),
    questions_per_day=st.floats(0, 1e6),
    chunks=st.integers(0, 10_000_000),
    hit_rate=st.floats(0, 1),
    model=st.sampled_from(["extractive", "api", "gpu"]),
)


@given(workloads)
def test_more_questions_or_chunks_never_need_less(workload: Workload) -> None:
    small, large = (
        planned(workload),
        planned(replace(workload, questions_per_day=workload.questions_per_day * 2, chunks=workload.chunks * 2)),
    )
    for section, name in (
        ("service", "workers needed"),
        ("postgres", "memory"),
        ("postgres", "disk"),
        ("postgres", "cores"),
        ("model", "GPUs"),
    ):
        assert small.value(section, name) <= large.value(section, name)
    assert small.monthly_cost is not None
    assert math.isfinite(small.monthly_cost)
    assert all(line.how for line in small.lines)


@given(workloads)
def test_a_better_cache_never_needs_more_to_answer(workload: Workload) -> None:
    better = replace(workload, hit_rate=(1 + workload.hit_rate) / 2)
    for section, name in (("service", "workers needed"), ("postgres", "cores"), ("model", "GPUs")):
        assert planned(better).value(section, name) <= planned(workload).value(section, name)


def test_the_tables_of_the_docs_say_what_the_planner_says() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| 1") or line.startswith("| 5000")]
    names = [
        "tables",
        "indexes",
        "memory",
        "shared_buffers",
        "effective_cache_size",
        "maintenance_work_mem",
        "disk",
        "CPU of a search",
        "first ingestion",
    ]
    assert len(rows) == 5
    for row in rows:
        cells = [float(cell.split()[0]) for cell in row.strip("| ").split("|")]
        found = planned(Workload(users=50, questions_per_day=0, chunks=int(cells[0])))
        for name, cell in zip(names, cells[1:], strict=True):
            assert found.value("postgres", name) == pytest.approx(cell, rel=0.06), (row, name)
