"""Refuse places at which what is written would not be found again, or would be lost with a bundle."""

from __future__ import annotations

import json
import os
from pathlib import Path

from recsys.errors import DataError

_MANIFEST, _CONFIG = "manifest.json", "config.json"


def refuse_place(place: Path) -> None:
    """Refuse a path that begins with ``~``, or lies in a bundle.

    Parameters
    ----------
    place : Path
        As the caller wrote it.

    Raises
    ------
    DataError
        The message says what to write instead.
    """
    if place.parts[:1] == ("~",):
        raise DataError(
            f"{place}: ~ means the home folder only where a shell expands it (not after = or within quotes); write "
            f"{place.expanduser()}"
        )
    for folder in place.absolute().parents:
        if os.path.isfile(folder / _MANIFEST) and os.path.isfile(folder / _CONFIG):  # no error for a name too long
            raise DataError(f"{place} lies in the bundle {folder}, which is replaced as a whole; name a place beside it")


def foreign_files(bundle: Path) -> list[str]:
    """Files of a bundle's folder that are not the bundle's own; none if its manifest cannot be read.

    Names that begin with a dot are left out, as file managers make them.
    """
    try:
        own = {_MANIFEST, *json.loads((bundle / _MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = (file.relative_to(bundle) for file in bundle.rglob("*") if not file.is_dir())
    return sorted(name.as_posix() for name in found if name.as_posix() not in own and not name.name.startswith("."))


def refuse_loss(bundle: Path) -> None:
    """Refuse to replace a bundle's folder in which others keep files.

    Raises
    ------
    DataError
        The message names the first of them.
    """
    if foreign := foreign_files(bundle):
        more = f" and {len(foreign) - 1:,} other files" if len(foreign) > 1 else ""
        raise DataError(
            f"{bundle} also holds {foreign[0]}{more}, which the bundle did not write; replacing it would remove them: move "
            f"them elsewhere first"
        )
