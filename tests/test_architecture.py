"""The contracts of the architecture, read from the source with ``ast``; lazy and type-only imports count too.

``python -m tests.test_architecture [CHECKOUT]`` prints how many floors, arrows and circles the imports make.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "recsys"

LAYERS = (
    {"cli"},
    {"pipeline"},
    {"two_tower", "server", "tuning", "compression"},
    {"training"},
    {"serving", "report", "privacy"},
    {"bundle", "baselines"},
    {"models", "transitions", "evaluation"},
    {"data", "index"},
    {"config"},
    {"core"},
    {"pages"},
    {"errors"},
)
"""From top to bottom; a layer may import only what stands below it, and its members do not import each other."""

TOP_LEVEL = {"__init__", "__main__", "errors", "two_tower"}
HEAVY = {"torch", "faiss", "lightning", "transformers", "sentence_transformers"}
ONLY_IN = {
    "faiss": {"index"},
    "plotly": {"pages"},
    "argparse": {"cli", "config.options"},
    "sqlalchemy": {"server", "data.sql", "tuning"},
    "alembic": {"server"},
    "pydantic": {"server"},
    "structlog": {"server"},
    "prometheus_client": {"server"},
    "opentelemetry": {"server"},
    "httpx2": {"server"},
    "fastapi": {"server"},
    "uvicorn": {"server"},
    "starlette": {"server"},
}
READS_ENVIRONMENT = {
    "core.cluster",
    "core.destination",
    "core.device",
    "core.waiting",
    "models.encoders.text_cache",
    "core.pseudonym_key",
    "training.trainer",
}
NOT_PORTABLE = {"fcntl", "resource", "pwd", "grp", "termios", "msvcrt", "winreg"}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name → file, of every module of the package."""
    found = {}
    for file in sorted((root / PACKAGE).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module, in the order of ``ast.walk``."""
    return tuple(ast.walk(tree(file)))


@cache
def packages(file: Path) -> frozenset[str]:
    """The first parts of what a module imports."""
    return frozenset(name.split(".")[0] for name in imported(tree(file)))


def imported(body: ast.AST, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """Dotted names of the modules that a piece of code imports, at any depth."""
    for node in ast.walk(body):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in known else node.module


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Module → the modules of the package that it imports; the package's own lazy table of public names is left out."""
    known = modules(root)
    names = frozenset(known)
    return {
        module: {other for other in imported(tree(file), names) if other in names and other not in (module, PACKAGE)}
        for module, file in known.items()
        if module != PACKAGE
    }


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or by way of others (Tarjan's components)."""
    place, lowest, stack, found, count = (
        dict[str, int](),
        dict[str, int](),
        list[str](),
        list[set[str]](),
        itertools.count(),
    )

    def visit(module: str) -> None:
        place[module] = lowest[module] = next(count)
        stack.append(module)
        for other in arrows[module]:
            if other not in place:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], place[other])
        if lowest[module] == place[module]:
            group = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in arrows:
        if module not in place:
            visit(module)
    return found


def room(module: str) -> str:
    """The folder or file right below the package that a module stands in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def rooms(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room → the rooms that it imports."""
    found: dict[str, set[str]] = {room(module): set() for module in arrows}
    for module, others in arrows.items():
        found[room(module)] |= {room(other) for other in others} - {room(module)}
    return found


def floors(arrows: dict[str, set[str]]) -> int:
    """Length of the longest chain of imports; the members of a circle share one floor."""
    owner = {module: frozenset(group) for group in circles(arrows) for module in group}
    heights = dict[frozenset[str], int]()

    def height(module: str) -> int:
        group = owner.get(module, frozenset({module}))
        if group not in heights:
            below = {other for member in group for other in arrows[member]} - group
            heights[group] = 1 + max(map(height, below), default=0)
        return heights[group]

    return max(map(height, arrows))


@cache
def arrows() -> dict[str, set[str]]:
    """The graph of the package itself, made when a test first asks: not where files are only collected."""
    return graph()


RANK = {name: height for height, layer in enumerate(LAYERS) for name in layer}


def test_imports_follow_the_layers() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows().items()
        for other in others
        if room(module) != room(other) and room(module) != "__main__" and RANK[room(other)] <= RANK[room(module)]
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


def test_there_are_at_most_ten_floors_of_folders() -> None:
    assert floors(rooms(arrows())) <= 10


def test_nothing_else_stands_at_the_top_of_the_package() -> None:
    assert {file.stem for file in (ROOT / PACKAGE).glob("*.py")} <= TOP_LEVEL


@pytest.mark.parametrize(
    "layer",
    [
        "core",
        "config",
        "data",
        "evaluation",
        "pages",
    ],
)
def test_light_layers_import_no_heavy_package_when_they_are_imported(layer: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, file in modules().items()
        if room(module) == layer
        for statement in tree(file).body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for name in imported(statement)
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong


def test_evaluation_knows_data_and_core_alone() -> None:
    below = {room(other) for module, others in arrows().items() if room(module) == "evaluation" for other in others}
    assert below <= {"evaluation", "data", "core", "errors"}


def test_networks_know_torch_and_core_alone() -> None:
    inside = f"{PACKAGE}.models.networks"
    for module, others in arrows().items():
        if module.startswith(inside):
            assert {
                other for other in others if not other.startswith(inside) and room(other) not in ("core", "errors")
            } == set()


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_a_package_is_imported_where_it_belongs_and_nowhere_else(package: str) -> None:
    wrong = [
        module
        for module, file in modules().items()
        if package in packages(file) and not any(f"{module}.".startswith(f"{PACKAGE}.{home}.") for home in ONLY_IN[package])
    ]
    assert not wrong


def test_few_modules_read_the_environment() -> None:
    reading = {
        module.removeprefix(f"{PACKAGE}.")
        for module, file in modules().items()
        if any(isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") for node in nodes(file))
    }
    assert reading <= READS_ENVIRONMENT


def test_nothing_is_looked_up_by_a_name_made_on_the_spot() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, file in modules().items()
        for node in nodes(file)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and isinstance(node.args[1], ast.JoinedStr)
    ]
    assert not wrong


def test_nothing_is_imported_that_only_one_system_has() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, file in modules().items()
        for statement in tree(file).body
        for name in imported(statement)
        if name.split(".")[0] in NOT_PORTABLE and not isinstance(statement, ast.FunctionDef | ast.ClassDef)
    ]
    assert not wrong


def test_a_command_is_eight_lines_at_most() -> None:
    """It reads the arguments, calls the public API and hands the result on; the rest stands elsewhere."""
    commands = [one for one in tree(ROOT / PACKAGE / "cli" / "commands.py").body if isinstance(one, ast.FunctionDef)]
    bodies = {one.name: one.body[1:] if ast.get_docstring(one) else one.body for one in commands}
    lengths = {name: (body[-1].end_lineno or 0) - body[0].lineno + 1 for name, body in bodies.items()}
    assert {name: length for name, length in lengths.items() if length > 8} == {}


def test_every_module_is_used() -> None:
    """By another one, or as a public name or an entry point."""
    public = set(imported(tree(ROOT / PACKAGE / "__init__.py"), frozenset(modules())))
    used = set().union(*arrows().values()) | public | {f"{PACKAGE}.__main__", f"{PACKAGE}.cli.runtime_command"}
    folders = {module for module, file in modules().items() if file.stem == "__init__"}
    assert set(modules()) - used - folders == set()


if __name__ == "__main__":
    found = graph(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    for what, arrows in (("modules", found), ("folders and top-level files", rooms(found))):
        count, known = sum(map(len, arrows.values())), len(arrows)
        print(f"{what}: {known}, arrows: {count}, floors: {floors(arrows)}, circles: {len(circles(arrows))}")
