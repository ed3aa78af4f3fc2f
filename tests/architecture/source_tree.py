"""The sources as text and syntax trees, for tests about their shape."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "projector", "runner", "everfold")
"""Each may import those before it. The first three are found in `everfold` by a link."""

PARTS = ("finalbody", "orelse", "handlers", "cases", "body")
"""Where statements have statements in them."""


@dataclass(frozen=True)
class Module:
    name: str
    text: str
    path: str = ""
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def statements(self) -> tuple[ast.stmt, ...]:
        """All statements, those in others too. What is in an expression is not looked at, which
        spares nine of ten nodes."""
        found, inner = list[ast.stmt](), list[ast.AST]([self.tree])
        while inner:
            node = inner.pop()
            if isinstance(node, ast.stmt):
                found.append(node)
            for part in PARTS:
                inner += reversed(getattr(node, part, ()))
        return tuple(found)

    @property
    def package(self) -> str:
        """Return which of PACKAGES it belongs to, or the top folder of a test."""
        return package_of(self.name)

    @property
    def room(self) -> str:
        """Return its folder or, where it lies in its package's own folder, its own name."""
        return room_of(self.name)

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def line_count(self) -> int:
        return len(self.text.splitlines())

    def imports(self) -> Iterator[str]:
        """Yield what it imports, wherever in the file: `a.b` or, for `from a import b`, `a.b`."""
        for node in self.statements:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{self._origin(node)}.{alias.name}" for alias in node.names)

    def definitions(self) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in self.statements:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        above = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*above, *([node.module] if node.module else [])])


def package_of(name: str) -> str:
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    return second if first == "everfold" and second in PACKAGES else first


def room_of(name: str) -> str:
    """Return the part of a dotted name that follows its package, empty for the package itself."""
    parts = name.removeprefix("everfold.").split(".")
    return parts[0 if package_of(name) == "everfold" else 1 :][0] if len(parts) > 1 else parts[0]


def modules(*folders: str) -> list[Module]:
    """Return all modules under these folders of the repository, by name."""
    return [_read(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def core_distributions() -> set[str]:
    """Return the import names that the core may use besides its own and the standard library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # Every core dependency is imported under its own name.
    return {
        requirement.partition(">")[0].partition("[")[0] for requirement in project["dependencies"]
    }


def is_standard(imported: str) -> bool:
    return imported.partition(".")[0] in sys.stdlib_module_names


@cache
def _read(path: Path) -> Module:
    relative = path.relative_to(ROOT)
    parts = relative.with_suffix("").parts
    is_package = parts[-1] == "__init__"
    in_house = () if parts[0] not in PACKAGES or parts[0] == "everfold" else ("everfold",)
    name = ".".join([*in_house, *(parts[:-1] if is_package else parts)])
    return Module(name, path.read_text(), str(relative), is_package)
