"""Where each target stood in its user's list, kept beside a cell, and what that tells of two cells on the same users.

A file ``cells/TABLE/users/NAME-SEED.npz`` holds the place of every target among the first hundred (uint8; 0: not there),
the number of targets of each user, and a digest of users and targets. Recall and NDCG at any k follow from it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recsys
from recsys.core.files import atomic_file
from recsys.evaluation.significance import holm, paired_test

MOST = 100
LEVEL = 0.05


def places_file(cell: Path) -> Path:
    """Where the places of a cell are kept."""
    return cell.parent / "users" / f"{cell.stem}.npz"


def keep_places(cell: Path, report: recsys.Evaluation, holdout: Any) -> None:
    """Write the places of an evaluation on a holdout, whose digest goes with them."""
    if report.k[-1] != MOST:
        raise ValueError(f"an evaluation at {MOST} is needed, not at {report.k[-1]}")
    file = places_file(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as temporary, temporary.open("wb") as out:
        np.savez_compressed(
            out,
            places=report.target_places.astype(np.uint8),
            targets=report.holdout.targets.lengths.astype(np.uint16),
            digest=np.frombuffer(digest(holdout), dtype=np.uint8),
        )


def digest(holdout: Any) -> bytes:
    """sha256 of the raw ids of users and targets."""
    ids = holdout.users.to_ids(holdout.user_rows), holdout.items.to_ids(holdout.targets.rows)
    return hashlib.sha256("\n".join(str(one) for part in ids for one in part.to_list()).encode()).digest()


class Gains:
    """Recall and NDCG of each user, of one cell.

    Attributes
    ----------
    places : int64 (n_targets,)
        From 1; 0: not among the first hundred.
    owners : int64 (n_targets,)
        The user of each.
    targets : int64 (n_users,)
    digest : bytes
    """

    def __init__(self, file: Path) -> None:
        with np.load(file) as kept:
            self.places, self.targets = kept["places"].astype(np.int64), kept["targets"].astype(np.int64)
            self.digest = kept["digest"].tobytes()
        self.owners = np.repeat(np.arange(len(self.targets)), self.targets)

    def of(self, metric: str) -> NDArray[np.float64]:
        """float64 (n_users,): ``recall@k`` or ``ndcg@k``."""
        name, _, cut = metric.partition("@")
        k = int(cut)
        hit = (self.places > 0) & (self.places <= k)
        weight = np.ones(len(hit)) if name == "recall" else 1.0 / np.log2(1.0 + np.maximum(self.places, 1))
        sums = np.bincount(self.owners, weight * hit, minlength=len(self.targets))
        if name == "recall":
            return sums / self.targets
        ideal = np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))
        return sums / ideal[np.minimum(self.targets, k) - 1]


def gains_of(cells: list[Path], metric: str, figures: list[float]) -> NDArray[np.float64] | None:
    """float64 (n_users,): the mean over the seeds of a row; None where a seed has no places.

    Raises
    ------
    ValueError
        Places and figures of a cell differ, or seeds were judged on different users.
    """
    files = [places_file(cell) for cell in cells]
    if not all(file.is_file() for file in files):
        return None
    gains = [Gains(file) for file in files]
    for file, one, figure in zip(files, gains, figures, strict=True):
        if abs(one.of(metric).mean() - figure) > 1e-6:
            raise ValueError(f"{file}: {metric} is {one.of(metric).mean():.6f} by its places and {figure:.6f} in its cell")
        if one.digest != gains[0].digest:
            raise ValueError(f"{file} is of other users or targets than {files[0]}; run the cells again")
    return np.mean([one.of(metric) for one in gains], axis=0)


def check_same_people(ours: Path, others: list[Path]) -> None:
    """Refuse to compare rows of other users or targets.

    Raises
    ------
    ValueError
        A row's places are of others than those of ``ours``; cells without places are passed over.
    """
    files = [places_file(cell) for cell in (ours, *others)]
    kept = [file for file in files if file.is_file()]
    for file in kept[1:]:
        if Gains(file).digest != Gains(kept[0]).digest:
            raise ValueError(f"{file} is of other users or targets than {kept[0]}; run the cells again")


def ahead(first: NDArray[np.float64], others: list[NDArray[np.float64] | None]) -> list[str]:
    """How much the first is ahead of each other row, and whether really: paired randomisation tests, Holm-corrected."""
    known = [one for one in others if one is not None]
    adjusted = iter(holm([paired_test(first, one) for one in known]).tolist() if known else [])
    told = []
    for one in others:
        if one is None:
            told.append("")
            continue
        p, gap = next(adjusted), float((first - one).mean())
        verdict = f"not told apart, p = {p:.2g}" if p >= LEVEL else "ahead" if gap > 0 else "**behind**"
        told.append(f"{gap:+.4f} {verdict}")
    return told
