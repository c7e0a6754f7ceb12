"""The commands: their exit statuses, and results on stdout alone."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragents.agents.conversations import Conversations
from ragents.agents.types import AgentAnswer
from ragents.cli.main import cli
from ragents.rag.types import RAGResponse

RUNNER = CliRunner()
DOUBLES = {
    "RAGENTS_STORE__BACKEND": "memory",
    "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
    "RAGENTS_CHECKPOINT__BACKEND": "memory",
}


@pytest.fixture(autouse=True)
def _doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGENTS_CONFIG", raising=False)
    for name, value in DOUBLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "command",
    ["serve", "ingest", "query", "delete", "reembed", "eval", "doctor", "db", "db migrate", "agents", "agents draw"],
)
def test_every_command_has_a_help_text(command: str) -> None:
    result = RUNNER.invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize("tenant", ["", "  ", "x" * 201])
@pytest.mark.parametrize("command", ["ingest .", "delete a.md", "reembed", "keys list", "query why"])
def test_a_tenant_without_a_name_is_refused(command: str, tenant: str) -> None:
    result = RUNNER.invoke(cli, [*command.split(), "--tenant", tenant])
    assert result.exit_code == 2
    assert "expected 1 to 200 characters" in " ".join(result.output.split())


def test_the_version_is_told() -> None:
    assert RUNNER.invoke(cli, ["--version"]).stdout.startswith("ragents 0.")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["query"], 2, "give a question"),
        (["query", "x", "--file", "y"], 2, "give a question"),
        (["query", "x", "--top-k", "99"], 2, "equal to 50"),
        (["query", "x"], 1, "no collection 'default'"),
        (["query", "--file", "nowhere.txt"], 2, "nowhere.txt"),
        (["query", "x", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["query", ""], 2, "empty"),
        (["query", "x", "-a", "nope"], 2, "'nope'"),
        (["ingest", ".", "-c", ""], 2, "expected 1 to 200"),
        (["ingest", ".", "-c", "a\nb"], 2, "expected 1 to 200"),
        (["ingest", "nowhere"], 2, "does not exist"),
        (["delete", "nothing.md"], 1, "no document 'nothing.md'"),
        (["db", "migrate"], 2, "has no schema"),
        (["reembed"], 2, "store.backend = 'postgres' can"),
        (["eval"], 2, "give a BEIR folder"),
        (["eval", "nowhere"], 2, "corpus.jsonl is missing"),
        (["eval", "nowhere", "--fail-under", "ndcg=1"], 2, "hybrid.ndcg@10"),
        (["eval", "--answers", "nowhere.jsonl"], 2, "nowhere.jsonl"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(arguments: list[str], status: int, words: str) -> None:
    result = RUNNER.invoke(cli, arguments)
    assert result.exit_code == status, result.output
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"q": 1}\n', 'a.jsonl, line 2: expected {"text": "..."}'),
        ("a.jsonl", b'{"text": 7}\n', "a.jsonl, line 1: expected"),
        ("a.jsonl", b'{"text": " "}\n', "a.jsonl, line 1: expected"),
        ("a.jsonl", b'["text"]\n', "line 1: a JSON list"),
        ("a.jsonl", b'{"text"\n', "line 1: not JSON"),
        ("a.txt", b"\x80\xff\x00", "a.txt' is not text in UTF-8"),
        ("a.txt", b" \n\n", "a.txt' holds no question"),
        ("a.jsonl", b"", "a.jsonl' holds no question"),
    ],
)
def test_a_file_of_questions_that_cannot_be_read_is_one_line_and_nothing_is_asked(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = RUNNER.invoke(cli, ["query", "--file", str(tmp_path / name)])
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_the_questions_of_a_file_are_printed_with_their_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(self: object, text: str, **_: object) -> AgentAnswer:
        return AgentAnswer("t", "simple", RAGResponse(text, answer=f"the answer to {text}"))

    monkeypatch.setattr(Conversations, "ask", ask)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"question": "two"}\n{"text": "three"}\n')
    arguments = ["query", "--file", str(tmp_path / "a.jsonl"), "--limit", "2"]
    shown = RUNNER.invoke(cli, arguments)
    assert shown.exit_code == 0, shown.output
    assert "the answer to one" in shown.stdout
    assert "the answer to two" in shown.stdout
    assert "three" not in shown.output
    lines = [json.loads(line) for line in RUNNER.invoke(cli, [*arguments, "--json"]).stdout.splitlines()]
    assert [(each["query"], each["answer"]) for each in lines] == [
        ("one", "the answer to one"),
        ("two", "the answer to two"),
    ]


def test_ingest_reports_counts_and_names_what_it_could_not_take(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nSome text.\n")
    (tmp_path / "b.pdf").write_bytes(b"nonsense")
    result = RUNNER.invoke(cli, ["ingest", str(tmp_path), "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (report["created"], report["failures"][0]["reason"]) == (1, "mislabelled")
    shown = RUNNER.invoke(cli, ["ingest", str(tmp_path)])
    assert "1 documents new" in shown.output
    assert "1 not taken, files or single documents in them" in " ".join(shown.output.split())
    assert "mislabelled" in shown.output


def test_a_port_for_metrics_that_is_taken_stops_an_ingestion_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nSome text.\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = RUNNER.invoke(cli, ["ingest", str(tmp_path), "--metrics-port", port])
    assert result.exit_code == 2, result.output
    assert f"--metrics-port {port} cannot be listened on" in result.output


def test_doctor_says_what_is_wrong_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGENTS_RAG__TOP_Q", "3")
    result = RUNNER.invoke(cli, ["doctor", "--json"])
    (failed,) = [f for f in json.loads(result.stdout)["findings"] if f["verdict"] == "failed"]
    assert result.exit_code == 1
    assert (failed["check"], "rag.top_q" in failed["found"]) == ("settings", True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PROVIDER": "opnai", "MODEL_NAME": "x"}, "'opnai'"),
        ({"PROVIDER": "openai", "BASE_URL": "http://127.0.0.1:9"}, "llm.model_name is not set"),
        ({"FALLBACKS": '[{"provider": "openai"}]'}, "llm.fallbacks.0.api_key is not set"),
    ],
)
def test_a_language_model_that_cannot_be_made_is_told_by_doctor_and_before_anything_is_served(
    settings: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"RAGENTS_LLM__{name}", value)
    found = json.loads(RUNNER.invoke(cli, ["doctor", "--json"]).stdout)["findings"]
    (failed,) = [each for each in found if each["verdict"] == "failed"]
    assert failed["check"] == "llm"
    assert words in failed["found"]
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("it was served"))
    served = RUNNER.invoke(cli, ["serve"])
    assert served.exit_code == 2, served.output
    assert words in served.output.replace("\n", " ")
    assert "serving" not in served.output


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"CACHE__BACKEND": "redis", "CACHE__REDIS_URL": "127.0.0.1:6379"}, "cache.redis_url"),
        ({"CHECKPOINT__BACKEND": "redis", "CHECKPOINT__REDIS_URL": "127.0.0.1:6379"}, "checkpoint.redis_url"),
        ({"RATE_LIMIT__REDIS_URL": "127.0.0.1:6379"}, "rate_limit.redis_url"),
    ],
)
def test_what_is_no_redis_url_is_told_by_doctor_and_before_anything_is_served(
    settings: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in settings.items():
        monkeypatch.setenv(f"RAGENTS_{key}", value)
    examined = RUNNER.invoke(cli, ["doctor", "--json"])
    (failed,) = [each for each in json.loads(examined.stdout)["findings"] if each["verdict"] == "failed"]
    assert (examined.exit_code, failed["check"]) == (1, "redis")
    assert f"{name} is not a Redis URL" in failed["found"]
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("it was served"))
    served = RUNNER.invoke(cli, ["serve"])
    assert served.exit_code == 2, served.output
    assert f"{name} is not a Redis URL" in served.output.replace("\n", " ")
    assert "serving" not in served.output


def test_doctor_fails_where_the_redis_of_the_threads_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}/1"
    monkeypatch.setenv("RAGENTS_CHECKPOINT__BACKEND", "redis")
    monkeypatch.setenv("RAGENTS_CHECKPOINT__REDIS_URL", url)
    examined = RUNNER.invoke(cli, ["doctor", "--json"])
    (failed,) = [each for each in json.loads(examined.stdout)["findings"] if each["verdict"] == "failed"]
    assert (examined.exit_code, failed["check"]) == (1, "redis")


def _llm_finding() -> dict[str, str]:
    result = RUNNER.invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    (found,) = [each for each in json.loads(result.stdout)["findings"] if each["check"] == "llm"]
    return found


def test_doctor_warns_of_a_model_s_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    monkeypatch.setenv("RAGENTS_LLM__PROVIDER", "openai")
    monkeypatch.setenv("RAGENTS_LLM__MODEL_NAME", "m")
    monkeypatch.setenv("RAGENTS_LLM__BASE_URL", address)
    found = _llm_finding()
    assert found["verdict"] == "warning"
    assert f"openai/m: {address} cannot be reached" in found["found"]


def test_doctor_is_content_with_a_model_s_server_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # which has no GET: 501
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("RAGENTS_LLM__PROVIDER", "openai")
        monkeypatch.setenv("RAGENTS_LLM__MODEL_NAME", "m")
        monkeypatch.setenv("RAGENTS_LLM__BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        found = _llm_finding()
        server.shutdown()
    assert (found["verdict"], found["found"]) == ("ok", "openai/m")


def test_doctor_warns_of_an_address_whose_provider_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGENTS_LLM__BASE_URL", "http://ann:secret@127.0.0.1:9/v1")
    found = _llm_finding()
    assert found["verdict"] == "warning"
    assert "http://127.0.0.1:9/v1 is not used" in found["found"]


def test_doctor_warns_of_a_store_that_forgets() -> None:
    result = RUNNER.invoke(cli, ["doctor", "--json"])
    verdicts = {f["check"]: f["verdict"] for f in json.loads(result.stdout)["findings"]}
    assert (result.exit_code, verdicts["postgres"]) == (0, "warning")


def test_agents_are_listed_and_drawn(tmp_path: Path) -> None:
    assert set(json.loads(RUNNER.invoke(cli, ["agents", "list", "--json"]).stdout)) == {
        "simple",
        "logical",
        "langgraph",
        "react",
    }
    assert "retrieve --> answer" in RUNNER.invoke(cli, ["agents", "draw", "simple"]).stdout
    unknown = RUNNER.invoke(cli, ["agents", "draw", "nobody"])
    assert unknown.exit_code == 2
    file = tmp_path / "a.md"
    file.write_text("# A\n\n<!-- graph simple -->\nold\n<!-- end -->\n")
    assert RUNNER.invoke(cli, ["agents", "draw", "simple", "--into", str(file)]).exit_code == 0
    assert "```mermaid" in file.read_text()
    assert "old" not in file.read_text()
    assert RUNNER.invoke(cli, ["agents", "draw", "react", "--into", str(file)]).exit_code == 2


def test_an_answer_to_an_agent_needs_its_thread() -> None:
    assert RUNNER.invoke(cli, ["query", "5 March", "--resume"]).exit_code == 2


def test_a_test_collection_is_measured_and_can_fail(tmp_path: Path) -> None:
    texts = {"d1": "The sky is blue.", "d2": "Grass is green.", "d3": "Snow is white."}
    records = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join([*records, '{"_id": "d4", "title": "", "text": ""}']))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "What is green?"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td2\t1\n")
    result = RUNNER.invoke(cli, ["eval", str(tmp_path), "--json", "--fail-under", "lexical.mrr@10=1"])
    assert result.exit_code == 0, result.output
    modes = json.loads(result.stdout)["modes"]
    assert set(modes) == {"dense", "lexical", "hybrid"}
    assert modes["lexical"]["ndcg@10"] == 1.0
    assert set(modes["hybrid"]) == {"ndcg@10", "recall@100", "mrr@10", "ms_per_query"}
    shown = RUNNER.invoke(cli, ["eval", str(tmp_path), "--fail-under", "dense.recall@100=1.1"])
    assert shown.exit_code == 1
    assert "below 1.1" in shown.output
