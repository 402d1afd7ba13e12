"""The pages of the documentation: their blocks, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAPERS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "SECURITY.md",
    "data/README.md",
    "serving/README.md",
)
FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^>]*) -->\n)?^```(?P<language>[a-z]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A block of code on a page, with the note in the comment above it."""

    page: Path
    line: int
    language: str
    note: str
    code: str


def pages() -> list[Path]:
    """Every page of the site, and the papers beside it."""
    return [*sorted(DOCS.rglob("*.md")), *(ROOT / one for one in PAPERS)]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")) + 1, found["language"], found["note"] or "", found["code"])
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """The words after ``recsys`` of each command of ours in a block."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.partition("  #")[0].rstrip(" &"))
        if words[:1] == ["recsys"] and "…" not in words and "..." not in words and len(words) > 1:
            yield words[1:]


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        found.add(re.sub(r"[-\s]+", "-", plain.strip()))
        found.add(plain.strip().replace(" ", "-"))
    return found


def broken_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there; addresses of the web are not asked."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    wrong = []
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in slugs(there)):
            wrong.append(target)
    return wrong
