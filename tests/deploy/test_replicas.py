"""Three servers behind the shipped haproxy.cfg, on one Postgres and one pair of Redis servers."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks import replicas
from benchmarks.cluster import HAPROXY_CFG, Cluster, open_cluster

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="rt-") as home:
        async with open_cluster(Path(home)) as opened:
            yield opened


def test_haproxy_takes_the_configuration_without_a_warning() -> None:
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, "haproxy is not installed: apt-get install haproxy"
    done = subprocess.run([found, "-c", "-dW", "-f", str(HAPROXY_CFG)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", replicas.EVENTS)
async def test_no_request_fails_and_no_turn_is_lost_or_double_by(cluster: Cluster, name: str) -> None:
    report = await replicas.under_load(cluster, name, replicas.EVENTS[name], seconds=1.0)
    assert report["failures"] == 0, report
    assert report["violations"] == [], report
    assert int(str(report["requests"])) >= 20, "too few to prove anything"
    if name.startswith("kill -9"):
        assert int(str(report["sent_again_by_haproxy"])) >= 1, "nothing was under way: it proves nothing"


async def test_a_conversation_hops_between_servers(cluster: Cluster) -> None:
    found = await replicas.a_conversation_hops(cluster)
    assert (found["in_order"], found["messages"]) == (True, 24)


async def test_what_one_server_has_answered_the_others_find(cluster: Cluster) -> None:
    assert (await replicas.one_cache(cluster))["cached"] == [None, "answer", "answer"]


async def test_together_they_admit_exactly_the_limit(cluster: Cluster) -> None:
    found = await replicas.one_set_of_limits(cluster)
    least, most = found["limit"]  # type: ignore[misc]  # its type is the report's: object
    outcomes = found["outcomes"]
    assert isinstance(outcomes, dict)
    assert least <= outcomes["200"] <= most
    assert outcomes["200"] + outcomes["429"] == replicas.ASKED


async def test_a_stream_goes_on_at_another_server_or_says_that_its_server_is_gone(cluster: Cluster) -> None:
    found = await replicas.a_stream_goes_on_elsewhere(cluster)
    assert found["resumed_whole"]
    assert (found["when_its_server_died"], found["asked_again"], found["messages"]) == ("run_lost", "200", 2)


async def test_a_question_without_a_key_is_never_sent_to_two_servers(cluster: Cluster) -> None:
    found = await replicas.a_question_without_a_key(cluster)
    assert (found["without"], found["code"], found["with"]) == ("502", "bad_gateway", "200")
