"""Threads over processes: a question asked back is answered elsewhere, a turn is made once."""

import httpx

from tests.e2e.conftest import StartServer


def test_a_question_asked_back_is_answered_on_another_process(start_server: StartServer) -> None:
    first = start_server("threads")
    asked = first.ask("How many days lie between the two dates?", agent_type="logical", thread_id="dates")
    assert "two dates" in str(asked["pending"]["question"])  # type: ignore[index]
    first.kill()

    second = start_server("threads")
    thread = httpx.get(f"{second.url}/threads/dates", timeout=30).json()
    assert (thread["state"], thread["agent_type"]) == ("waiting", "logical")
    reply = {"answer": "2021-03-03 and 2022-01-05"}
    answer = httpx.post(f"{second.url}/threads/dates/resume", json=reply, timeout=60).json()
    assert "308 days" in answer["answer"]
    thread = httpx.get(f"{second.url}/threads/dates", timeout=30).json()
    assert thread["state"] == "idle"
    assert [message["role"] for message in thread["messages"]] == ["user", "assistant"] * 2

    again = {"query": "What keeps tenants apart?", "thread_id": "once", "use_cache": False}
    bodies = [
        httpx.post(f"{second.url}/query", json=again, headers={"Idempotency-Key": "k1"}, timeout=60).json()
        for _ in range(2)
    ]
    assert bodies[0]["answer"] == bodies[1]["answer"]
    thread = httpx.get(f"{second.url}/threads/once", timeout=30).json()
    assert [message["role"] for message in thread["messages"]] == ["user", "assistant"]

    assert httpx.delete(f"{second.url}/threads/once", timeout=30).status_code == 200
    assert httpx.get(f"{second.url}/threads/once", timeout=30).status_code == 404
    second.stop()
