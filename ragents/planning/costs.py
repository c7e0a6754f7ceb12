"""Money: quantities of a month times your prices. A price that is not known leaves the sum open."""

from dataclasses import dataclass

from ragents.planning.sheet import Sheet
from ragents.planning.types import Workload

HOURS_PER_MONTH = 730


@dataclass(frozen=True)
class Cost:
    monthly: float | None
    per_question: float | None
    unpriced: list[str]


def price(sheet: Sheet, workload: Workload, *, cores: int, memory_gb: float, disk_gb: float, gpus: int) -> Cost:
    questions = workload.questions_per_day * sheet["days_per_month"]
    asked = questions * (1 - workload.hit_rate) if workload.model == "api" else 0.0
    quantities = {
        "price_prompt": (asked * sheet["prompt_tokens"] / 1e6, "million tokens to the model"),
        "price_completion": (asked * sheet["completion_tokens"] / 1e6, "million tokens from the model"),
        "price_gpu_hour": (float(gpus * HOURS_PER_MONTH), "hours of a GPU"),
        "price_core_month": (float(cores), "cores (service and Postgres)"),
        "price_gb_month": (memory_gb, "GB of memory (service, Postgres, Redis)"),
        "price_disk_gb_month": (disk_gb, "GB of disk (Postgres, without backups)"),
    }
    total, unpriced = 0.0, []
    for name, (quantity, what) in quantities.items():
        each = sheet.price(name)
        if quantity == 0:
            continue
        if each is None:
            unpriced.append(f"{quantity:,.4g} {what} x your price (--assume {name}=...)")
            continue
        total += sheet.put("cost", what, quantity * each, "a month", f"{quantity:,.4g} x your price {each:g}")
    if unpriced:
        return Cost(None, None, unpriced)
    return Cost(total, total / questions if questions else None, [])
