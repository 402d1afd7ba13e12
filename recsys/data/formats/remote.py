"""Fetch the tables of an address (``s3://``, ``gs://``, ``az://``, ``https://``) through fsspec, one file at a time."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from recsys.core.progress import counting, log
from recsys.data.formats.paths import Format, format_of, is_table_name, partition_columns
from recsys.errors import ConfigError, DataError, DependencyError, RecsysError

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_USER = re.compile(r"(?<=://)[^/\s@'\"]*@")
_QUERY = re.compile(r"\?(?=[^\s'\")]*=)[^\s'\")]+")
_WEB: Final = ("http", "https")
_PACKAGES: Final = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
_PATIENCE: Final = 60
"""Seconds without a byte after which a web server is given up."""


def is_remote(path: object) -> bool:
    """Whether a path is an address; ``file://`` is none, as it names a file of this machine."""
    return isinstance(path, str) and bool(_ADDRESS.match(path)) and not path.lower().startswith("file://")


def without_secrets(text: str) -> str:
    """A text with addresses, without their users, passwords and queries (which hold signatures and tokens)."""
    return _QUERY.sub("", _USER.sub("", text)) if "://" in text else text


@dataclass(frozen=True, eq=False)
class RemoteFile:
    """A table at an address.

    Attributes
    ----------
    filesystem : AbstractFileSystem
    path : str
        Its name there.
    name : str
        The address without secrets, for messages.
    format : Format
    constants : mapping
        Columns with one value for all rows, as the folders of the address give them.
    """

    filesystem: AbstractFileSystem
    path: str
    name: str
    format: Format
    constants: Mapping[str, str | None]

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """A copy on this machine while the block lasts.

        Raises
        ------
        DataError
            It is missing, may not be read, does not come to its end, or finds no room.
        """
        with tempfile.TemporaryDirectory(prefix="recsys-fetched-") as folder:
            target = Path(folder, PurePosixPath(self.name).name)
            with _reported(self.name):
                self._fetch(target)
            yield target

    def _fetch(self, target: Path) -> None:
        sizes = list[int]()

        def sized(size: int | None) -> None:
            if size is None or sizes:
                return
            sizes.append(size)
            if size > (free := shutil.disk_usage(target.parent).free):
                raise DataError(
                    f"{self.name} has {size:,} bytes, and {target.parent.parent} has room for {free:,}; name a larger "
                    f"folder for temporary files in the environment variable TMPDIR"
                )
            log(f"{self.name}: fetching {size:,} bytes")

        if urlsplit(self.name).scheme.lower() not in _WEB:  # a web server tells the size with the file
            sized(self.filesystem.info(self.path).get("size"))
        with counting(sizes[0] if sizes else None, what="fetching", unit="byte") as advance:
            self.filesystem.get_file(self.path, str(target), callback=_callback(sized, advance))
        if sizes and (came := target.stat().st_size) != sizes[0]:
            raise DataError(f"{self.name} is cut off: {came:,} of {sizes[0]:,} bytes came; fetch it again")


def remote_files(address: str, fmt: Format | None = None) -> list[RemoteFile]:
    """List the tables of an address: one file, the files of a pattern, or those of a folder, in sorted order.

    Parameters
    ----------
    address : str
        Whatever fsspec opens. Web servers list nothing, so that each of their files is named.
    fmt : Format, optional
        By default, each file's ending shows it.

    Raises
    ------
    ConfigError
        The kind of address is unknown.
    DataError
        Nothing is there, or it cannot be listed.
    DependencyError
        fsspec, or the package for this kind of address, is missing.
    """
    name = without_secrets(address)
    system, path = _opened(address, name)
    if urlsplit(address).scheme.lower() in _WEB:
        return [RemoteFile(system, path, name, _format(name, fmt), {})]
    with _reported(name):
        root, tables = _listed(system, path, every=fmt is not None)
    if not tables:
        raise DataError(f"nothing is at {name}, or no table whose ending shows its format, which format= (--format) names")
    names = {one: _name_of(one, path, name) for one in tables}
    if len(tables) > 1:
        log(f"{name}: {len(tables):,} files, {names[tables[0]]} ... {PurePosixPath(tables[-1]).name}")
    return [
        RemoteFile(system, one, names[one], _format(names[one], fmt), partition_columns(_folders(one, root), names[one]))
        for one in tables
    ]


def _listed(system: AbstractFileSystem, path: str, *, every: bool) -> tuple[str, list[str]]:
    """The folder below which folders are partitions, and the files that are not hidden, in sorted order.

    Of a folder, those whose ending shows a format, or ``every`` one where none has such an ending.
    """
    if system.isfile(path):
        return path.rpartition("/")[0], [path]
    if system.isdir(path):
        found = system.find(path)
        if any("_delta_log" in _folders(one, path) for one in found):
            raise DataError(
                "it is a Delta table, whose files also hold rows that were removed or replaced; in Python, read "
                "deltalake.DeltaTable(address).to_pyarrow_dataset() in its place"
            )
        found = [one for one in found if is_table_name(one)] or (found if every else [])
    else:
        path, found = (
            re.split(r"[^/]*[*?\[]", path)[0].rstrip("/"),
            [one for one in system.glob(path) if system.isfile(one)],
        )
    hidden = (".", "_")
    return path, sorted(
        one for one in found if not any(part.startswith(hidden) for part in (*_folders(one, path), PurePosixPath(one).name))
    )


def _folders(file: str, root: str) -> tuple[str, ...]:
    return PurePosixPath(file[len(root) :].lstrip("/")).parts[:-1]


def _name_of(file: str, path: str, name: str) -> str:
    """The address of a file in a listing, from the address that was listed."""
    path = path.lstrip("/")
    before = name.removesuffix(path) if path and name.endswith(path) else f"{urlsplit(name).scheme}://"
    return f"{before}{file.lstrip('/')}"


def _format(name: str, fmt: Format | None) -> Format:
    return format_of(name) if fmt is None else fmt


def _opened(address: str, name: str) -> tuple[AbstractFileSystem, str]:
    scheme = urlsplit(address).scheme.lower()
    try:
        import fsspec  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DependencyError(f"{name} is read through the package fsspec: pip install 'recsys[remote]'") from error
    try:
        options = {"client_kwargs": {"timeout": _timeout()}} if scheme in _WEB else {}
        system, path = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        package = _PACKAGES.get(scheme, without_secrets(str(error)))
        raise DependencyError(f"{name}: addresses of the kind {scheme}:// need the package {package}; install it") from None
    except ValueError as error:
        raise ConfigError(
            f"{name} is an address of an unknown kind, {scheme}://; download it first ({without_secrets(str(error))})"
        ) from None
    return system, path


def _timeout() -> Any:
    import aiohttp  # noqa: PLC0415 - an extra

    return aiohttp.ClientTimeout(total=None, sock_connect=_PATIENCE, sock_read=_PATIENCE)  # by default 5 minutes in all


def _callback(sized: Callable[[int | None], None], advance: Callable[[int], None]) -> Any:
    from fsspec.callbacks import Callback  # noqa: PLC0415 - an extra

    class Told(Callback):  # type: ignore[misc]
        def set_size(self, size: int | None) -> None:
            sized(size)

        def relative_update(self, inc: int = 1) -> None:
            advance(inc)

    return Told()


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Turn what fsspec and its stores raise into a DataError that names the address, and no secret."""
    try:
        yield
    except RecsysError as error:
        raise type(error)(f"{name}: {error}" if name not in str(error) else str(error)) from None
    except FileNotFoundError:
        raise DataError(f"{name} does not exist") from None
    except Exception as error:  # stores raise their own kinds; the cause may hold a secret, so it is not chained
        first = (without_secrets(str(error)).splitlines() or [""])[0]
        raise DataError(f"{name} cannot be fetched: {type(error).__name__}{first and f' ({first})'}") from None
