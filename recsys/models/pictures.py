"""Pictures of items: found, read by an encoder of their own, whitened for the item tower, and compared with others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.core.progress import warn
from recsys.core.ragged import Bool, Float32
from recsys.data.catalog import Catalog
from recsys.errors import ConfigError, DataError, EncoderError, UnsupportedError
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import ImageEncoder, open_encoder
from recsys.models.encoders.proof import prove_vectors
from recsys.models.encoders.whitening import Whitening

NO_PICTURES = "this model reads no pictures; fit it with images (--images COLUMN --image-encoder NAME)"


@dataclass(frozen=True, eq=False)
class Pictures:
    """How a model reads pictures.

    Attributes
    ----------
    column : str
        Of the catalogue, with names of files.
    whitening : Whitening
        From the encoder's vectors to what the item tower reads.
    held : HeldEncoder or None
        The encoder's files; None: the bundle was saved without them.
    """

    column: str
    whitening: Whitening
    held: HeldEncoder | None

    def encoder(self, device: str) -> ImageEncoder:
        """The encoder, loaded at first use.

        Raises
        ------
        UnsupportedError
            The bundle does not hold it.
        """
        if self.held is None:
            raise UnsupportedError("this bundle holds no image encoder; fit again to read new pictures")
        return self.held.opened_images(device)

    def table(self, few: Catalog, device: str) -> Tensor:
        """float32 (m, I): whitened vectors of the items of a small catalogue; zeros without a picture that can be read."""
        if self.column not in few.columns.columns:
            return torch.zeros(len(few), self.whitening.matrix.shape[1])
        files = image_files(few, self.column)
        known = files.is_not_null().to_numpy()
        table = np.zeros((len(few), self.whitening.matrix.shape[1]), dtype=np.float32)
        if known.any():
            vectors = self.encoder(device).encode(files.drop_nulls().to_list())
            seen: Bool = np.asarray(vectors.any(axis=1))
            known[known] = seen
            tell_unread(files.drop_nulls(), ~seen)
            table[known] = self.whitening(vectors[seen])
        return torch.from_numpy(table)

    def undone(self, table: Tensor) -> Float32:
        """float32 (n_items, E): the tower's pictures in the encoder's own space, of unit length; zeros without one."""
        whitened: Float32 = table.float().cpu().numpy()
        return unit(self.whitening.undo(whitened)) * whitened.any(axis=1, keepdims=True)

    def of_files(self, files: list[str], device: str) -> Float32:
        """float32 (n, E): pictures to search by, of unit length.

        Raises
        ------
        DataError
            A file is missing or no picture.
        """
        if absent := [file for file in files if not Path(file).is_file()]:
            raise DataError(f"{absent[0]} is not there; name a file with a picture")
        vectors = self.encoder(device).encode(files)
        if not (seen := vectors.any(axis=1)).all():
            raise DataError(f"{files[int(np.argmin(seen))]} is not a picture that can be read")
        return unit(vectors)

    def of_texts(self, texts: list[str], device: str) -> Float32:
        """float32 (n, E): texts in the space of pictures, of unit length.

        Raises
        ------
        UnsupportedError
            The encoder reads pictures alone.
        """
        encoder = self.encoder(device)
        try:
            vectors = encoder.encode_queries(texts)
        except EncoderError as error:
            raise UnsupportedError(f"the image encoder reads no texts, so they find no pictures: {error}") from error
        if vectors.shape[1] != self.whitening.matrix.shape[0]:
            raise UnsupportedError("the image encoder puts texts into a space of their own, so they find no pictures")
        return unit(vectors)


@dataclass(frozen=True, eq=False)
class PicturePart:
    """What an encoder makes of the pictures of a catalogue.

    Attributes
    ----------
    pictures : Pictures
    vectors : float32 (n_items, I)
        Whitened; zeros without a picture that can be read.
    """

    pictures: Pictures
    vectors: Tensor


def picture_part(column: str, encoder: str, catalog: Catalog, dim: int, device: str) -> PicturePart:
    """Encode the pictures of a catalogue; files that are missing or broken are counted, and left out.

    Parameters
    ----------
    column : str
    encoder : str
        As ``ModelConfig.image_encoder``.
    catalog : Catalog
    dim : int
        Directions to keep.
    device : str

    Raises
    ------
    ConfigError
        The catalogue has no such column.
    DataError
        No file can be read.
    EncoderError
        The encoder cannot be found or loaded, or reads no pictures.
    """
    files = image_files(catalog, column)
    if files.null_count() == len(files):
        raise DataError(f"the catalogue's column {column!r} names no image file that is there; leave out images")
    folder = open_encoder(encoder)
    held = HeldEncoder.of(folder)
    encoded = ImageEncoder(folder, device).encode_cached(files.drop_nulls())
    seen: Bool = np.asarray(encoded.any(axis=1))
    tell_unread(files.drop_nulls(), ~seen)
    if not seen.any():
        raise DataError(f"none of the files of the catalogue's column {column!r} is a picture that can be read")
    known = files.is_not_null().to_numpy()
    known[known] = seen
    read = files.set(pl.Series(~known), None)
    prove_vectors(read.drop_nulls(), encoded[seen], "images")
    whitening = Whitening.fit(encoded[seen][read.drop_nulls().is_first_distinct().to_numpy()], dim)
    table = torch.from_numpy(whitening.table(encoded[seen], known))
    return PicturePart(Pictures(column, whitening, held), table)


def image_files(catalog: Catalog, column: str) -> pl.Series:
    """Paths of image files, null where an item has none or the file is missing; a line counts these."""
    files = catalog.column(column)
    if files.dtype not in (pl.String, pl.Categorical, pl.Null) and not isinstance(files.dtype, pl.Enum):
        raise ConfigError(f"the catalogue's column {column!r} is of type {files.dtype}, expected names of image files")
    files = files.cast(pl.String)
    files = files.set(files.str.strip_chars() == "", None)
    distinct = files.drop_nulls().unique(maintain_order=True)
    there = pl.Series([Path(file).is_file() for file in distinct], dtype=pl.Boolean)
    if not there.all():
        absent = distinct.filter(~there)
        missing = files.is_in(absent.implode()).fill_null(value=False)
        warn(
            f"{int(missing.sum()):,} of {len(files) - files.null_count():,} image files of the catalogue's column "
            f"{column!r} are not there, such as {absent[0]}; these items have no picture"
        )
        files = files.set(missing, None)
    return files


def tell_unread(files: pl.Series, broken: Bool) -> None:
    """Warn about files that are no picture that can be read, bool (n,)."""
    if broken.any():
        warn(
            f"{int(broken.sum()):,} of {len(files):,} image files are no picture that can be read, such as "
            f"{files[int(np.argmax(broken))]}; these items have no picture"
        )


def unit(vectors: Float32) -> Float32:
    """The same directions, of length 1."""
    found: Float32 = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return found
