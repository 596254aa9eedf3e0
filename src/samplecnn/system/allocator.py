"""Settings of the C library's memory allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets the C allocator keep what is freed, for the life of this process.

    glibc returns every large block to the kernel and gets it back as pages to be cleared one by one. A training step
    allocates the same large blocks again and again; without this, clearing pages takes a third of its time. Elsewhere
    than on Linux with glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
    except (OSError, AttributeError):  # musl, or no C library under that name
        return
