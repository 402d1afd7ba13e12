"""One command from its words to its exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from recsys.cli import interrupted, screen
from recsys.errors import RecsysError


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run one command; the exit codes are those of :func:`recsys.cli.parser.main`."""
    screen.prepare()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("recsys")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    parsed = parser.parse_args(arguments)
    try:
        with interrupted.stoppable():
            answer = parsed.run(parsed)
    except RecsysError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
    except KeyboardInterrupt as stopped:
        return interrupted.tell(stopped, parsed)
    return screen.show(screen.as_json(answer.data) if parsed.json else answer.text) or answer.code


def _refused(message: str) -> int:
    print(f"recsys: {' '.join(message.split())}", file=sys.stderr)
    return 2
