"""The mel scale, on which equal steps sound about equally far apart: O'Shaughnessy's formula."""

import numpy as np
import numpy.typing as npt


def mel(hertz: npt.ArrayLike) -> np.ndarray:
    """Hz in mel: 1000 Hz are 1000 mel. What lies below 0, as an axis with a margin may ask for, counts as 0."""
    return 2595 * np.log10(1 + np.maximum(hertz, 0) / 700)


def hertz(mels: npt.ArrayLike) -> np.ndarray:
    """The way back from `mel`."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)
