"""Make the notebooks of this folder from their sources: ``python docs/notebooks/make.py`` runs each and keeps its outputs.

A source is a Python file whose cells begin with ``# %%``, or with ``# %% [markdown]`` where the cell is text. It needs the extra
``notebook``.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
_SHOWN = ("text/plain", "text/html")


def cells(source: str) -> list[tuple[str, str]]:
    """Kind ("markdown" or "code") and text of each cell of a source, in order."""
    parts = re.split(r"^# %%( \[markdown\])?\n", source, flags=re.MULTILINE)[1:]
    found = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        if mark:
            found.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", text.strip()))
    return found


def outputs(shell: Any, code: str) -> list[Any]:
    """What a cell prints, and what its last line shows."""
    import nbformat  # noqa: PLC0415 - the extra notebook
    from IPython.utils.capture import capture_output  # noqa: PLC0415

    with capture_output() as said:
        done = shell.run_cell(code)
        done.raise_error()
    found = []
    if printed := re.sub(r"^Out\[.*", "", said.stdout, flags=re.DOTALL | re.MULTILINE).strip("\n"):
        found.append(nbformat.v4.new_output("stream", name="stdout", text=printed + "\n"))
    if done.result is not None:
        data = {kind: text for kind, text in shell.display_formatter.format(done.result)[0].items() if kind in _SHOWN}
        if "text/html" in data:
            data.pop("text/plain", None)
        found.append(nbformat.v4.new_output("execute_result", data=data))
    return found


def main(words: list[str] | None = None) -> int:
    """Run the sources and write the notebooks."""
    import nbformat  # noqa: PLC0415 - the extra notebook
    from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="sources without .py (default: all)")
    names = parser.parse_args(words).names or [file.stem for file in sorted(FOLDER.glob("*.py")) if file != Path(__file__)]
    for name in names:
        shell = InteractiveShell.instance()
        shell.reset(new_session=True)
        book = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            for i, (kind, text) in enumerate(cells((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
                make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
                book.cells.append(
                    make(text, id=f"cell{i}", **({"outputs": outputs(shell, text)} if kind == "code" else {}))
                )
        nbformat.write(book, FOLDER / f"{name}.ipynb")
        print(f"{name}.ipynb: {(FOLDER / f'{name}.ipynb').stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
