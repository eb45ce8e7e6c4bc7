# SPDX-License-Identifier: BSD-3-Clause
"""Classes in prediction by stain: nuclei of chromogens as a clusterer finds them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from skimage.measure import label
from sklearn.pipeline import Pipeline

from psmlearn._images._instances import relabel
from psmlearn.cluster import SemanticClusterer
from psmlearn.io._batch import ImageBatch
from psmlearn.segmentation._labelers import last_step

__all__ = ["StainedNuclei", "not_found", "put_stained_first", "without_stained"]

# Of a nucleus that a network has not found it may cover less than this part.
_COVERED = 0.1


class StainedNuclei:
    """Nuclei that a chromogen stains, taken from the stain, among those of a network.

    A network tells brown nuclei from blue ones no better than the stain does, and
    finds pale blue ones that no threshold finds: each has its part. What the stain
    alone finds of these is added.

    Parameters
    ----------
    labeler : estimator
        Fitted; its `predict` gives ids and classes by stain.
    n_classes : int
        Classes, of which the last is the counterstain.
    """

    def __init__(self, labeler: Any, n_classes: int) -> None:
        self.labeler = labeler
        self.n_classes = n_classes

    @classmethod
    def of(cls, labeler: Any, segmenter: Any) -> StainedNuclei | None:
        """Return the part for a fitted pair, None where the stain tells no classes."""
        clusterer = last_step(labeler)
        if not isinstance(clusterer, SemanticClusterer):
            return None
        n_classes = len(clusterer.class_names_)
        if n_classes < 2 or not hasattr(segmenter, "classes_"):
            return None
        return cls(labeler, n_classes)

    @property
    def classes(self) -> np.ndarray:
        """The classes, from 1."""
        return np.arange(1, self.n_classes + 1)

    def put_first(
        self, X: Any, images: ImageBatch, masks: Any, *, warns: bool = True
    ) -> Any:
        """Return the masks of a network with what the stain tells put first.

        Parameters
        ----------
        X : images
            What the labeler is to be given.
        images : ImageBatch
            The same, checked.
        masks : list or array of ndarray of shape (height, width, 2)
            Masks without classes come back as they are.
        warns : bool, default=True
            Whether the labeler may warn of images of another staining.
        """
        if any(np.ndim(mask) != 3 for mask in masks):
            return masks  # a segmenter of no classes
        with warnings.catch_warnings():
            if not warns:
                warnings.filterwarnings("ignore", ".* do not look like the stains")
            stained = self.find(X)
        merged = []
        for mask, own in zip(masks, stained, strict=True):
            merged.append(put_stained_first(mask, own, self.n_classes))
        return images.wrap(merged)

    def find(self, X: Any) -> list[np.ndarray]:
        """Return what stains tell of images: ids and classes, (h, w, 2) int32.

        Of the counterstain's class is what is too faint for a chromogen's nucleus, of
        class 0 debris, which is none at all, and of one class more the nuclei of the
        counterstain.
        """
        part = self.labeler
        while isinstance(part, Pipeline):
            X = part[:-1].transform(X) if len(part) > 1 else X
            part = part[-1]
        return part._stained_masks(X)

    def of_network(self, mask: np.ndarray) -> np.ndarray:
        """Tell which pixels of a mask are no matter of stain, (height, width) bool."""
        return (mask[..., 1] == 0) | (mask[..., 1] == self.n_classes)


def put_stained_first(
    mask: np.ndarray, stained: np.ndarray, counterstain: int
) -> np.ndarray:
    """Take the chromogens' nuclei from one mask and all others from another.

    Parameters
    ----------
    mask : ndarray of shape (height, width, 2), int
        Ids and classes of a network. Its nuclei, of whatever class, are of the
        counterstain where no chromogen's lies; what loses half of itself to one is
        that nucleus seen again.
    stained : ndarray of shape (height, width, 2), int
        Ids and classes of what stains tell, see `StainedNuclei.find`. Nuclei of the
        counterstain count where the network has found nothing.
    counterstain : int
        The class of the counterstain, the highest.

    Returns
    -------
    merged : ndarray of shape (height, width, 2), int32

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.segmentation._stain_classes import put_stained_first
    >>> network = np.array([[[1, 1], [1, 1], [0, 0], [2, 1], [2, 1], [2, 1]]])
    >>> stain = np.array([[[7, 1], [7, 1], [5, 3], [8, 1], [6, 3], [0, 0]]])
    >>> put_stained_first(network, stain, 2).tolist()
    [[[1, 1], [1, 1], [4, 2], [2, 1], [3, 2], [3, 2]]]
    """
    ids, classes = stained[..., 0], stained[..., 1]
    pieces = without_stained(mask[..., 0], (ids > 0) & (classes <= counterstain))
    told = (classes > 0) & (classes <= counterstain)
    merged = np.where(told, ids, 0)
    merged = np.where(pieces > 0, pieces + merged.max(), merged)
    beside = not_found(np.where(classes > counterstain, ids, 0), pieces > 0)
    merged = np.where(beside > 0, beside + merged.max(), merged)
    kinds = np.where(told, classes, np.where(merged > 0, counterstain, 0))
    return np.stack([relabel(merged), kinds], axis=-1).astype(np.int32, copy=False)


def not_found(ids: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the objects of which less than a tenth is found, without that part.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int
    found : ndarray of shape (height, width), bool
        What another has found.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.segmentation._stain_classes import not_found
    >>> found = np.array([[True, False, False, False]])
    >>> not_found(np.array([[1, 1, 0, 2]]), found).tolist()
    [[0, 0, 0, 2]]
    """
    whole = np.bincount(ids.ravel())
    covered = np.bincount(ids[found], minlength=len(whole))
    is_new = covered < _COVERED * whole
    is_new[0] = False
    return np.where(is_new[ids] & ~found, ids, 0)


def without_stained(ids: np.ndarray, stained: np.ndarray) -> np.ndarray:
    """Take pixels away from objects; what loses half of itself goes.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int
    stained : ndarray of shape (height, width), bool
        The pixels that are taken away. An object that they cut in two goes on as its
        larger part, if that is more than half of it.

    Returns
    -------
    ids : ndarray of shape (height, width), int32
        Other ids, with gaps.
    """
    whole = np.bincount(ids.ravel())
    pieces = label(np.where(stained, 0, ids), background=0, connectivity=2)
    found = pieces > 0
    owner = np.zeros(int(pieces.max()) + 1, np.intp)
    owner[pieces[found]] = ids[found]
    kept = 2 * np.bincount(pieces.ravel(), minlength=len(owner)) > whole[owner]
    kept[0] = False
    return np.where(kept[pieces], pieces, 0).astype(np.int32, copy=False)
