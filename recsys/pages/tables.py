"""Real HTML tables: numbers to the right, each table scrolls in its own box if it is too wide."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def definitions(pairs: dict[str, str]) -> str:
    """A table of names and texts."""
    return table([], [[escape(name), escape(text)] for name, text in pairs.items()], last_wide=True)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), last_wide: bool = False
) -> str:
    """An HTML table in its own box; the cells are HTML already."""

    def line(cells: Sequence[str], tag: str) -> str:
        made = []
        for i, cell in enumerate(cells):
            kind = ' class="number"' if i in right else ' class="wide"' if last_wide and i == len(cells) - 1 else ""
            made.append(f"<{tag}{kind}>{cell}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    head = f"<thead>{line(header, 'th')}</thead>" if header else ""
    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="scroll" tabindex="0"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def number(value: float | None, decimals: int = 4) -> str:
    """A number, or a dash if it is unknown."""
    return "–" if value is None else f"{value:.{decimals}f}"


def percent(value: float | None) -> str:
    """A share in percent, or a dash if it is unknown."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"
