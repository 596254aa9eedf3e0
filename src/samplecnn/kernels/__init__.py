"""Fused passes of training on a CPU: PyTorch's results in fewer passes over memory. See README.md in this folder.

`conv` needs only PyTorch. The others need numba (the extra `fast`): if `is_faster` or `is_supported` does not hold,
PyTorch's own kernels compute the same in more passes.
"""

from samplecnn.kernels.batch_norm import Following, batch_norm, stored_batch_norm
from samplecnn.kernels.conv import as_image, conv, from_image
from samplecnn.kernels.conv_norm import conv_norm, conv_stored_norm
from samplecnn.kernels.divided_norm import divided_batch_norm
from samplecnn.kernels.excite import excite
from samplecnn.kernels.first_conv import first_conv, stored_first_conv
from samplecnn.kernels.residual import dropout, sum_pool
from samplecnn.kernels.selection import is_supported
from samplecnn.kernels.threads import is_faster

__all__ = [
    "Following",
    "as_image",
    "batch_norm",
    "conv",
    "conv_norm",
    "conv_stored_norm",
    "divided_batch_norm",
    "dropout",
    "excite",
    "first_conv",
    "from_image",
    "is_faster",
    "is_supported",
    "stored_batch_norm",
    "stored_first_conv",
    "sum_pool",
]
