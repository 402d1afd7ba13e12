"""``recsys --version``: the versions of the program and of what it runs on, as a report of a fault should name them."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any, Final

from recsys.core.device import gpu_names
from recsys.core.version import __version__
from recsys.index.faiss_library import installed_builds

_PARTS: Final = ("torch", "polars", "numpy", "lightning", "transformers", "sentence-transformers", "fastapi", "ray")


class Version(argparse.Action):
    """Print the versions and exit, before anything else is asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print and exit."""
        parser._print_message(version_text() + "\n")
        parser.exit()


def version_text() -> str:
    """A line for recsys, and one for Python, for each library beside it, and for the GPU.

    Examples
    --------
    >>> version_text().splitlines()[1].split()[0]
    'python'
    """
    rows = {"python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    for name in (*_PARTS[:1], *(installed_builds() or ["faiss"]), *_PARTS[1:]):
        rows[name] = _version(name)
    rows["gpu"] = ", ".join(gpu_names()) or "none that torch sees"
    width = max(map(len, rows))
    return "\n".join([f"recsys {__version__}", *(f"  {name:<{width}}  {said}" for name, said in rows.items())])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
