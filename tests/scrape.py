"""What a server's /metrics says, as Prometheus would read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class Scraped:
    samples: Sequence[Sample]

    def named(self, name: str, **labels: str) -> list[Sample]:
        return [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]

    def sum(self, name: str, **labels: str) -> float:
        return sum(each.value for each in self.named(name, **labels))

    def one(self, name: str, **labels: str) -> float:
        (found,) = self.named(name, **labels)
        return found.value


def scrape(url: str) -> Scraped:
    response = httpx.get(f"{url}/metrics", timeout=20)
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return Scraped([sample for family in families for sample in family.samples])
