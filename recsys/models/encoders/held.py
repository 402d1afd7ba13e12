"""The files of a text encoder, held: a model reads with the one that it was trained with, whatever their path holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from recsys.core.opened import OpenedFile
from recsys.errors import DamagedError, EncoderError
from recsys.models.encoders.coded import read_back
from recsys.models.encoders.folder import encoder_files
from recsys.models.encoders.pretrained import ImageEncoder, TextEncoder

_Encoder = TypeVar("_Encoder", bound=TextEncoder)


@dataclass(eq=False)
class HeldEncoder:
    """An encoder's files, opened when the model was made or loaded, and verified whenever they are read.

    Attributes
    ----------
    files : dict of OpenedFile
        By name within the encoder's folder.
    proven : bool
        Whether these files were shown to give the vectors that the model reads.
    """

    files: Mapping[str, OpenedFile]
    proven: bool = False
    _loaded: dict[str, TextEncoder] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the loaded encoder, which the files give again."""
        return {"files": self.files, "proven": self.proven, "_loaded": {}}

    @classmethod
    def of(cls, folder: Path) -> HeldEncoder:
        """Hold the files of a folder as they are now.

        Raises
        ------
        EncoderError
            One cannot be read.
        """
        try:
            return cls({name: OpenedFile.of(file) for name, file in encoder_files(folder).items()})
        except OSError as error:
            raise EncoderError(f"{error.filename} cannot be read: {error.strerror}") from error

    def write(self, folder: Path) -> None:
        """Write the encoder into a folder, as it is kept.

        Raises
        ------
        EncoderError
            A held file was changed in place.
        OSError
            It cannot be written.
        """
        try:
            for name, file in self.files.items():
                file.copy(folder / name)
        except DamagedError as error:
            raise EncoderError(
                f"{error}; the files of the encoder were changed after the model was made from them"
            ) from error

    @contextmanager
    def laid_out(self) -> Iterator[Path]:
        """A temporary folder with the encoder, its weights as every library reads them, gone when the block ends.

        Raises
        ------
        EncoderError, OSError
            As :meth:`write`.
        """
        folder = Path(tempfile.mkdtemp(prefix="recsys-encoder-"))
        try:
            self.write(folder / "encoder")
            read_back(folder / "encoder")
            yield folder / "encoder"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def opened(self, device: str) -> TextEncoder:
        """The encoder, in memory: loaded once for all models that hold these files, such as before and after an added item.

        Raises
        ------
        EncoderError
            A held file was changed in place, or no encoder rises from them.
        """
        return self._opened(device, TextEncoder)

    def opened_images(self, device: str) -> ImageEncoder:
        """The same of an encoder that reads pictures."""
        return self._opened(device, ImageEncoder)

    def _opened(self, device: str, kind: type[_Encoder]) -> _Encoder:
        encoder = self._loaded.get(device)
        if not isinstance(encoder, kind):
            with self.laid_out() as folder:
                encoder = kind(folder, device)
                encoder.load()
            self._loaded[device] = encoder
        return encoder
