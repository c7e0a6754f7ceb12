"""Log lines: whose they are, and no word of a question in them unless it is asked for."""

import json
import logging
from collections.abc import Iterator

import pytest

from benchmarks.mock_llm import MockLLM
from benchmarks.mock_llm.types import Step
from ragents import tracing
from ragents.deployment.http import RequestContext, enter_request, respond
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.observability.logs import configure_logging
from ragents.errors import RAGentsError
from tests.otlp import open_receiver
from tests.traced import SCRIPTS, open_traced

SECRET = "Zwetschgenkuchen"
log = logging.getLogger("ragents.test")


@pytest.fixture(autouse=True)
def the_loggers_of_before() -> Iterator[None]:
    logger = logging.getLogger("ragents")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def configure(**settings: object) -> None:
    configure_logging(ObservabilityConfig.model_validate({"log_level": "DEBUG", **settings}))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("agent", SCRIPTS)
@pytest.mark.parametrize("fault", [None, "500", "garbage", "empty"])
async def test_no_line_has_a_word_of_the_question_by_default(
    agent: str, fault: str | None, mock: MockLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format="json")
    with open_receiver() as receiver:
        async with open_traced(receiver, mock) as traced:
            mock.play(*([Step(fault=fault)] if fault else SCRIPTS[agent]))  # type: ignore[arg-type]
            try:
                await traced.ask(f"Where does {SECRET} sit?", agent_type=agent, thread_id=SECRET[:4])
            except RAGentsError:
                assert fault
    assert SECRET not in capsys.readouterr().err


async def test_the_question_is_logged_where_it_is_asked_for(mock: MockLLM, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    mock.play(*SCRIPTS["simple"])
    with open_receiver() as receiver:
        async with open_traced(receiver, mock, log_content=True) as traced:
            await traced.ask(f"Where does {SECRET} sit?")
    (line,) = [each for each in lines(capsys) if SECRET in str(each["message"])]
    assert line["request_id"] == "r1"


async def test_a_defect_is_logged_by_kind_and_place_and_not_by_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> dict[str, object]:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"no such thing: {SECRET}") from error

    for content in (False, True):
        configure(log_format="json", log_content=content)
        enter_request(RequestContext("r-9"))
        assert (await respond(fail)).status_code == 500
        line, answered = lines(capsys)
        assert line["request_id"] == answered["request_id"] == "r-9"
        error = str(line["error"])
        assert "ValueError" in error
        assert "KeyError" in error
        assert "in fail" in error
        assert (SECRET in error) is content


async def test_a_json_line_names_request_and_trace(mock: MockLLM, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    enter_request(RequestContext("r-1"))
    with open_receiver() as receiver:
        async with open_traced(receiver, mock):
            with tracing.question("question simple"):
                log.info('with "quotes",\nlines and %s', "ä")
                trace_id = tracing.trace_id()
            log.info("outside")
    inside, outside = [each for each in lines(capsys) if each["logger"] == "ragents.test"]
    assert inside["message"] == 'with "quotes",\nlines and ä'
    assert (inside["level"], inside["request_id"], inside["trace_id"]) == ("INFO", "r-1", trace_id)
    assert outside["trace_id"] is None


@pytest.mark.parametrize(("image", "as_json"), [("true", True), ("", False)])
def test_the_format_is_json_in_an_image_and_text_elsewhere(
    image: str, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAGENTS_IMAGE", image)
    configure()
    log.info("hello")
    assert capsys.readouterr().err.startswith("{") is as_json
