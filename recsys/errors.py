"""The errors that recsys raises; each message says what, where, and what to do."""


class RecsysError(Exception):
    """Base of every error that a caller can mend; the command line prints it as one line.

    Examples
    --------
    >>> try:
    ...     recsys.read_interactions("nowhere.csv")
    ... except recsys.RecsysError as error:
    ...     print(type(error).__name__)
    DataError
    """


class DataError(RecsysError, ValueError):
    """An input file, column, row or value that cannot be used."""


class UnknownIdError(DataError):
    """A raw id that an IdMap does not hold."""


class LeakageError(RecsysError, ValueError):
    """A split or an evaluation in which the future would leak into the past."""


class ConfigError(RecsysError, ValueError):
    """An option whose value, or combination with another, is not allowed."""


class EncoderError(RecsysError):
    """A text encoder that cannot be found or loaded."""


class BundleError(RecsysError):
    """A saved bundle that is damaged, incomplete, foreign or of a newer format."""


class CheckpointError(RecsysError):
    """A checkpoint that is missing, damaged, or of another run."""


class DamagedError(RecsysError):
    """A file written to be read again that is not what was written."""


class DependencyError(RecsysError, ImportError):
    """A package that is needed and absent, or two that exclude each other."""


class ForkError(RecsysError, RuntimeError):
    """A process that was forked from one whose threads it lacks."""


class NotFittedError(RecsysError, RuntimeError):
    """A model that is asked for an answer before it was fitted."""


class UnsupportedError(RecsysError):
    """A request that this model cannot answer by its nature."""


class StoreUnavailableError(RecsysError):
    """A store that cannot be read or written now: its database is down, or its disk is full."""


class OverloadedError(RecsysError):
    """More work than can be queued.

    Attributes
    ----------
    retry_after : float
        Seconds to wait before the next attempt.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(RecsysError):
    """A request that was dropped because its deadline had passed before it was computed."""


class AccessError(RecsysError):
    """A request without a good key, or with one of another role."""


class ServerError(RecsysError):
    """A server that does not answer, or whose answer is not what was asked for."""
