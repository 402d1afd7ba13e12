"""``recsys compress``: its flags, and what it does."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from recsys.cli.answer import Answer
from recsys.cli.import_flags import amount
from recsys.core.destination import prove_file, prove_folder
from recsys.core.text_table import as_text
from recsys.pipeline.compress import EVIDENCE, compress_bundle

if TYPE_CHECKING:
    from recsys.compression.measure import Measured


def _share(text: str) -> float:
    """A share such as 1% or 0.01."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"write a share such as 1% or 0.01, not {text!r}") from error


def _milliseconds(text: str) -> float:
    """A time such as 5ms or 0.2s, in milliseconds."""
    for unit, factor in (("ms", 1.0), ("s", 1000.0)):
        number = text.removesuffix(unit)
        if number != text:
            try:
                return float(number) * factor
            except ValueError:
                break
    raise argparse.ArgumentTypeError(f"write a time such as 5ms or 0.2s, not {text!r}")


def add_compress_flags(parser: ArgumentParser) -> None:
    """The flags of ``recsys compress``."""
    parser.add_argument("run_folder", metavar="RUN", help="folder of a bundle with held-out users, which stays as it is")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder of the smaller bundle")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier bundle in --out")
    parser.add_argument(
        "--recall-loss", metavar="SHARE", type=_share, default=0.01,
        help="largest share of NDCG@10 that may be lost on held-out users, at the upper end of its interval (default: 1%%)",
    )  # fmt: skip
    parser.add_argument(
        "--text-loss", metavar="SHARE", type=_share, default=0.05,
        help="largest share of what searches find, and of NDCG@10 among items read as new ones, that a smaller encoder "
        "may lose (default: 5%%)",
    )  # fmt: skip
    parser.add_argument("--size", metavar="SIZE", type=amount, help="largest size of all files, such as 50MiB")
    parser.add_argument(
        "--latency", metavar="TIME", type=_milliseconds, help="largest p99 of a request of one user on this machine: 5ms"
    )
    parser.add_argument(
        "--judges", metavar="N", type=int, default=2000, help="held-out users to judge by; more take longer (default: 2000)"
    )
    parser.add_argument(
        "--distil", metavar="EPOCHS", type=int, default=0,
        help="train one member of an ensemble further on what all say, on the bundle's own events, for so many epochs "
        "(default: 0, none)",
    )  # fmt: skip
    parser.add_argument("--page", metavar="FILE", help="HTML page that shows the trade-off (default: OUT-compression.html)")


def compress(arguments: Namespace) -> Answer:
    """``recsys compress``."""
    out = Path(arguments.out)
    page = out.parent / f"{out.name}-compression.html" if arguments.page is None else Path(arguments.page)
    prove_folder(out)
    prove_file(page, option="--page")
    found, size = compress_bundle(
        arguments.run_folder, out, loss=arguments.recall_loss, size=arguments.size, latency=arguments.latency,
        text_loss=arguments.text_loss, users=arguments.judges, distil=arguments.distil,
        overwrite=arguments.overwrite, page=page,
    )  # fmt: skip
    lines = [
        as_text(pl.DataFrame([_row(one) for one in found.measured])),
        f"judged by {found.users:,} held-out users",
        f"chosen: {' + '.join(found.chosen.steps) or 'nothing; the bundle is as small as it can be'}",
        f"bundle: {out} ({size / 2**20:,.1f} MiB; {EVIDENCE} has what was measured)    page: {page}",
    ]
    return Answer("\n".join(lines), found.to_dict() | {"folder": str(out), "bytes": size, "page": str(page)})


def _row(one: Measured) -> dict[str, str]:
    low, high = one.loss_interval
    return {
        "MiB": f"{one.bytes / 2**20:,.1f}",
        "in memory": f"{one.memory / 2**20:,.1f}",
        "p50 ms": f"{one.p50:.2f}",
        "p99 ms": f"{one.p99:.2f}",
        "recall@10": f"{one.recall_10:.4f}",
        "ndcg@10": f"{one.ndcg_10:.4f}",
        "lost (95 %)": f"{one.loss:+.2%} ({low:+.2%} to {high:+.2%})",
        "same 10": f"{one.overlap:.1%}",
        "same found": _told(one.search_overlap, "{:.1%}"),
        "new lost": _told(one.new_loss, "{:+.2%}"),
        "search ms": _told(one.search, "{:.1f}"),
        "add ms": _told(one.add, "{:.1f}"),
        "steps": " + ".join(one.steps) or "as it was",
    }


def _told(figure: float | None, form: str) -> str:
    """A figure that only bundles with a text encoder have."""
    return "" if figure is None else form.format(figure)
