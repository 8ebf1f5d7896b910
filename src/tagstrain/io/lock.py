"""A file held by one process at a time: `lock`."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or this process ends, however it ends.

    Returns
    -------
        Whether it could be had; False means that another process holds it. Systems without such locks always give it.

    Raises
    ------
    OSError
        If the file system knows no locks.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
