"""Photograph pages for the gallery: ``python docs/site/gallery.py RUN LOG.csv ITEMS.csv NEWLOG.csv``.

RUN is a bundle (``recsys demo`` makes one). The pages of ``report``, ``inspect`` and ``drift`` are written by the
commands that make them, the server is started on a free port, and Chromium
(``--browser``) photographs each. Needs the extra ``serve``.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pictures" / "gallery"
WIDE, PHONE = (1280, 900), (390, 844)
RECSYS = [sys.executable, "-m", "recsys"]


def photograph(browser: str, address: str, file: Path, size: tuple[int, int], wait: int = 4000) -> None:
    """A page as it is seen in a window of this size, as PNG."""
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        words = [f"--window-size={size[0]},{size[1]}", f"--virtual-time-budget={wait}", f"--screenshot={file}", address]
        subprocess.run([browser, *flags, *words], check=True, capture_output=True, timeout=180)
    smaller(file)


def smaller(file: Path) -> None:
    """With 64 colours, which such pages do not need more of."""
    from PIL import Image  # noqa: PLC0415

    with Image.open(file) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> int:
    """Write the pages, start the server, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("new", type=Path, help="a log that has gone on")
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        pages = Path(place)
        about = ["--catalog", asked.items, "--text", "title", "description"]
        made: dict[str, list[object]] = {
            "report": ["report", asked.run, "--out", pages / "report.html"],
            "inspect": ["inspect", asked.log, *about, "--page", pages / "inspect.html"],
            "drift": ["drift", asked.run, asked.new, "--page", pages / "drift.html"],
        }
        for name, words in made.items():
            done = subprocess.run([*RECSYS, *map(str, words)], check=False, capture_output=True, text=True)
            if not (pages / f"{name}.html").exists():
                raise SystemExit(f"{name}: {done.stderr or done.stdout}")
            photograph(asked.browser, f"file://{pages / name}.html", FOLDER / f"{name}.png", WIDE)
        photograph(asked.browser, f"file://{pages / 'report.html'}", FOLDER / "report-phone.png", PHONE)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["serve", str(asked.run), "--open", "--db", f"sqlite:///{pages / 'server.db'}", "--port", str(port)]
        server = subprocess.Popen([*RECSYS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}/"
            for _ in range(1200):
                try:
                    with urllib.request.urlopen(f"{address}readyz", timeout=5):  # noqa: S310 - our own server
                        break
                except OSError:
                    time.sleep(0.1)
            photograph(asked.browser, address, FOLDER / "server.png", WIDE, 8000)
            photograph(asked.browser, address, FOLDER / "server-phone.png", PHONE, 8000)
        finally:
            server.terminate()
            server.wait(60)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
