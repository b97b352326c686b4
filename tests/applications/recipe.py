"""The chapters of docs/applications.md: each is done as printed, with other addresses."""

from __future__ import annotations

import re

from tests.support.gateway import ROOT, Gateway

PAGE = ROOT / "docs" / "applications.md"
# Of the page, in the place of the gateway of a test.
PRINTED_URL, PRINTED_HOST = "https://gateway.example.com", "gateway.example.com"
_TARGET = re.compile(r"http://127\.0\.0\.1:(\d+)")
_BLOCK = re.compile(r"^(?:`([\w./-]+)`:\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Recipe:
    """`port`: where its application listens, instead of on the printed port."""

    def __init__(self, title: str, port: int) -> None:
        head, *chapters = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
        [self._text] = [chapter for chapter in chapters if chapter.partition("\n")[0] == title]
        self._head, self.port = head, port
        self._printed_port = _TARGET.search(self._text)

    def policy(self) -> str:
        """What all share, from the head of the page, and the upstream and the routes of the chapter."""
        return "".join(self._ported(text) for page in (self._head, self._text) for text in _blocks(page, "yaml"))

    def command(self, gateway: Gateway, number: int = 0) -> str:
        """What starts the application; with another number, what the chapter does next."""
        return self._addressed(_blocks(self._text, "sh")[number], gateway)

    def files(self, gateway: Gateway) -> dict[str, str]:
        """By name, those that the chapter prints."""
        named = [(name, text) for name, _, text in _BLOCK.findall(self._text) if name]
        return {name: self._addressed(text, gateway) for name, text in named}

    def _addressed(self, text: str, gateway: Gateway) -> str:
        return self._ported(text).replace(PRINTED_URL, gateway.url).replace(PRINTED_HOST, gateway.host)

    def _ported(self, text: str) -> str:
        if self._printed_port is None:
            return text
        return re.sub(rf"\b{self._printed_port[1]}\b", str(self.port), text)


def _blocks(text: str, language: str) -> list[str]:
    return [block for name, spoken, block in _BLOCK.findall(text) if spoken == language and not name]
