"""How the C library treats memory that was given back to it."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of settings of `mallopt`, from malloc.h of the GNU C library."""
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process keep what is freed, for the next step asks for the same; whether it could be said.

    The GNU C library returns large blocks to the system at once. A step of training frees and asks for some
    hundred megabytes of features, and each of their pages would be cleared and mapped anew. What is kept has
    holes where sizes vary, as in validation, so the peak may rise. Other systems are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
