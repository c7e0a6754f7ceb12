"""What a caller is told of a limit."""

import pytest

from ragents.deployment.rate_limiting.reservation import headers, in_words
from ragents.deployment.rate_limiting.types import Decision, Limits


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.001 s"),
        (0.25, "0.25 s"),
        (9.4, "9.4 s"),
        (59.2, "1 min"),
        (60.0, "1 min"),
        (61.0, "1 min 1 s"),
        (3599.5, "1 h"),
        (21_300.0, "5 h 55 min"),
        (86_400.0, "1 d"),
        (90_061.0, "1 d 1 h"),
    ],
)
def test_a_wait_reads_as_people_say_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_share_of_the_limits_is_told_as_one() -> None:
    limits = Limits(requests_per_minute=60, requests_per_hour=1000, burst_size=10)
    left = {bucket.name: 0 for bucket in limits.buckets}
    told = headers(Decision(True, 0.0, None, left, "local share", 4), limits)
    assert told["RateLimit-Policy"] == '"minute";q=60;w=240, "hour";q=1000;w=14400'
    assert told["RateLimit"] == '"minute";r=0;t=8, "hour";r=0;t=3600'
