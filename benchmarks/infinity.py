"""infinity-emb, a server with dynamic batching, as the encoder's peer: asked over HTTP, on torch, on the CPU."""

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.ports import free_port
from tests.processes import end, wait_until_ready

REQUEST_TEXTS = 32
START_TIMEOUT_S = 120


def measure_infinity(python: str, given: dict[str, Any]) -> dict[str, float]:
    """The columns of benchmarks/encoders.py. CPU is the server's alone."""
    port = free_port()
    command = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", given["model"], "--engine", "torch"]
    command += ["--device", "cpu", "--dtype", "float32", "--no-bettertransformer", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "peer"]
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    started = time.perf_counter()
    server = subprocess.Popen(
        command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    process = psutil.Process(server.pid)

    def cpu_s() -> float:
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    try:
        wait_until_ready(server, f"http://127.0.0.1:{port}/health", START_TIMEOUT_S)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:

            def embed(texts: Sequence[str]) -> None:
                for start in range(0, len(texts), REQUEST_TEXTS):
                    body = {"model": "peer", "input": list(texts[start : start + REQUEST_TEXTS])}
                    http.post("/embeddings", json=body).raise_for_status()

            embed(given["questions"][:1])
            row = {"start_s": time.perf_counter() - started, "start_cpu_s": cpu_s()}
            row["rss_mb"] = process.memory_info().rss / 1024**2
            for name, texts in given["texts"].items():
                since, before = time.perf_counter(), cpu_s()
                embed(texts)
                row[f"{name}_per_s"] = len(texts) / (time.perf_counter() - since)
                row[f"{name}_cpu_ms"] = (cpu_s() - before) / len(texts) * 1000
            times, before = [], cpu_s()
            for text in given["questions"]:
                since = time.perf_counter()
                embed([text])
                times.append((time.perf_counter() - since) * 1000)
            row["question_p50_ms"] = statistics.median(times)
            row["question_cpu_ms"] = (cpu_s() - before) / len(times) * 1000
            row["peak_mb"] = peak_mb(server.pid)
            return row
    finally:
        end(server, 30)


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
