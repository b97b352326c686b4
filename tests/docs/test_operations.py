"""docs/operations.md, the alert rules and the dashboard speak of the metrics that there are."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.gateway import ROOT
from tests.support.metrics import scrape

PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "authgate.json").read_text())
METRIC = re.compile(r"\b(?:authgate|process)_[a-z_]+")


@pytest.fixture(scope="module")
def shown(gateway):
    """As PromQL names them: of a histogram, the series without their endings too."""
    families = {family.name: family.type for family in scrape(gateway).families}
    return {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}


def without_endings(names):
    return {re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", name) for name in names}


def test_the_table_has_all_that_there_are_and_nothing_else(shown):
    table = [line.split("|")[1] for line in PAGE.splitlines() if re.match(r"\| `(authgate|process)_", line)]
    assert set(METRIC.findall(" ".join(table))) == shown


def test_alerts_and_dashboard_ask_for_what_there_is(shown):
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    rules = re.sub(r"docs/operations\S+", "", RULES)
    assert without_endings(METRIC.findall(" ".join(queries))) <= shown
    assert without_endings(METRIC.findall(rules)) <= shown


def test_the_dashboard_shows_each_of_ours(shown):
    text = json.dumps(DASHBOARD)
    hidden = {name for name in shown if name.startswith("authgate_") and name not in text}
    assert hidden == {"authgate_series_refused_total"}


def test_every_alert_has_its_chapter():
    names = set(re.findall(r"- alert: (\w+)", RULES))
    assert set(re.findall(r"^### (Authgate\w+)$", PAGE, re.MULTILINE)) == names
    assert set(re.findall(r"operations.md#(\w+)\"", RULES)) == {name.lower() for name in names}
