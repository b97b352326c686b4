"""Of the documentation site (`make docs`): the pages link to files of the repository, which become pages of it too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "var" / "screenshots"
_PROJECT = "project"
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_TOUR = """# A look around

The demo of `make run`, as the browser tests of this version saw it.
"""


def on_files(files: Files, config: Any) -> Files:
    pages = {f"{_PROJECT}/{path.name}": path.read_text() for path in ROOT.glob("*.md") if path.name != "README.md"}
    pages |= {"index.md": (ROOT / "README.md").read_text(), "tour.md": _tour()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    files.append(File.generated(config, "decisions/index.md", content=_list_of_decisions()))
    for shot in sorted(SHOTS.glob("*.png")):
        files.append(File.generated(config, f"screenshots/{shot.name}", abs_src_path=str(shot)))
    for target in _targets_outside(pages):
        files.append(File.generated(config, f"{_PROJECT}/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links lead from where the file stands in the repository."""
    here = _place_in_repository(page.file.src_uri)
    depth = page.file.src_uri.count("/")
    return _LINK.sub(lambda link: "../" * depth + _place_on_site(here, link[1]), markdown)


def _tour() -> str:
    shots = [
        f"## {shot.stem[3:].replace('-', ' ')}\n\n![](screenshots/{shot.name})\n"
        for shot in sorted(SHOTS.glob("*.png"))
    ]
    return "\n".join([_TOUR, *shots])


def _list_of_decisions() -> str:
    titles = {
        path.name: path.read_text().partition("\n")[0] for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))
    }
    return "\n".join(
        ["# Decisions", "", *(f"* [{title.removeprefix('# ')}]({name})" for name, title in titles.items())]
    )


def _place_in_repository(src_uri: str) -> str:
    if src_uri in ("index.md", "tour.md"):
        return src_uri
    return src_uri.removeprefix(f"{_PROJECT}/") if src_uri.startswith(f"{_PROJECT}/") else f"docs/{src_uri}"


def _place_on_site(here: str, link: str) -> str:
    if here == "tour.md":
        return link
    target = _resolve(here, link)
    if target == "README.md":
        return "index.md"
    if target == "docs/decisions":
        return "decisions/index.md"
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{_PROJECT}/{target}"


def _resolve(here: str, link: str) -> str:
    return str(((ROOT / here).parent / link).resolve().relative_to(ROOT))


def _targets_outside(pages: dict[str, str]) -> set[str]:
    """Files that pages link to beside other pages, such as units and examples."""
    texts = {f"docs/{path.relative_to(ROOT / 'docs')}": path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    texts |= {_place_in_repository(name): content for name, content in pages.items() if name != "tour.md"}
    found = {_resolve(here, link) for here, text in texts.items() for link in _LINK.findall(text)}
    return {
        target
        for target in found
        if not target.startswith("docs/") and (ROOT / target).is_file() and not target.endswith(".md")
    }
