"""What ``recsys inspect`` says of a log: a summary, all figures as JSON, and a page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.cli.given_store import store_facts
from recsys.cli.reading import read_data
from recsys.core.destination import prove_file
from recsys.core.files import atomic_file
from recsys.data.store.describe import describe_text
from recsys.errors import ConfigError


def add_page_flag(parser: ArgumentParser, of: str = "all figures of the log") -> None:
    """``--page``."""
    parser.add_argument("--page", metavar="FILE", help=f"also write {of}, with plots, as one HTML page that loads nothing")


def inspect_log(arguments: Namespace) -> Answer:
    """Summarise a log; look at it from all sides where a page or JSON is asked for."""
    from recsys.data.profile.figures import profile  # noqa: PLC0415
    from recsys.data.profile.page import log_page  # noqa: PLC0415
    from recsys.data.summary import summary, summary_text  # noqa: PLC0415

    page = page_of(arguments)
    store = store_facts(arguments)
    log, catalog = read_data(arguments)
    counted = summary(log, catalog)
    text = f"{describe_text(store)}\n{summary_text(counted)}" if store else summary_text(counted)
    if page is None and not arguments.json:
        return Answer(text, counted)
    facts = profile(log, catalog, counted) | ({"store": store} if store else {})
    if page is None:
        return Answer(text, facts)
    with atomic_file(page) as file:
        file.write_text(log_page(_title(arguments), facts), encoding="utf-8")
    return Answer(f"{text}\npage: {page}", facts | {"page": str(page)})


def _title(arguments: Namespace) -> str:
    return "/".join(Path(arguments.log[0]).absolute().parts[-2:]) if arguments.log else "the result of a query"


def page_of(arguments: Namespace) -> Path | None:
    """The file that ``--page`` names, proven to be writable; None if none was named."""
    if arguments.page is None:
        return None
    page = Path(arguments.page)
    if page.suffix not in (".html", ".htm"):
        raise ConfigError(f"--page {page} must end in .html")
    prove_file(page, option="--page")
    return page
