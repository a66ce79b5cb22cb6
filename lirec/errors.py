"""The one error that lirec raises for bad input."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LirecError(ValueError):
    """Something given to lirec cannot be used: a picture, a folder, a weight file, a setting.

    The message is one sentence for the person who gave it: what is wrong and what to do about it. Programs
    that face users (the app, the command lines) show it as it is, without a traceback.
    """


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What is written to `path` inside; where that cannot be done, a `LirecError` says so."""
    if not path.parent.is_dir():
        raise LirecError(f"There is no folder {path.parent}: make it first, or give another path.")
    try:
        yield
    except OSError as error:
        raise LirecError(f"{path} cannot be written ({error.strerror or error}): give another path.") from error
