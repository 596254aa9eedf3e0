"""The fast path of training on a CPU: the same numbers in fewer passes over memory.

`conv` needs nothing but PyTorch. The others need numba (the extra `fast`): where `fits` says no, PyTorch's own kernels
do the work, in more passes.
"""

from samplecnn.models.fast.conv import conv, from_image, image
from samplecnn.models.fast.drop import drop
from samplecnn.models.fast.excite import excite
from samplecnn.models.fast.norm import norm
from samplecnn.models.fast.pool import sum_pool
from samplecnn.models.fast.stem import stem
from samplecnn.models.fast.threads import fits
from samplecnn.models.fast.tiled_block import conv_norm, fits_tiles

__all__ = [
    "conv",
    "conv_norm",
    "drop",
    "excite",
    "fits",
    "fits_tiles",
    "from_image",
    "image",
    "norm",
    "stem",
    "sum_pool",
]
