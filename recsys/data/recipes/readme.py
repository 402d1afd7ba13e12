"""The README of a prepared data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.core.version import __version__
from recsys.data.recipes.make import Made
from recsys.data.recipes.spec import PublicSet

_NAMES = {"log": "interactions.parquet", "items": "items.parquet", "users": "users.parquet"}


def readme(
    one: PublicSet,
    made: Mapping[str, Made],
    sizes: Mapping[str, int],
    notes: Sequence[str],
    commands: tuple[str, str],
) -> str:
    """Markdown: source, licence, citation, the tables and their columns, what was left out and why, how to fit it.

    Parameters
    ----------
    one : PublicSet
    made : mapping
        Table → how it was made.
    sizes : mapping
        Name → count.
    notes : sequence of str
        What is not as its makers say.
    commands : str, str
        The command that fits it, and what to add to it for the features of users.
    """
    fit, with_users = commands
    counts = ", ".join(f"{count:,} {what}" for what, count in sizes.items())
    parts = [
        f"# {one.title}",
        f"{counts}. Made by `recsys prepare {one.name}` (recsys {__version__}) from the files as they are published.",
        f"- Source: {one.url}\n- Licence: {one.licence}\n- Cite: {one.citation}",
        "## Fit it",
        f"```\n{fit}\n```",
        *([f"For a model that reads the features of users, add `{with_users}`."] if with_users else []),
        "## Tables",
        _table(
            ["file", "columns", "read from"],
            [[f"`{_NAMES[table]}`", ", ".join(done.columns), ", ".join(done.files)] for table, done in made.items()],
        ),
        "## What was left out",
    ]
    for table, done in made.items():
        rows = [[why, f"{abs(count):,}"] for why, count in done.counted.lines()]
        parts += [f"`{_NAMES[table]}`", _table(["rows", "count"], rows)]
    odd = [*one.quirks, *notes]
    if odd:
        parts += ["## Know before use", "\n".join(f"- {line}" for line in odd)]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
