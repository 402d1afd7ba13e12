"""What ``recsys drift`` does: compare a newer log with what a bundle knows, and give an advice."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.bundle.describe import recorded_reading
from recsys.cli.answer import Answer
from recsys.cli.inspect_commands import page_of
from recsys.cli.reading import read_data, user_features
from recsys.cli.recorded_reading import read_as_before
from recsys.config.drift import DriftOptions
from recsys.config.options import given
from recsys.core.files import atomic_file

ADVISED = 4
"""The exit code where the advice is one of --fail-on: nothing is wrong with the command."""


def drift(arguments: Namespace) -> Answer:
    """``recsys drift``."""
    from recsys.pipeline.drift import drift as look  # noqa: PLC0415
    from recsys.pipeline.drift_page import drift_page  # noqa: PLC0415

    run, page = Path(arguments.run_folder), page_of(arguments)
    options = DriftOptions(**given(arguments, DriftOptions))
    words = recorded_reading(run)  # what is not a bundle is refused before anything is read
    read_as_before(arguments, words)
    log, catalog = read_data(arguments)
    found = look(run, log, catalog, users=user_features(arguments), options=options)
    code = ADVISED if found.advice in arguments.fail_on else 0
    if page is None:
        return Answer(str(found), found.to_dict(), code)
    with atomic_file(page) as file:
        file.write_text(drift_page(run.resolve().name, found), encoding="utf-8")
    return Answer(f"{found}\npage: {page}", found.to_dict() | {"page": str(page)}, code)
