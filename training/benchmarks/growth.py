"""How the import of a log, a fit without training, and a batch for all users grow with the log.

    PYTHONPATH=. python training/benchmarks/growth.py --rows 1000000 3000000 10000000 --out training/results

The logs are those of ``data_engine.py --grow``: text ids, one user in a hundred rows, one item in a thousand, Zipf's law.
Each step is a command of its own: processor seconds are those of its process, the peak is the largest resident size, pages
of mapped files among it.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data_engine

RECORDED = {10_000_000: (3.5, 648), 30_000_000: (13.2, 1133), 100_000_000: (50.1, 2928)}
"""Rows → CPU s and peak MiB of the import, from ``data-engine.md``."""
COLOURS = {"import": "#1f6fb2", "fit --fast": "#c0570f", "recommend --users all": "#2b8a57"}


def command(*words: str) -> tuple[float, float, float]:
    """Run ``recsys`` with these words: CPU s, s, peak MiB."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-m", "recsys", *words], stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(f"recsys {' '.join(words)}: {said.read().decode()[-2000:]}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024


def measured(folder: Path, rows: int) -> dict[str, tuple[float, float, float]]:
    log, store, run = data_engine.make_pieces(folder, rows), folder / f"store-{rows}", folder / f"run-{rows}"
    found = {"import": command("import", str(log), "--out", str(store))}
    found["fit --fast"] = command("fit", str(store), "--fast", "--split", "none", "--out", str(run))
    batch = ["recommend", str(run), "--users", "all", "--k", "100", "--out", str(folder / f"recs-{rows}")]
    found["recommend --users all"] = command(*batch)
    return found


def plot(found: dict[str, dict[int, tuple[float, float]]]) -> str:
    """CPU seconds and peak memory against rows, both axes logarithmic."""
    panels = [_panel(found, 0, 60, "CPU seconds"), _panel(found, 1, 430, "peak memory, MiB")]
    names = [
        f'<text x="{70 + 240 * place}" y="318" fill="{COLOURS[name]}">{name}</text>' for place, name in enumerate(found)
    ]
    style = "font-family:system-ui,sans-serif;font-size:13px"
    size = 'viewBox="0 0 780 330" width="780" height="330"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{style}" role="img">'
    title = "<title>Processor time and memory of import, fit and batch against the rows of a log</title>"
    return "\n".join([head, title, '<rect width="100%" height="100%" fill="white"/>', *panels, *names, "</svg>", ""])


def _panel(found: dict[str, dict[int, tuple[float, float]]], which: int, left: int, title: str) -> str:
    points = [(rows, one[which]) for line in found.values() for rows, one in line.items()]
    low_x, high_x = (math.floor(math.log10(min(x for x, _ in points))), math.ceil(math.log10(max(x for x, _ in points))))
    low_y, high_y = (math.floor(math.log10(min(y for _, y in points))), math.ceil(math.log10(max(y for _, y in points))))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / max(high_x - low_x, 1)
        return left + 300 * across, 270 - 220 * (math.log10(y) - low_y) / max(high_y - low_y, 1)

    parts = [f'<text x="{left}" y="30" font-weight="600">{title}</text>']
    for power in range(low_x, high_x + 1):
        x = place(10**power, 10**low_y)[0]
        parts.append(f'<path d="M{x:.0f} 50V270" stroke="#dde2e8"/>')
        parts.append(f'<text x="{x:.0f}" y="290" text-anchor="middle">{10**power:,}</text>')
    for power in range(low_y, high_y + 1):
        y = place(10**low_x, 10**power)[1]
        parts.append(f'<path d="M{left} {y:.0f}H{left + 300}" stroke="#dde2e8"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10**power:,}</text>')
    for name, line in found.items():
        dots = [place(rows, one[which]) for rows, one in sorted(line.items())]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[name]}"/>' for x, y in dots]
    return "\n".join(parts)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 3_000_000, 10_000_000], help="rows of the logs")
    parser.add_argument("--folder", type=Path, help="where the logs go for the time being (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("training/results"), help="folder of growth.svg")
    arguments = parser.parse_args()
    lines: dict[str, dict[int, tuple[float, float]]] = {
        "import": dict(RECORDED),
        "fit --fast": {},
        "recommend --users all": {},
    }
    print("| rows | users | items | step | CPU s | s | peak MiB |\n| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for rows in arguments.rows:
            for step, (cpu, seconds, peak) in measured(Path(folder), rows).items():
                lines[step].setdefault(rows, (cpu, peak))
                print(
                    f"| {rows:,} | {rows // 100:,} | {rows // 1000:,} | {step} | {cpu:.1f} | {seconds:.1f} | {peak:,.0f} |",
                    flush=True,
                )
            (arguments.out / "growth.svg").write_text(plot({name: line for name, line in lines.items() if line}))


if __name__ == "__main__":
    main()
