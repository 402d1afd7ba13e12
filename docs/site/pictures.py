"""Draw the pictures of the concepts as SVG: ``python docs/site/pictures.py`` writes them into docs/pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pictures"
INK, SOFT, LINE, PAPER = "#1f2933", "#5b6672", "#8a96a3", "#ffffff"
BLUE, ORANGE, GREEN, GREY = "#cfe3f7", "#fbe0bd", "#cdebdc", "#e7eaee"


def picture(width: int, height: int, *parts: str) -> str:
    """A whole SVG, on white, so that it can be read on a dark page too."""
    arrow = f'<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker>'
    style = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:14px"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="{style}">'
    ground = f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>'
    return "\n".join([head, f"<defs>{arrow}</defs>", ground, *parts, "</svg>", ""])


def text(x: float, y: float, said: str, *, anchor: str = "middle", colour: str = INK, size: int = 14) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(said)}</text>'


def box(x: float, y: float, width: float, height: float, *lines: str, fill: str = GREY) -> str:
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" stroke="{LINE}"/>'
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    return shape + "".join(text(x + width / 2, first + 18 * i, one) for i, one in enumerate(lines))


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{LINE}" stroke-width="1.6" fill="none" marker-end="url(#a)"/>'


def dot(x: float, y: float, fill: str, radius: float = 8) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{LINE}"/>'


def path() -> str:
    return picture(
        820, 190,
        box(12, 24, 128, 46, "log", "who, what, when", fill=BLUE), box(12, 108, 128, 46, "catalogue", "what items are", fill=ORANGE),
        arrow(140, 47, 184, 80), arrow(140, 131, 184, 100),
        box(186, 66, 128, 48, "training", "towers, memory"), arrow(314, 90, 352, 90),
        box(354, 66, 110, 48, "bundle", "one folder", fill=GREEN), arrow(464, 90, 510, 90),
        box(512, 66, 110, 48, "retriever", "answers"), arrow(622, 80, 668, 42), arrow(622, 90, 668, 90), arrow(622, 100, 668, 138),
        box(670, 22, 134, 36, "batch: Parquet"), box(670, 72, 134, 36, "Python: frames"), box(670, 122, 134, 36, "server: HTTP"),
    )  # fmt: skip


def towers() -> str:
    inputs = ("id", "text", "words", "numbers", "images")
    return picture(
        760, 330,
        *(box(17 + 68 * i, 268, 66, 34, one, fill=ORANGE) for i, one in enumerate(inputs)),
        *(arrow(50 + 68 * i, 268, 186, 212) for i in range(5)),
        box(96, 160, 180, 50, "item tower"), arrow(186, 160, 186, 112), box(116, 74, 140, 36, "vector of the item", fill=GREEN),
        *(box(440 + 72 * i, 268, 64, 34, f"item {i + 1}", fill=BLUE) for i in range(4)),
        *(arrow(472 + 72 * i, 268, 580, 212) for i in range(4)),
        box(490, 160, 180, 50, "user tower", "a causal transformer"), arrow(580, 160, 580, 112),
        box(500, 74, 160, 36, "vector of the history", fill=GREEN), arrow(256, 92, 336, 42), arrow(500, 92, 430, 42),
        box(338, 16, 90, 40, "score"), text(380, 82, "inner product", colour=SOFT), text(580, 322, "a history, oldest first", colour=SOFT),
        text(186, 322, "what is known of an item", colour=SOFT),
    )  # fmt: skip


def memory() -> str:
    names = ("razor", "blades", "foam", "brush")
    weights = {(0, 1): 0.6, (0, 2): 0.3, (1, 0): 0.1, (1, 2): 0.4, (2, 1): 0.5, (3, 2): 0.7}
    cells = []
    for row, name in enumerate(names):
        cells.append(text(150, 96 + 44 * row, name, anchor="end"))
        for column in range(4):
            weight = weights.get((row, column))
            shade = f"rgb({int(255 - 120 * (weight or 0))},{int(255 - 50 * (weight or 0))},255)"
            cells.append(
                f'<rect x="{160 + 70 * column}" y="{70 + 44 * row}" width="66" height="40" rx="4" fill="{shade}" stroke="{LINE}"/>'
            )
            cells.append(text(193 + 70 * column, 95 + 44 * row, "" if weight is None else f"{weight:.1f}"))
    return picture(
        700, 270,
        text(300, 30, "what came next", colour=SOFT), text(70, 56, "after", colour=SOFT),
        *(text(193 + 70 * i, 58, name) for i, name in enumerate(names)), *cells,
        text(470, 96, "history: razor, foam", anchor="start"), text(470, 126, "blades  0.6 + 0.5", anchor="start"),
        text(470, 150, "foam  0.3", anchor="start", colour=SOFT), text(470, 174, "(seen, left out)", anchor="start", colour=SOFT, size=12),
        text(470, 210, "added to the towers' scores", anchor="start"),
    )  # fmt: skip


def items() -> str:
    rows = (
        ("hot", "events and features", "id, features, memory", BLUE),
        ("warm", "features only", "features: text, words, numbers", ORANGE),
        ("cold", "nothing yet", "not served, until add_items", GREY),
    )
    parts = [
        text(90, 28, "item", colour=SOFT),
        text(250, 28, "the model knows", colour=SOFT),
        text(520, 28, "served by", colour=SOFT),
    ]
    for i, (name, knows, by, fill) in enumerate(rows):
        y = 42 + 56 * i
        parts += [
            box(30, y, 120, 42, name, fill=fill),
            text(250, y + 26, knows),
            arrow(345, y + 21, 385, y + 21),
            box(390, y, 270, 42, by),
        ]
    return picture(690, 220, *parts)


def protocols() -> str:
    lines = {"leave last out": (3, 1, 1), "one cut in time": (3, 0, 2), "random events": (0, 0, 0)}
    kinds = {"train": BLUE, "validation": ORANGE, "test": GREEN}
    parts, ends = [], (250, 330, 400, 480, 560, 640)
    for row, name in enumerate(lines):
        for user in range(2):
            y = 52 + 84 * row + 30 * user
            parts.append(f'<path d="M220 {y}L680 {y}" stroke="{GREY}" stroke-width="2"/>')
            for i, x in enumerate(ends[: 6 - user]):
                at = x + 24 * user
                last = 6 - user - 1
                if name == "leave last out":
                    kind = "test" if i == last else "validation" if i == last - 1 else "train"
                elif name == "one cut in time":
                    kind = "test" if at > 540 else "train"
                else:
                    kind = "test" if i == (2 + 2 * user) else "validation" if i == (4 - 3 * user) else "train"
                parts.append(dot(at, y, kinds[kind]))
        parts.append(text(30, 72 + 84 * row, name, anchor="start"))
    parts.append(f'<path d="M540 120L540 186" stroke="{INK}" stroke-dasharray="5 4"/>')
    legend = [
        dot(230 + 130 * i, 296, fill) + text(246 + 130 * i, 301, kind, anchor="start")
        for i, (kind, fill) in enumerate(kinds.items())
    ]
    return picture(720, 320, text(450, 28, "time of two people's events →", colour=SOFT), *parts, *legend)


def intervals() -> str:
    def bar(y: float, name: str, low: float, mean: float, high: float, fill: str) -> str:
        line = f'<path d="M{low:g} {y}L{high:g} {y}" stroke="{INK}" stroke-width="2"/>'
        ends = "".join(f'<path d="M{x:g} {y - 7}L{x:g} {y + 7}" stroke="{INK}" stroke-width="2"/>' for x in (low, high))
        return text(30, y + 5, name, anchor="start") + line + ends + dot(mean, y, fill)

    return picture(
        720, 250,
        text(390, 28, "recall@10 of each, with its interval: they overlap", colour=SOFT),
        bar(60, "model A", 330, 420, 510, BLUE), bar(96, "model B", 290, 380, 470, ORANGE),
        text(390, 142, "A − B, user by user: well above zero", colour=SOFT), bar(178, "difference", 330, 352, 374, GREEN),
        f'<path d="M300 152L300 210" stroke="{INK}" stroke-dasharray="5 4"/>', text(300, 230, "0", colour=SOFT),
    )  # fmt: skip


PICTURES = {
    "path": path,
    "towers": towers,
    "memory": memory,
    "items": items,
    "protocols": protocols,
    "intervals": intervals,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
