"""``recsys export``: its flags, and what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.cli.words import command
from recsys.core.destination import prove_folder
from recsys.pipeline.export import export_bundle


def add_export_flags(parser: ArgumentParser) -> None:
    """The flags of ``recsys export``."""
    parser.add_argument("run_folder", metavar="RUN", help="folder of a bundle, which stays as it is")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder of the export")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in --out")
    parser.add_argument(
        "--no-text",
        action="store_true",
        help="leave out the text encoder, the largest part; the export does not search then",
    )


def export(arguments: Namespace) -> Answer:
    """``recsys export``."""
    out = Path(arguments.out)
    prove_folder(out)
    told = export_bundle(arguments.run_folder, out, overwrite=arguments.overwrite, text=not arguments.no_text)
    size, parity = sum(file["bytes"] for file in told["files"].values()), told["parity"]
    lines = [
        f"export: {out}",
        f"{len(told['files'])} files, {size / 2**20:,.1f} MiB, ONNX opset {told['opset']}",
        _nearness(parity),
        "next:",
        f"  {command('serve', out, '--open')}",
        "or, where neither PyTorch nor recsys is installed:",
        "  pip install recsys-runtime",
        f"  python -c \"import recsys_runtime; print(recsys_runtime.load('{out}'))\"",
    ]
    return Answer("\n".join(lines), {"folder": str(out), "bytes": size, **told})


def _nearness(parity: dict[str, float]) -> str:
    if not parity.get("users"):
        return "compared with the bundle: no user has a history to ask with"
    return (
        f"compared with the bundle on {parity['users']} users: {parity['overlap']:.2%} of the ten best, "
        f"{parity['same_order']:.2%} at the same rank, scores within {parity['score_difference']:.0e} of the largest"
    )
