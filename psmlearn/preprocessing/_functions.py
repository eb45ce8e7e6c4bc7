# SPDX-License-Identifier: BSD-3-Clause
"""Functions of one image: its stains, its tissue, its artefacts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn._images import _artefacts, _stains, _tissue
from psmlearn._images._stains import Stain, stain_vector
from psmlearn._parameters import check_number
from psmlearn.io._batch import ImageBatch, check_one_image
from psmlearn.io._collections import as_array

__all__ = [
    "artefact_mask",
    "estimate_stains",
    "separate_stains",
    "stain_vector",
    "tissue_mask",
]


def _checked(image: np.ndarray) -> ImageBatch:
    """Check one image, which any array will do for; return it as a batch of one."""
    return check_one_image(as_array(image, "image", "expected an image"))


def _colours(image: np.ndarray) -> np.ndarray:
    """Check one image and return its first three channels."""
    checked = _checked(image)[0]
    if checked.shape[2] < 3:
        raise ValueError(
            f"image: stains are told by 3 channels (RGB), got {checked.shape[2]}"
        )
    return checked[..., :3]


def _brightfield(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Check one image; return its colours, or its grey, and what it shows."""
    batch = _checked(image)
    checked = batch[0]
    return checked[..., : 3 if checked.shape[2] >= 3 else 1], batch.shown(0)


def separate_stains(
    image: np.ndarray, stains: Sequence[Stain] = ("haematoxylin", "eosin")
) -> np.ndarray:
    """Separate an image into the amounts of two or three stains.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3)
        uint8, uint16, or floats in [0, 1]; channels beyond the third do not count.
    stains : sequence of 2 or 3 str or vectors, default=("haematoxylin", "eosin")
        Names (also "dab"), or optical densities in red, green and blue light; see
        `stain_vector`, and `estimate_stains` for the image's own.

    Returns
    -------
    amounts : ndarray of shape (height, width, n_stains), float32
        In units of optical density, never below 0. Two stains are the least-squares
        fit; three give the density back, but for negative amounts.

    Raises
    ------
    ValueError
        If the stains cannot be told apart, or the image is grey.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by
    color deconvolution", Anal. Quant. Cytol. Histol. 23(4), 291-299, 2001.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.preprocessing import separate_stains
    >>> image = make_nuclei(1, (64, 64), random_state=0).images[0]
    >>> separate_stains(image, ["haematoxylin", "eosin"]).shape
    (64, 64, 2)
    """
    return _stains.stain_amounts(_colours(image), stains)


def estimate_stains(
    image: np.ndarray,
    *,
    density_threshold: float = 0.1,
    angle_percentile: float = 1.0,
) -> np.ndarray:
    """Estimate the two stains of an image by Macenko's method.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3)
        uint8, uint16, or floats in [0, 1]; channels beyond the third do not count.
    density_threshold : float, default=0.1
        Pixels of no more mean optical density are left out as glass.
    angle_percentile : float, default=1.0
        Percentage of pixels that may lie beyond each stain's direction.

    Returns
    -------
    stains : ndarray of shape (2, 3), float64
        Vectors at length 1; the first takes the larger share of red light:
        haematoxylin, beside eosin or DAB. In an image of one stain they are near to
        each other.

    Raises
    ------
    ValueError
        If fewer than 100 pixels are stained, or the image is grey.

    References
    ----------
    M. Macenko et al., "A method for normalizing histology slides for quantitative
    analysis", ISBI 2009.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.preprocessing import estimate_stains
    >>> image = make_nuclei(1, (96, 96), random_state=0).images[0]
    >>> haematoxylin, eosin = estimate_stains(image)
    >>> bool(haematoxylin[0] > eosin[0])
    True
    """
    check_number(density_threshold, "density_threshold", 0, 1e6, inclusive=True)
    check_number(angle_percentile, "angle_percentile", 0, 50, inclusive=True)
    vectors = _stains.estimate_stain_vectors(
        _colours(image),
        density_threshold=density_threshold,
        angle_percentile=angle_percentile,
    )
    if vectors is None:
        raise ValueError(
            "image: too little is stained to estimate stains from: fewer than 100 "
            f"pixels have a mean optical density above {density_threshold:g}"
        )
    return vectors


def tissue_mask(image: np.ndarray, *, pixel_size: float = 0.25) -> np.ndarray:
    """Tell tissue from blank glass in a brightfield image.

    Glass is bright, colourless and without texture. Where flat, colourless ground of
    some size is found, its colour is taken as white, so that dim or tinted light does
    no harm; without any, full light is white. What is darker than white is tissue.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        uint8, uint16, or floats in [0, 1]; RGB or grey, further channels do not count.
    pixel_size : float, default=0.25
        Micrometres per pixel.

    Returns
    -------
    mask : ndarray of shape (height, width), bool
        True on tissue. Holes below 1,000 square micrometres (lumina, fat cells) and
        gaps of a few micrometres between cells count as tissue, specks below 100
        square micrometres do not.

    See Also
    --------
    TissueDetector : The same for many images, without artefacts.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.preprocessing import tissue_mask
    >>> image = np.ones((100, 100, 3))
    >>> image[:, 40:] = [0.8, 0.5, 0.7]
    >>> tissue_mask(image)[50, [10, 90]]
    array([False,  True])
    """
    colours, shown = _brightfield(image)
    tissue = _tissue.tissue_mask(colours, pixel_size=pixel_size)
    return tissue if shown is None else tissue & shown


def artefact_mask(image: np.ndarray, *, pixel_size: float = 0.25) -> np.ndarray:
    """Find pen marks, folds and dirt in a brightfield image.

    Pen marks are green, or large and evenly bluish green, blue, red or black; folds are
    larger than any nucleus and at least twice as dark as the tissue, without being
    brown; dirt is small, black and without a coloured rim. What is doubtful is left
    unmarked, such as thin red ink over eosin, or blue ink of the hue of haematoxylin: a
    dark nucleus that is lost costs more than a fold that stays.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        uint8, uint16, or floats in [0, 1]; RGB or grey, further channels do not count.
    pixel_size : float, default=0.25
        Micrometres per pixel.

    Returns
    -------
    kinds : ndarray of shape (height, width), uint8
        0 nothing, 1 pen, 2 fold, 3 dirt. Grey images have folds and black marks only.

    See Also
    --------
    TissueDetector : Tissue without artefacts, for many images.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.preprocessing import artefact_mask
    >>> image = np.full((200, 200, 3), 0.9)
    >>> image[:, 80:120] = [0.1, 0.5, 0.25]
    >>> artefact_mask(image)[100, [20, 100]].tolist()
    [0, 1]
    """
    return _artefacts.artefact_mask(_brightfield(image)[0], pixel_size=pixel_size)
