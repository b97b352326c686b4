"""A flame graph: a box for each function, as wide as its share of the samples, above the box of its caller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.stacks import Frame, Stack

_WIDTH, _ROW, _TOP = 1800, 17, 44
_LETTER = 6.6  # how wide one is
_LEAST = 0.4  # what is narrower is not drawn
_COLOURS = {"proxy": "#f4a259", "authgate": "#8cb369", "gateway_site": "#8cb369"}
_OTHER_PYTHON, _C, _KERNEL = "#f4e285", "#a9bcd0", "#d1605e"
_LEGEND = [
    ("proxy", _COLOURS["proxy"]), ("authgate", _COLOURS["authgate"]), ("other Python", _OTHER_PYTHON),
    ("C", _C), ("kernel", _KERNEL),
]  # fmt: skip


@dataclass
class Node:
    frame: Frame
    column: str = ""  # of the samples that end here
    count: int = 0
    children: dict[Frame, Node] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((child.depth() for child in self.children.values()), default=0)


def draw(stacks: list[Stack], title: str) -> str:
    root = _tree(stacks)
    height = _TOP + _ROW * root.depth()
    scale = _WIDTH / max(1, root.count)
    boxes = list(_boxes(root, 0.0, height - _ROW, scale, root.count))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'font-family="monospace" font-size="11">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="4" y="14" font-size="13">{escape(title)}</text>',
            *_legend(),
            *boxes,
            "</svg>",
            "",
        ]
    )


def _tree(stacks: list[Stack]) -> Node:
    root = Node(Frame("all", ""))
    for stack in stacks:
        node = root
        node.count += stack.count
        for frame in stack.frames:
            node = node.children.setdefault(frame, Node(frame))
            node.count += stack.count
        node.column = stack.column
    return root


def _boxes(node: Node, x: float, y: int, scale: float, total: int) -> Iterator[str]:
    width = node.count * scale
    if width < _LEAST:
        return
    name = f"{node.frame.name} ({node.frame.file})" if node.frame.file else node.frame.name
    letters = int((width - 4) / _LETTER)
    label = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(name[:letters])}</text>' if letters > 2 else ""
    yield (
        f"<g><title>{escape(name)}: {node.count:,} samples, {node.count / total:.1%}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{_colour(node)}"/>{label}</g>'
    )
    for child in sorted(node.children.values(), key=lambda child: child.frame):
        yield from _boxes(child, x, y - _ROW, scale, total)
        x += child.count * scale


def _colour(node: Node) -> str:
    if not node.frame.is_python:
        return _KERNEL if node.column == "kernel" else _C
    return _COLOURS.get(node.frame.file.partition("/")[0], _OTHER_PYTHON)


def _legend() -> Iterator[str]:
    for number, (label, colour) in enumerate(_LEGEND):
        x = 4 + number * 120
        yield f'<rect x="{x}" y="22" width="12" height="12" fill="{colour}"/><text x="{x + 17}" y="32">{label}</text>'
