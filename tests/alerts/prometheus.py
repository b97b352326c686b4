"""A real Prometheus with the rules of deploy/prometheus/alerts.yaml, in which minutes are seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.gateway import ROOT, free_port

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"


def find_prometheus() -> str | None:
    return shutil.which("prometheus") if shutil.which("promtool") else None


def in_seconds(rules: str) -> str:
    """Every window is ten seconds, and nothing has to last longer than one."""
    return re.sub(r"\bfor: \d+m", "for: 1s", re.sub(r"\[\d+m\]", "[10s]", rules))


class Prometheus:
    def __init__(self, directory: Path, gateway_port: int) -> None:
        directory.mkdir()
        self._directory = directory
        self._port = free_port()
        (directory / "alerts.yaml").write_text(in_seconds(RULES.read_text()))
        (directory / "prometheus.yml").write_text(f"""\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: authgate
    static_configs: [{{targets: ["127.0.0.1:{gateway_port}"]}}]
""")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Prometheus:
        command = [
            "prometheus", f"--config.file={self._directory}/prometheus.yml",
            f"--storage.tsdb.path={self._directory}/data",
            f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn",
        ]  # fmt: skip
        with (self._directory / "output").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        self.wait_until(lambda: self.query("up") == {"": 1.0}, 30)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def query(self, expression: str, label: str = "") -> dict[str, float]:
        """The values now, by this label."""
        result = self._ask(f"query?{urlencode({'query': expression})}")["result"]
        return {each["metric"].get(label, ""): float(each["value"][1]) for each in result}

    def firing(self) -> dict[str, dict[str, str]]:
        """The labels of each alert that fires, by its name."""
        alerts = self._ask("alerts")["alerts"]
        return {each["labels"]["alertname"]: each["labels"] for each in alerts if each["state"] == "firing"}

    def wait_for(self, alert: str, seconds: float = 60) -> dict[str, str]:
        """Until it fires; its labels."""
        self.wait_until(lambda: alert in self.firing(), seconds, lambda: f"{alert} does not fire: {self.firing()}")
        return self.firing()[alert]

    def wait_until(self, condition: Any, seconds: float, words: Any = lambda: "not in time") -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass  # it only starts
            assert time.monotonic() < deadline, words()
            time.sleep(0.3)

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{what}", timeout=5) as answer:
            return json.load(answer)["data"]
