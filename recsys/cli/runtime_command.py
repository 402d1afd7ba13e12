"""The command ``recsys-runtime``: serves exports where neither PyTorch nor the rest of recsys is installed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recsys.cli import store_commands
from recsys.cli.running import run
from recsys.cli.store_flags import add_keys_flags, add_serve_flags
from recsys.cli.words import Parser
from recsys.core.version import __version__


def build_parser() -> argparse.ArgumentParser:
    """The whole command line: ``serve`` and ``keys``, as ``recsys`` has them."""
    parser = Parser(prog="recsys-runtime", description="Serve what recsys export has written.")
    parser.add_argument("--version", action="version", version=f"recsys-runtime {__version__}")
    subs = parser.add_subparsers(required=True, metavar="command", parser_class=Parser)
    serve = subs.add_parser("serve", help="answer requests over HTTP from an export")
    serve.set_defaults(run=store_commands.serve, command="serve")
    add_serve_flags(serve)
    keys = subs.add_parser("keys", help="make, list and revoke the API keys of a server")
    keys.set_defaults(run=store_commands.keys, command="keys")
    add_keys_flags(keys)
    for one in (serve, keys):
        one.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are those of ``recsys``."""
    return run(build_parser(), arguments)
