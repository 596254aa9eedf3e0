"""The fast path of training on a CPU: the same numbers in fewer passes over memory.

`conv` needs nothing but PyTorch. The others need numba (the extra `fast`): where `fits` says no, PyTorch's own kernels
do the work, in more passes.
"""

from samplecnn.kernels.amx_block import conv_norm, fits_tiles
from samplecnn.kernels.conv import conv, from_image, image
from samplecnn.kernels.dropout import drop
from samplecnn.kernels.excite import excite
from samplecnn.kernels.norm import norm
from samplecnn.kernels.stem import stem
from samplecnn.kernels.sum_pool import sum_pool
from samplecnn.kernels.threads import fits

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
