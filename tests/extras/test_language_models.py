"""A real server with a real (tiny, random) model, and a provider of LangChain's that is not built in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from benchmarks.mock_llm import open_mock_llm
from ragents.agents.simple import SimpleAgent
from ragents.llm.client import LLMClient
from ragents.llm.types import ModelConfig
from tests.doubles import make_engine
from tests.ports import free_port
from tests.processes import end, wait_until_ready

pytestmark = pytest.mark.extras

START_TIMEOUT_S = 120
SAID = ["user: where is it? assistant: the passages tell that the store is there"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of Llama with random weights, the same each time, and a byte-level tokenizer.

    Others might end at once, or with half a character, which a server holds back: it would have said nothing.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SAID, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(1)
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve`, which loads what a request names."""
    home, port = tmp_path_factory.mktemp("hub"), free_port()
    (home / "hub").mkdir()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", START_TIMEOUT_S, log=home / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end(process, 20)


@pytest.fixture
def llm(transformers_server: str, tiny_model: Path) -> LLMClient:
    config = ModelConfig(
        provider="openai",
        model_name=str(tiny_model),
        base_url=transformers_server,
        max_tokens=12,
        temperature=0.0,
        context_tokens=4096,
    )
    return LLMClient(config)


async def test_a_real_server_answers_and_counts_its_tokens(llm: LLMClient) -> None:
    said = await llm.generate([HumanMessage("where is it?")], max_tokens=5)
    assert said.message.text
    assert 0 < said.usage.completion_tokens <= 5
    assert said.usage.prompt_tokens > 3
    assert not said.usage.estimated


async def test_an_agent_answers_from_its_sources_with_a_real_model(llm: LLMClient) -> None:
    agent = SimpleAgent(llm_client=llm, rag_engine=await make_engine())
    events = [event async for event in agent.stream("Where does adaptive batching sit?")]
    answer = events[-1].answer
    assert answer is not None
    assert answer.response.model == llm.name
    assert answer.response.sources[0].uri == "batching.md"
    assert next(event.kind for event in events if event.kind != "status") == "sources"
    assert "token" in [event.kind for event in events]


async def test_another_provider_is_found_by_its_name() -> None:
    with open_mock_llm() as mock:
        extra = {"api_base": mock.url}
        config = ModelConfig(provider="deepseek", model_name="m", api_key="k", extra=extra)  # type: ignore[arg-type]
        said = await LLMClient(config).generate([HumanMessage("hello")])
        assert said.message.text == "The passages tell. [1]"
        assert mock.seen.headers[0]["authorization"] == "Bearer k"
