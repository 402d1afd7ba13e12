"""The one door to FAISS: it must be there exactly once."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any

from recsys.core.threads import usable
from recsys.errors import DependencyError

_CPU = ("faiss-cpu",)
_GPU = ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu13", "faiss-cuda")


def installed_builds() -> list[str]:
    """Names of the installed distributions that provide the module ``faiss``."""
    found = []
    for name in (*_CPU, *_GPU):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


@cache
def faiss() -> Any:
    """The module ``faiss``.

    Raises
    ------
    DependencyError
        No build is installed, or several, which overwrite each other's files.
    """
    builds = installed_builds()
    if len(builds) > 1:
        raise DependencyError(
            f"{' and '.join(builds)} are both installed and overwrite each other; keep one: pip uninstall -y "
            f"{' '.join(builds)} && pip install 'recsys[cpu]' (or 'recsys[gpu]')"
        )
    try:
        import faiss as module  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError(
            "FAISS is not installed: pip install 'recsys[cpu]' on machines without a GPU, 'recsys[gpu]' on those with one"
        ) from error
    if module.omp_get_max_threads() > usable():
        module.omp_set_num_threads(usable())
    return module
