"""The arithmetic: from questions at the peak to workers, from workers to a shape, and to what it costs."""

from collections.abc import Mapping
from math import ceil

from ragents.planning.assumptions import Assumption
from ragents.planning.costs import price
from ragents.planning.sheet import Sheet
from ragents.planning.stores import Postgres, size_postgres, size_redis
from ragents.planning.types import Plan, Shape, Workload

REPLICAS = {"local": 1, "one machine": 2, "cluster": 3}
"""At least: two outlive a restart of one, three are the HPA's minimum (k8s/deployment.yaml)."""
WORKERS = {"local": 1, "one machine": 1, "cluster": 2}
"""Of one replica, as deploy/compose.yaml and k8s/deployment.yaml have them."""
MOST_PODS, SURGE = 20, 1
"""maxReplicas and maxSurge of k8s/deployment.yaml: so many servers hold connections at once."""
POD_CORES, POD_GB = 2, 4.3
"""What a pod of k8s/deployment.yaml requests (4 GiB)."""
REST_CORES, REST_GB = 1.0, 4.0
"""Redis, the proxy, Prometheus, Grafana: what deploy/compose.yaml runs besides."""
QUEUE_TRIGGER, GPU_TRIGGER = 10, 80


def plan(workload: Workload, assumptions: Mapping[str, Assumption]) -> Plan:
    """Sizes for the peak, and costs for the month. Pure arithmetic: the same for the same numbers."""
    sheet = Sheet({name: each.value for name, each in assumptions.items()})
    peak, answered = _load(sheet, workload)
    workers = _workers(sheet, workload, answered, peak - answered)
    postgres = size_postgres(sheet, workload, answered)
    shape = _shape(sheet, workload, workers, postgres)
    replicas = _service(sheet, shape, workers)
    per_replica = WORKERS[shape]
    _connections(sheet, shape, replicas)
    redis_gb = size_redis(sheet, workload, answered) if shape != "local" else _no_redis(sheet)
    gpus = _model(sheet, workload, answered)
    cost = price(
        sheet,
        workload,
        cores=replicas * per_replica + postgres.cores,
        memory_gb=replicas * replica_gb(sheet, per_replica) + postgres.memory_gb + redis_gb,
        disk_gb=postgres.disk_gb,
        gpus=gpus,
    )
    sections = list(dict.fromkeys(line.section for line in sheet.lines))
    return Plan(
        shape=shape,
        lines=sorted(sheet.lines, key=lambda line: sections.index(line.section)),
        advice=_advice(shape, workload, postgres, replicas),
        unpriced=cost.unpriced,
        monthly_cost=cost.monthly,
        cost_per_question=cost.per_question,
    )


def _load(sheet: Sheet, workload: Workload) -> tuple[float, float]:
    """Questions a second at the peak: all, and those that no cache answers."""
    hours, factor = sheet["busy_hours"], sheet["peak_factor"]
    peak = sheet.put(
        "load",
        "questions at the peak",
        workload.questions_per_day / (hours * 3600) * factor,
        "/s",
        f"{workload.questions_per_day:g} a day / ({hours:g} h x 3600 s) x {factor:g}",
    )
    answered = sheet.put(
        "load",
        "of them answered afresh",
        peak * (1 - workload.hit_rate),
        "/s",
        f"{peak:.3g} x (1 - {workload.hit_rate:g})",
    )
    return peak, answered


def _workers(sheet: Sheet, workload: Workload, answered: float, hits: float) -> int:
    extractive = workload.model == "extractive"
    cpu_ms = sheet["extractive_cpu_ms" if extractive else "cpu_ms_per_answer"]
    cores = sheet.put(
        "service",
        "CPU at the peak",
        (answered * cpu_ms + hits * sheet["cpu_ms_per_hit"]) / 1000,
        "cores",
        f"({answered:.3g}/s x {cpu_ms:g} ms + {hits:.3g}/s x {sheet['cpu_ms_per_hit']:g} ms) / 1000",
    )
    seconds = sheet["extractive_s" if extractive else "model_s"]
    places = sheet.put(
        "service",
        "answers in the making",
        answered * seconds,
        "",
        f"{answered:.3g}/s x {seconds:g} s each (Little)",
    )
    share, each = sheet["utilisation"], sheet["max_in_flight"]
    return int(
        sheet.put(
            "service",
            "workers needed",
            max(1, ceil(cores / share), ceil(places / (each * share))),
            "",
            f"the larger of {cores:.3g} / {share:g} cores and {places:.3g} / ({each:g} x {share:g}) places, at least 1",
        )
    )


def _shape(sheet: Sheet, workload: Workload, workers: int, postgres: Postgres) -> Shape:
    if workload.users <= sheet["local_users"] and workers == 1 and workload.chunks <= sheet["local_chunks"]:
        return "local"
    if workload.users >= sheet["cluster_users"]:
        return "cluster"
    replicas = max(REPLICAS["one machine"], workers)
    memory_gb = replicas * replica_gb(sheet, 1) + postgres.memory_gb + REST_GB
    fits = replicas + postgres.cores + REST_CORES <= sheet["machine_cores"] and memory_gb <= sheet["machine_gb"]
    return "one machine" if fits else "cluster"


def replica_gb(sheet: Sheet, workers: int) -> float:
    return 2 * (sheet["listener_mb"] + workers * sheet["worker_mb"]) / 1000


def _service(sheet: Sheet, shape: Shape, workers: int) -> int:
    least, each = REPLICAS[shape], WORKERS[shape]
    replicas = int(
        sheet.put(
            "service",
            "replicas",
            max(least, ceil(workers / each)),
            "",
            f"{workers} workers, {each} in each, at least {least} ({shape})",
        )
    )
    sheet.put(
        "service",
        "memory of a replica",
        replica_gb(sheet, each),
        "GB",
        f"2 x ({sheet['listener_mb']:g} + {each} x {sheet['worker_mb']:g}) MB: idle at half of it",
    )
    return replicas


def _connections(sheet: Sheet, shape: Shape, replicas: int) -> None:
    """At most: in a cluster the autoscaler, not this plan, says how many pods there are."""
    each, pool = WORKERS[shape], sheet["pool_size"]
    most = max(replicas, MOST_PODS) + SURGE if shape == "cluster" else replicas
    what = f"{most} pods (the HPA's most, and one of a roll-out)" if shape == "cluster" else f"{replicas} replicas"
    sheet.put(
        "postgres",
        "connections",
        ceil(most * each * pool) + 20,
        "",
        f"{what} x {each} workers x {pool:g} + 20 for everything else",
    )


def _no_redis(sheet: Sheet) -> float:
    sheet.say("redis", "cache and limits", "in the process", "one worker shares with nobody")
    return 0.0


def _model(sheet: Sheet, workload: Workload, answered: float) -> int:
    """GPUs."""
    if workload.model != "gpu":
        sheet.put("model", "GPUs", 0, "", f"model: {workload.model}")
        return 0
    tokens, able, share = sheet["completion_tokens"], sheet["gpu_tokens_per_s"], sheet["gpu_utilisation"]
    wanted = sheet.put(
        "model", "tokens to write at the peak", answered * tokens, "/s", f"{answered:.3g}/s x {tokens:g}"
    )
    return int(
        sheet.put(
            "model",
            "GPUs",
            max(1, ceil(wanted / (able * share))),
            "",
            f"{wanted:.3g} / ({able:g} x {share:g}), at least 1; for a failure one more",
        )
    )


def _advice(shape: Shape, workload: Workload, postgres: Postgres, replicas: int) -> list[str]:
    place = {
        "local": "ragents serve, with the embedded Postgres",
        "one machine": "deploy/compose.yaml",
        "cluster": "k8s/, or managed services: docs/scaling.md",
    }
    advice = [f"{shape}: {place[shape]}"]
    if shape == "cluster":
        advice.append(
            f"nodes: a pod of k8s/ requests {POD_CORES} cores and {POD_GB:g} GB whatever it uses, so {replicas} take "
            f"{replicas * POD_CORES} and {replicas * POD_GB:.3g}"
        )
    if workload.model == "gpu":
        advice.append(
            f"another GPU when vLLM's queue (vllm:num_requests_waiting) stays above {QUEUE_TRIGGER} "
            f"or the GPU above {GPU_TRIGGER} %"
        )
    if workload.hit_rate == 0:
        advice.append("--hit-rate is 0: rag_cache_hit_rate of a running server tells yours")
    if postgres.extrapolated:
        advice.append("more than 1,000,000 chunks: searches and index are reckoned on, not measured")
    return advice
