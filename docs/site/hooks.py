"""What the site has beyond the pages of docs/: commands, papers of the repository, notebooks and examples to be read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

from recsys.cli.parser import build_parser

ROOT = Path(__file__).parents[2]
PAPERS = (
    "CHANGELOG.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "README.md",
    "data/README.md",
    "serving/README.md",
)
LINK = re.compile(r"```.*?```|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)|`[^`\n]+`", re.DOTALL)
"""A link, or code in which there is none: whichever begins first, as the text of a link may be code."""


@cache
def shown_as_pages() -> dict[str, str]:
    """Path in docs/ → text of a page, of the notebooks and examples: a browser would offer their files for download."""
    pages = {}
    for file in sorted((ROOT / "docs").glob("notebooks/*.ipynb")):
        said = f"[{file.name}]({file.name}){{ download }} to run it yourself.\n"
        pages[f"notebooks/{file.name}"] = "\n".join([*_cells(json.loads(file.read_text(encoding="utf-8"))), said])
    for file in sorted((ROOT / "docs").glob("examples/*.py")):
        code = f"```python\n{file.read_text(encoding='utf-8')}```\n"
        pages[f"examples/{file.name}"] = f"# {file.name}\n\n{code}\n[{file.name}]({file.name}){{ download }}\n"
    return pages


def _cells(book: Any) -> Iterator[str]:
    """The cells of a notebook with their outputs, as Markdown."""
    for cell in book["cells"]:
        text = "".join(cell["source"])
        yield f"{text}\n" if cell["cell_type"] == "markdown" else f"```python\n{text}\n```\n"
        for made in cell.get("outputs", ()):
            kinds = made.get("data", {"text/plain": made.get("text", "")})
            if "text/html" in kinds:
                yield f'<div class="cell-output">{"".join(kinds["text/html"])}</div>\n'
            else:
                yield f"```text\n{''.join(kinds['text/plain'])}\n```\n"


def mirrored() -> dict[str, str]:
    """Path in the repository → path in the site, of the pages that do not lie in docs/."""
    results = sorted(one.relative_to(ROOT).as_posix() for one in (ROOT / "training" / "results").glob("*.md"))
    return {one: f"repository/{one.replace('README.md', 'readme.md')}" for one in (*PAPERS, *results)}


def on_files(files: Files, config: Any) -> Files:
    """Add the papers, the notebooks and the examples."""
    for path, text in shown_as_pages().items():
        files.append(File.generated(config, f"{path}.md", content=text))
    for path, place in mirrored().items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add the help of the commands, and turn links out of docs/ to where their pages are in the site."""
    markdown = markdown.replace("<!-- commands -->", commands())
    place = page.file.src_uri
    source = {mine: path for path, mine in mirrored().items()}.get(place, f"docs/{place}")
    return LINK.sub(lambda found: _turned(found, source, place), markdown)


def _turned(found: re.Match[str], source: str, place: str) -> str:
    picture, said, target = found.groups()
    if target is None or re.match(r"[a-z]+:|#", target):
        return found[0]
    path, mark, anchor = target.partition("#")
    whole = os.path.normpath((PurePosixPath(source).parent / path).as_posix())
    if whole.startswith("docs/"):
        there = whole.removeprefix("docs/")
        there += ".md" if there in shown_as_pages() and place != f"{there}.md" else ""
    elif whole in mirrored():
        there = mirrored()[whole]
    else:
        return said  # a file of the repository that is no page
    return f"{picture}[{said}]({os.path.relpath(there, PurePosixPath(place).parent.as_posix())}{mark}{anchor})"


def commands() -> str:
    """The help of every command, as pages show it."""
    os.environ["COLUMNS"] = "110"
    subs = next(one for one in build_parser()._actions if isinstance(one.choices, dict))
    parts = []
    for name, parser in dict(subs.choices).items():
        parts += [f"## recsys {name}", f"```text\n{parser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts)
