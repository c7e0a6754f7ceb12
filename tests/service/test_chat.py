"""OpenAI's chat completions, asked by OpenAI's own client."""

import httpx
import openai
import pytest

QUESTION = "Where does batching sit?"
AGENTS = {"simple", "langgraph", "logical", "react"}


@pytest.fixture
def chat(client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="none", http_client=client, max_retries=0)


async def test_an_unknown_model_is_refused_in_the_shape_of_openai(chat: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="choose one of 'simple'") as caught:
        await chat.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": QUESTION}])
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as caught:
        await chat.models.retrieve("gpt-9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "query"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"extra_body": {"ragents": {"collection": 5}}}, "ragents.collection"),
        ({"extra_body": {"ragents": {"surprise": 5}}}, "ragents.surprise"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_no_agent_can_be_asked_names_its_field(
    chat: openai.AsyncOpenAI, fields: dict[str, object], param: str, stream: bool
) -> None:
    request = {"model": "simple", "messages": [{"role": "user", "content": QUESTION}], "stream": stream, **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        await chat.chat.completions.create(**request)
    assert caught.value.param == param


async def test_errors_before_the_route_have_the_shape_too(stranger: httpx.AsyncClient) -> None:
    response = await stranger.post("/v1/chat/completions", json={})
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "permission_error"
    unknown = await stranger.get("/v1/nothing")
    assert isinstance(unknown.json()["error"], dict)


async def test_the_models_are_the_agents(chat: openai.AsyncOpenAI) -> None:
    assert {model.id async for model in await chat.models.list()} == AGENTS
    assert (await chat.models.retrieve("react")).owned_by == "ragents"


async def test_an_answer_has_its_sources_in_a_field_of_its_own(chat: openai.AsyncOpenAI) -> None:
    answer = await chat.chat.completions.create(model="simple", messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    extension = answer.model_extra["ragents"]  # type: ignore[index]
    assert extension["sources"]
    assert {"citations", "confidence", "thread_id", "request_id", "cached"} <= set(extension)


@pytest.mark.parametrize("model", sorted(AGENTS))
async def test_a_stream_is_the_answer(chat: openai.AsyncOpenAI, model: str) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    whole = await chat.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
    stream = await chat.chat.completions.create(
        model=model,
        messages=messages,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    parts = [part async for part in stream]
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == whole.choices[0].message.content
    assert parts[-1].usage is not None
    extensions = [part.model_extra["ragents"] for part in parts if part.model_extra and "ragents" in part.model_extra]
    assert extensions[-1]["sources"] == next(e["sources"] for e in extensions if "sources" in e)


async def test_the_conversation_is_the_clients_own(chat: openai.AsyncOpenAI) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What does the encoder do?"},
        {"role": "assistant", "content": "It batches [1]."},
    ]
    question = {"role": "user", "content": [{"type": "text", "text": QUESTION}]}
    answer = await chat.chat.completions.create(model="simple", messages=[*history, question])  # type: ignore[list-item]
    thread = answer.model_extra["ragents"]["thread_id"]  # type: ignore[index]
    told = (await chat._client.get(f"/threads/{thread}")).json()["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user", "assistant"]


async def test_a_thread_keeps_the_conversation_at_the_server(chat: openai.AsyncOpenAI) -> None:
    for text in ("What does the encoder do?", QUESTION):
        await chat.chat.completions.create(
            model="simple",
            messages=[{"role": "assistant", "content": "ignored"}, {"role": "user", "content": text}],
            extra_body={"ragents": {"thread_id": "kept-by-the-server"}},
        )
    told = (await chat._client.get("/threads/kept-by-the-server")).json()["messages"]
    assert [message["role"] for message in told] == ["user", "assistant"] * 2
