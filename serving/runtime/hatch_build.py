"""Make the package recsys_runtime of the modules that an export and a server on it need, when the wheel is built."""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path
from typing import Any

OLD, NEW = "recsys", "recsys_runtime"
ROOT = Path(__file__).resolve().parents[2]
INIT = f'''"""Answers from bundles that recsys has exported, without PyTorch."""

from {NEW}.core.version import __version__
from {NEW}.errors import RecsysError
from {NEW}.serving.runtime.retriever import Runtime, load

__all__ = ["RecsysError", "Runtime", "__version__", "load"]
'''


BEGIN = ("serving.runtime", "serving.runtime.retriever", "core.version", "cli.runtime_command", "server.run", "pages")
LEFT_OUT = {f"{OLD}.server.bundle_model", f"{OLD}.serving.load"}
"""What opens bundles, which needs PyTorch."""
ASSETS = ("server/page", "pages")
"""Folders whose other files the server shows."""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name → file, of the modules that are needed where nothing but exports is opened, and their packages."""
    found: dict[str, Path] = {}
    todo = [f"{OLD}.{name}" for name in BEGIN]
    while todo:
        name = todo.pop()
        file = _file_of(name, root)
        if name in found or name == OLD or name in LEFT_OUT or file is None:
            continue
        found[name] = file
        todo.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{OLD}."):
                todo += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
    return found


def _file_of(name: str, root: Path) -> Path | None:
    place = root / Path(*name.split("."))
    return next((one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file()), None)


def make(target: Path, root: Path = ROOT) -> None:
    """Write the package into a folder."""
    package = target / NEW
    for file in modules(root).values():
        place = package / file.relative_to(root / OLD)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(
            rf"^(\s*(?:from|import) ){OLD}(?=[. ])", rf"\g<1>{NEW}", file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        place.write_text(text, encoding="utf-8")
    for folder in ASSETS:
        for file in (root / OLD / folder).iterdir():
            if file.suffix in (".css", ".html", ".js"):
                (package / folder / file.name).write_bytes(file.read_bytes())
    (package / "__init__.py").write_text(INIT, encoding="utf-8")
    (package / "py.typed").write_text("", encoding="utf-8")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # only those who build the wheel have it
    BuildHookInterface = object  # type: ignore[assignment, misc]


class RuntimePackage(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the package into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make it in a temporary folder, which lives as long as the build."""
        self._folder = tempfile.TemporaryDirectory()
        make(Path(self._folder.name))
        build_data["force_include"][str(Path(self._folder.name) / NEW)] = NEW
