"""The Python files of the product: what runs at a customer's."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOTS = ("chassis/chassis", "gateway/gateway", "services/*/*", "deploy/local/kehu_local")
"""Packages that are installed, as patterns below the repository."""


@dataclass(frozen=True)
class Source:
    """One file. `path` is relative to the repository."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """Its lines; line 1 is the first of them."""
        return self.text.splitlines()

    @property
    def module(self) -> str:
        """The name it is imported by."""
        parts = self.path.with_suffix("").parts
        inner = parts[2:] if parts[0] in ("services", "deploy") else parts[1:]
        return ".".join(inner).removesuffix(".__init__")

    def at(self, node: ast.expr | ast.stmt) -> str:
        """Where that is, as editors read it."""
        return f"{self.path}:{node.lineno}"

    def called(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called; `?` stands for what has no name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, dotted(node.func)


def product(*roots: str) -> list[Source]:
    """All files of those roots, by default of the whole product, without its tests."""
    found: list[Source] = []
    for root in roots or ROOTS:
        for folder in sorted(ROOT.glob(root)):
            if (folder / "__init__.py").exists():
                for path in sorted(folder.rglob("*.py")):
                    found.append(Source(path.relative_to(ROOT), path.read_text()))
    return found


def dotted(node: ast.expr) -> str:
    """The dotted name of an expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"
