"""What the site has beyond the pages of docs/: the help of every command, and papers from elsewhere in the repository."""

from __future__ import annotations

import os
import re
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
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def mirrored() -> dict[str, str]:
    """Path in the repository → path in the site, of the pages that do not lie in docs/."""
    results = sorted(one.relative_to(ROOT).as_posix() for one in (ROOT / "training" / "results").glob("*.md"))
    return {one: f"repository/{one.replace('README.md', 'readme.md')}" for one in (*PAPERS, *results)}


def on_files(files: Files, config: Any) -> Files:
    """Add the papers."""
    for path, place in mirrored().items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add the help of the commands, and turn links out of docs/ to where their pages are in the site."""
    markdown = markdown.replace("<!-- commands -->", commands())
    place = page.file.src_uri
    source = {mine: path for path, mine in mirrored().items()}.get(place, f"docs/{place}")
    parts = CODE.split(markdown)
    return "".join(
        part if i % 2 else LINK.sub(lambda found: _turned(found, source, place), part) for i, part in enumerate(parts)
    )


def _turned(found: re.Match[str], source: str, place: str) -> str:
    picture, said, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    path, mark, anchor = target.partition("#")
    whole = os.path.normpath((PurePosixPath(source).parent / path).as_posix())
    if whole.startswith("docs/"):
        there = whole.removeprefix("docs/")
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
