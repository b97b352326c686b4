"""What the wheel says it needs: the versions of requirements.txt, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = {"otlp": "requirements-otlp.txt"}


class PinnedVersions(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        pinned = read_pins(root / "requirements.txt")
        metadata["dependencies"] = pinned
        metadata["optional-dependencies"] = {
            name: [pin for pin in read_pins(root / file) if pin not in pinned] for name, file in EXTRAS.items()
        }


def read_pins(path: Path) -> list[str]:
    """Each `name==version ; marker` of a file that `make lock` has written; the metadata has no place for hashes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removesuffix("\\").strip() for line in lines if line and not line.startswith((" ", "#"))]
