"""Reads `/metrics` by Prometheus' own parsers, as a scraper on the same machine would."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from authgate.observe.metrics import FLUSH_SECONDS
from tests.support.gateway import Gateway

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    def __init__(self, text: str, *, is_openmetrics: bool = False) -> None:
        self.text = text
        parse = parse_openmetrics if is_openmetrics else parse_text
        self.families = list(parse(text))

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Of this name, with at least these labels."""
        return [each for each in self if each.name == name and labels.items() <= each.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.samples(name, **labels))

    def __iter__(self) -> Iterator[Sample]:
        return (sample for family in self.families for sample in family.samples)


def scrape(gateway: Gateway, *, accept: str = "") -> Scrape:
    time.sleep(2 * FLUSH_SECONDS)  # other workers count their last requests
    response = gateway.get("/metrics", headers=[("Accept", accept)] if accept else ())
    assert response.status == 200, response.text
    return Scrape(response.text, is_openmetrics=accept == OPENMETRICS)
