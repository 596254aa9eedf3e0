"""Settings of the C library's memory allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets the C allocator keep freed memory until the process ends.

    glibc returns every large block to the kernel and gets it back as pages that must be cleared. A training step
    repeatedly allocates the same large blocks; clearing pages would take a third of its time. Has no effect except on
    Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
    except (OSError, AttributeError):  # musl, or no C library with that name
        return
