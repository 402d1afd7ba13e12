"""The page before it asks anything: one HTML file, one style, some script modules; nothing of the bundle is in them."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from recsys.core.version import __version__

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The browser itself runs nothing but the server's own scripts, asks nobody else, and makes no HTML of texts."""
HEADERS: Final = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_KIT: Final = f"{__package__.removesuffix('.server.page')}.pages"
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
ASSETS: Final = ("api.js", "combobox.js", "dom.js", "items.js", "live.js", "page.css", "page.js", "person.js")


def shell(*, is_open: bool) -> bytes:
    """The HTML, which shows a form for a key unless the server is open.

    Examples
    --------
    >>> shell(is_open=True).startswith(b"<!doctype html>")
    True
    """
    made = Template(_read(__package__, "page.html")).substitute(
        open="yes" if is_open else "no", version=escape(__version__)
    )
    return made.encode()


def asset(name: str) -> tuple[bytes, str]:
    """A style or script, and its media type; ``name`` is one of :data:`ASSETS`."""
    kit = _read(_KIT, name) if name == "page.css" else ""
    return (kit + _read(__package__, name)).encode(), _TYPES[name.rpartition(".")[2]]


def _read(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")
