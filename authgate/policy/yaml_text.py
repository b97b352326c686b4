"""The YAML of policy files: maps, lists and scalars. Strings stay as they were written."""

from __future__ import annotations

import re
from typing import Any

import yaml

from authgate.policy.errors import Place, PolicyError, PolicyInvalid

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Only words that nobody could mean as strings. YAML 1.1 would also turn `no` into false, 010 into 8 and 1:30 into 90:
# a grant for group 010 would then be one for group 8.
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_MAX_DIGITS = 18

# The usual cause of errors that PyYAML describes by the token it expected.
_REMEDIES = {
    "found character that cannot start any token": (
        ": indent with spaces, never with tabs; put text that begins with one of %, @ or ` in quotes"
    ),
    "mapping values are not allowed in this context": (
        ': put a space after "name:", indent keys of one level alike, and put text that holds a colon in quotes'
    ),
    "did not find expected ',' or '}'": ": the map that begins with { on this line or above has no end",
    "did not find expected ',' or ']'": ": the list that begins with [ on this line or above has no end",
}

_Container = dict[Any, Any] | list[Any]


def parse(text: str) -> Any:
    """Parses a text. Raises PolicyInvalid with line and column. Refuses aliases, tags, duplicate keys, deep nesting."""
    return _build(text, None).root


def find_lines(text: str) -> dict[Place, int]:
    """The line of each entry, by keys and indexes, in a text that parse() accepts."""
    lines: dict[Place, int] = {}
    _build(text, lines)
    return lines


def _build(text: str, lines: dict[Place, int] | None) -> _Builder:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise PolicyInvalid([PolicyError((), f"larger than {MAX_BYTES // 1024 // 1024} MiB")])
    builder = _Builder(lines)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        raise PolicyInvalid([PolicyError((), _at(mark) + problem + _REMEDIES.get(problem, ""))]) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise PolicyInvalid([PolicyError((), " ".join(str(error).split()))]) from error
    return builder


def write(value: Any) -> str:
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return text


class _Builder:
    """A builder from parser events instead of nodes, so that an alias is refused before it can multiply anything."""

    def __init__(self, lines: dict[Place, int] | None) -> None:
        self.root: Any = None
        self._lines = lines  # filled by the builder
        self._documents = 0
        self._stack: list[_Container] = []
        self._keys: list[Any] = []  # the key of each open map that waits for its value
        self._places: list[Place] = []  # the place of each open map or list

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_extras(event)
            self._add(_scalar(event), event.start_mark)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._refuse_extras(event)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event.start_mark)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()
            self._keys.pop()
            self._places.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise _fault(event.start_mark, "aliases are not allowed in a policy")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _fault(event.start_mark, "a policy file is one document, this begins a second")

    def _open(self, container: _Container, mark: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _fault(mark, f"nested deeper than {MAX_DEPTH} levels")
        self._places.append(self._add(container, mark))
        self._stack.append(container)
        self._keys.append(_NO_KEY)

    def _add(self, value: Any, mark: Any) -> Place:
        if not self._stack:
            self.root = value
            return ()
        parent = self._stack[-1]
        if isinstance(parent, list):
            place = (*self._places[-1], len(parent))
            self._note(place, mark)
            parent.append(value)
        elif self._keys[-1] is _NO_KEY:
            self._begin_pair(parent, value, mark)
            place = (*self._places[-1], value)
            self._note(place, mark)
        else:
            place = (*self._places[-1], self._keys[-1])
            parent[self._keys[-1]] = value
            self._keys[-1] = _NO_KEY
        return place

    def _note(self, place: Place, mark: Any) -> None:
        if self._lines is not None:
            self._lines[place] = mark.line + 1

    def _begin_pair(self, parent: dict[Any, Any], key: Any, mark: Any) -> None:
        if not isinstance(key, str):
            raise _fault(mark, "a key must be text; put quotes around it")
        if key in parent:
            raise _fault(mark, f"the key {key!r} is given twice")
        self._keys[-1] = key

    @staticmethod
    def _refuse_extras(event: Any) -> None:
        if event.anchor is not None:
            raise _fault(event.start_mark, "anchors are not allowed in a policy")
        if event.tag is not None:
            raise _fault(event.start_mark, f"the tag {event.tag!r} is not allowed in a policy")


_NO_KEY = object()


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.style is not None and event.style != "":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise _fault(event.start_mark, "the number is too large; if it is text, put quotes around it")
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _fault(mark: Any, message: str) -> PolicyInvalid:
    return PolicyInvalid([PolicyError((), _at(mark) + message)])


def _at(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
