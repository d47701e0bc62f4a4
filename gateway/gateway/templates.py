"""Path templates of google.api.http rules, and the tree that finds the route of a path.

    Template  = "/" Segments [ ":" verb ]
    Segment   = "*" | "**" | literal | "{" field.path [ "=" Segments ] "}"

A literal segment wins over `*`, `*` over `**`, so `/v1/leads/imports` is never taken for a lead's id. A
colon in the last segment always starts a verb: ids that hold one are written with `%3A`.
"""

import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

_TOKENS = re.compile(r"/|\*\*|\*|\{|\}|=|[^/*{}=]+")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variable:
    """A field bound by the path: from which segment up to which (both counted from 0; None is 'to the
    end').
    """

    path: tuple[str, ...]
    start: int
    end: int | None
    parts: int
    """How many segments it spans in the template; only one without slashes in the value."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed path template."""

    text: str
    segments: tuple[str, ...]
    """Literals, `*` and `**`."""
    variables: tuple[Variable, ...]
    verb: str


def parse(text: str) -> Template:
    """The template that `text` states. Raises ValueError when it follows no rule of google.api.http."""
    body, verb = text, ""
    colon = text.rfind(":")
    if colon > max(text.rfind("/"), text.rfind("}")):
        body, verb = text[:colon], text[colon + 1 :]
    tokens = [match[0] for match in _TOKENS.finditer(body)]
    segments: list[str] = []
    variables: list[Variable] = []
    place = 0
    while place < len(tokens):
        if tokens[place] != "/":
            raise ValueError(f"{text}: expected '/' before '{tokens[place]}'")
        place = _segment(text, tokens, place + 1, segments, variables)
    if "**" in segments[:-1] or not segments:
        raise ValueError(f"{text}: '**' must be the last segment")
    return Template(text, tuple(segments), tuple(variables), verb)


def _segment(text: str, tokens: list[str], place: int, segments: list[str], variables: list[Variable]) -> int:
    if place >= len(tokens):
        raise ValueError(f"{text}: a segment is empty")
    if tokens[place] != "{":
        segments.append(tokens[place])
        return place + 1
    try:
        closing = tokens.index("}", place)
        name, inner = tokens[place + 1], tokens[place + 2 : closing]
        start = len(segments)
        if inner:
            if inner[0] != "=":
                raise ValueError
            segments.extend(token for token in inner[1:] if token != "/")
        else:
            segments.append("*")
    except (ValueError, IndexError):
        raise ValueError(f"{text}: a variable is not closed") from None
    deep = segments[-1] == "**"
    variables.append(
        Variable(tuple(name.split(".")), start, None if deep else len(segments), len(segments) - start)
    )
    return closing + 1


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, "_Node[T]"] = field(default_factory=dict[str, "_Node[T]"])
    star: "_Node[T] | None" = None
    deep: "_Node[T] | None" = None
    leaves: dict[str, dict[str, T]] = field(default_factory=dict[str, dict[str, T]])
    """verb → HTTP method → what is served there."""


class Tree(Generic[T]):
    """Finds what is served at a path, in time that does not grow with the number of routes."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, template: Template, method: str, served: T) -> None:
        """Raises ValueError when another route has that place already."""
        node = self._root
        for segment in template.segments:
            if segment == "*":
                node.star = below = node.star or _Node()
            elif segment == "**":
                node.deep = below = node.deep or _Node()
            else:
                below = node.literals.setdefault(segment, _Node())
            node = below
        leaf = node.leaves.setdefault(template.verb, {})
        if method in leaf:
            raise ValueError(f"{method} {template.text} is taken already")
        leaf[method] = served

    def find(self, raw_path: bytes) -> tuple[dict[str, T], list[str]] | None:
        """HTTP method → what is served at the path, and the path's decoded segments; None when nothing is.

        `raw_path` is as sent, so that `%2F` inside a segment is not taken for a slash. Raises
        UnicodeDecodeError for segments that are no UTF-8.
        """
        segments = raw_path[1:].decode("ascii").split("/")
        last, _, verb = segments[-1].partition(":")
        segments[-1] = last
        if "%" in verb:
            verb = unquote_to_bytes(verb).decode()
        for place, segment in enumerate(segments):
            if "%" in segment:
                segments[place] = unquote_to_bytes(segment).decode()
        leaf = _walk(self._root, segments, 0, verb)
        return None if leaf is None else (leaf, segments)


def _walk(node: _Node[T], segments: list[str], place: int, verb: str) -> dict[str, T] | None:
    if place == len(segments):
        return node.leaves.get(verb)
    segment = segments[place]
    below = node.literals.get(segment)
    if below is not None:
        found = _walk(below, segments, place + 1, verb)
        if found is not None:
            return found
    if node.star is not None and segment:
        found = _walk(node.star, segments, place + 1, verb)
        if found is not None:
            return found
    return node.deep.leaves.get(verb) if node.deep is not None else None
