"""Settings come from arguments, environment, file and defaults, in that order, and bad ones are named."""

from pathlib import Path

import pytest

from ragents.config import data_home, load_settings
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError


def load(tmp_path: Path, yaml: str = "", environ: dict[str, str] | None = None, **arguments: object) -> ServiceConfig:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml)
    return load_settings(ServiceConfig, path=file, environ=environ or {}, arguments=arguments)


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("rag: {top_q: 3}", ["rag.top_q", "unknown key"]),
        ("retrieval: {}", ["retrieval", "unknown key"]),
        ("rag: {top_k: many}", ["rag.top_k", "'many'"]),
        ("rag: {top_k: 99}", ["rag.top_k", "99"]),
        ("rag: {chunk_size: 200, chunk_overlap: 300}", ["chunk_overlap (300)", "chunk_size (200)"]),
        ("rag: [1, 2]", ["rag: expected keys and values below it, found list"]),
        (
            "rag: {top_k: 3}\nllm: {}\nrag: {candidates: 50}",
            ["settings.yaml line 3", "the key 'rag' is there twice", "line 1"],
        ),
        ("rag:\n  top_k: 3\n  top_k: 4", ["line 3", "the key 'top_k' is there twice", "line 2"]),
        ("rag: {top_k: 3, top_k: 3}", ["line 1", "the key 'top_k' is there twice"]),
        ("- a list", ["expected sections", "list"]),
        ("rag: {top_k: 3", ["line", "YAML"]),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_place(tmp_path: Path, yaml: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, yaml)
    assert all(word in str(error.value) for word in [*words, "settings"])


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_settings(ServiceConfig, path=tmp_path / "nowhere.yaml", environ={})
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_settings(ServiceConfig, environ={"RAGENTS_CONFIG": str(tmp_path / "nowhere.yaml")})


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configuration.yaml").mkdir()
    for environ in ({}, {"RAGENTS_CONFIG": str(tmp_path)}):
        with pytest.raises(ConfigError, match="is a directory; name a YAML file"):
            load_settings(ServiceConfig, environ=environ)


def test_a_key_that_a_merge_brings_may_be_there_as_well(tmp_path: Path) -> None:
    with_merge = "rag:\n  <<: {top_k: 3, candidates: 50}\n  top_k: 4\n"
    assert (load(tmp_path, with_merge).rag.top_k, load(tmp_path, with_merge).rag.candidates) == (4, 50)


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="store\\.pasword"):
        load(tmp_path, environ={"RAGENTS_STORE__PASWORD": "x"})
    with pytest.raises(ConfigError, match="RAGENTS_SECTION__KEY"):
        load(tmp_path, environ={"RAGENTS_": "x"})


def test_secrets_never_appear_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, environ={"RAGENTS_LLM__API_KEY": "[sk-hidden]", "RAGENTS_STORE__DSN": "[postgres://u:hidden@h]"})
    assert "hidden" not in str(error.value)
    assert "llm.api_key" in str(error.value)


def test_arguments_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    yaml = "rag: {top_k: 2, chunk_size: 500, candidates: 50}"
    environ = {"RAGENTS_RAG__TOP_K": "3", "RAGENTS_RAG__CHUNK_SIZE": "600"}
    config = load(tmp_path, yaml, environ, rag={"top_k": 4})
    assert (config.rag.top_k, config.rag.chunk_size, config.rag.candidates) == (4, 600, 50)
    assert config.rag.chunk_overlap == 200


def test_a_key_made_of_digits_stays_text(tmp_path: Path) -> None:
    config = load(tmp_path, environ={"RAGENTS_LLM__API_KEY": "0123e5", "RAGENTS_LLM__MODEL_NAME": "1_000"})
    assert config.llm.api_key is not None
    assert config.llm.api_key.get_secret_value() == "0123e5"
    assert config.llm.model_name == "1_000"


def test_what_has_parts_can_be_an_object_in_the_environment(tmp_path: Path) -> None:
    price = load(tmp_path, environ={"RAGENTS_LLM__PRICE": '{"prompt": 1, "completion": 2.5}'}).llm.price
    assert price is not None
    assert (price.prompt, price.completion) == (1, 2.5)
    yaml = "llm: {price: {prompt: 9, completion: 9}}"
    environ = {"RAGENTS_LLM__PRICE": '{"prompt": 1}', "RAGENTS_LLM__PRICE__COMPLETION": "3"}
    price = load(tmp_path, yaml, environ).llm.price
    assert price is not None
    assert (price.prompt, price.completion) == (1, 3)


def test_a_secret_that_begins_with_a_brace_stays_text(tmp_path: Path) -> None:
    config = load(tmp_path, environ={"RAGENTS_LLM__API_KEY": "{a: b}"})
    assert config.llm.api_key is not None
    assert config.llm.api_key.get_secret_value() == "{a: b}"


def test_a_part_of_what_is_no_object_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RAGENTS_LLM__PRICE__PROMPT.*'price'"):
        load(tmp_path, environ={"RAGENTS_LLM__PRICE": "5", "RAGENTS_LLM__PRICE__PROMPT": "1"})


def test_a_bare_off_is_the_word_and_not_false(tmp_path: Path) -> None:
    query = load(tmp_path, "rag:\n  query:\n    multi_query: off\n    decompose: rules\n").rag.query
    assert (query.multi_query, query.decompose) == ("off", "rules")


def test_the_longer_section_names_are_accepted() -> None:
    config = ServiceConfig.model_validate({"model_config": {"temperature": 0}, "rag_config": {"top_k": 7}})
    assert (config.llm.temperature, config.rag.top_k) == (0, 7)


def test_settings_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).rag.top_k = 9  # type: ignore[misc]  # that is the point


def test_the_shipped_settings_file_holds_the_defaults() -> None:
    shipped = load_settings(ServiceConfig, path=Path("configuration.yaml"), environ={})
    differing = {k for k, v in shipped.model_dump().items() if v != ServiceConfig().model_dump()[k]}
    assert differing <= {"serving"}
    assert shipped.serving.sample_documents is not None


def test_the_data_home_is_the_variable_or_the_users_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAGENTS_HOME")
    assert data_home().name == "ragents"
    monkeypatch.setenv("RAGENTS_HOME", str(tmp_path))
    assert data_home() == tmp_path
