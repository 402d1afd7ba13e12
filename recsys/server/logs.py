"""Logs as JSON lines on standard error: what happened to which request, never to whom."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
import structlog

from recsys.server.settings import Logs

_ALLOWED: Final = frozenset(
    {
        "event", "level", "timestamp", "logger", "request_id", "method", "route", "status", "milliseconds", "key_id",
        "role", "action", "allowed", "reason", "kind", "error", "frames", "bundle", "count", "seconds", "host", "port",
        "db", "person", "receipt", "interactions", "impressions", "change", "folder", "force",
    }
)  # fmt: skip
"""Fields that are written; ids, texts and keys are not among them, and whoever adds one has to say so here."""
_FRAMES: Final = 12


def drop_private(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the fields that may be written; the others leave their names."""
    kept = {name: value for name, value in fields.items() if name in _ALLOWED or name.startswith("_")}
    if dropped := sorted(set(fields) - set(kept)):
        kept["dropped"] = dropped
    return kept


def begin_logs(settings: Logs, stream: BinaryIO | None = None) -> None:
    """Write the logs of the server, of uvicorn and of the library as JSON lines.

    Parameters
    ----------
    settings : Logs
    stream : binary file, optional
        By default standard error.
    """
    level, out = logging.getLevelNamesMapping()[settings.log_level.upper()], stream or sys.stderr.buffer
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_private,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_as_bytes)],
        logger_factory=structlog.BytesLoggerFactory(out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_AsText(out))
    plain = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_traceback, _as_text],
    )
    handler.setFormatter(plain)
    for name in ("recsys", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(max(level, logging.WARNING) if name == "uvicorn" else level)
    logging.getLogger("uvicorn.access").disabled = True  # it would write paths, in which users are named


class _AsText:
    """A binary file as one of text, which does not close it when it goes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, text: str) -> None:
        self._out.write(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        self._out.flush()


def _without_traceback(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The text of an error may name a user; its place may not."""
    failed = fields.pop("exc_info", None)
    if isinstance(failed, tuple) and failed[1] is not None:
        fields["error"], fields["frames"] = type(failed[1]).__name__, frames_of(failed[1])
    return fields


def _as_bytes(fields: Any, **_: Any) -> bytes:
    return orjson.dumps(fields, default=str)


def _as_text(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    return orjson.dumps(dict(fields), default=str).decode()


def log() -> structlog.typing.FilteringBoundLogger:
    """The server's logger."""
    found: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return found


def frames_of(error: BaseException) -> list[str]:
    """Where an error came from, without its text, which may name a user: ``module.py:12 function``."""
    found, trace = list[str](), error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return found[-_FRAMES:]
