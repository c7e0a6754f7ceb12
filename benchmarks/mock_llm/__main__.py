"""python -m benchmarks.mock_llm: the mock on a port, until Ctrl-C."""

import argparse
import time

from benchmarks.mock_llm.server import open_mock_llm
from benchmarks.mock_llm.types import Script, Step


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mock_llm", description="A model that says what it is told."
    )
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--content", default=Step().content, help="what it answers; its words are its tokens")
    parser.add_argument("--first-token-s", type=float, default=0.0)
    parser.add_argument("--between-tokens-s", type=float, default=0.0)
    parser.add_argument("--otlp", help="where its spans go, such as http://127.0.0.1:4318/v1/traces")
    given = parser.parse_args()
    script = Script(
        steps=[Step(content=given.content)],
        first_token_s=given.first_token_s,
        between_tokens_s=given.between_tokens_s,
    )
    with open_mock_llm(script, port=given.port, otlp=given.otlp) as mock:
        print(f"llm: {{provider: openai, base_url: {mock.url}, model_name: mock}}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


main()
