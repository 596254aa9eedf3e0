"""Settings of memory allocators: that of the C library, and Arrow's."""

import ctypes
import os
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


def arrow_without_pool() -> None:
    """Lets Arrow allocate with the C library; has an effect before the process imports pyarrow only.

    Arrow's own allocator (mimalloc) keeps freed memory for each of Arrow's threads: after reading and writing a Parquet
    file of 20,000 rows in groups, 18 MB more than the C library, at a peak of 3 MB in use.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
