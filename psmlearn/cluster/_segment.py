# SPDX-License-Identifier: BSD-3-Clause
"""Clustering of images: features, clusters, names, objects; no input checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._contours import contour_objects, find_diameter
from psmlearn._images._frame import is_black
from psmlearn._images._instances import (
    clean_mask,
    relabel,
    remove_small,
    split_touching,
)
from psmlearn._images._kmeans import assign, draw_pixels, fit_kmeans, silhouette
from psmlearn._images._sizes import nuclear_zoom
from psmlearn.cluster._classes import (
    Stain,
    StainedImage,
    drop_faint,
    single_stain,
    stain_image,
)
from psmlearn.cluster._clumps import (
    drop_slivers,
    drop_small_among,
    faint_among,
    split_clumps,
)
from psmlearn.cluster._features import (
    FeatureScale,
    PixelFeatures,
    fit_scale,
    pixel_features,
)
from psmlearn.cluster._naming import (
    cluster_statistics,
    name_foreground,
    pool_statistics,
    rare_foreground,
    stands_out,
)
from psmlearn.io._batch import ImageBatch

# Pale nuclei lie close: their surroundings are narrower than those of a chromogen's.
_CHROMOGEN_REACH = 0.875
_COUNTERSTAIN_REACH = 0.656
# A chromogen's nucleus exceeds its surroundings by this part of `min_stain`, as a mean;
# the smaller, the more.
_MEAN_STAIN = 0.4
# Contours follow less smoothed stain, and a nucleus among others may be paler.
_CONTOUR_SMOOTHING = 1 / 3
_CONTOUR_CONTRAST = 0.5
# With classes, no nucleus covers so many squares of the typical diameter.
_LARGEST = 20
# Nor so small a part of the usual area of the nuclei of its class around it.
_LEAST_CHROMOGEN, _LEAST_COUNTERSTAIN = 0.3, 0.25
# Where a chromogen's nuclei are black, what has less than this part of their amount is
# none of them.
_FAINT = 0.22


@dataclass(frozen=True)
class SharedClusters:
    """Clusters that all images share.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    foreground : ndarray of shape (n_clusters,), bool
        Clusters named nuclei.
    n_iter : int
        Iterations of the k-means that found them.
    scale : FeatureScale or None
        Of the features, for "concat".
    """

    centers: np.ndarray
    foreground: np.ndarray
    n_iter: int
    scale: FeatureScale | None


@dataclass(frozen=True)
class ClusteredImage:
    """What clustering makes of one image.

    Attributes
    ----------
    mask : ndarray of shape (height, width[, 2]), int32
        Ids of the nuclei, -1 where it is not sure; with classes also these.
    centers : ndarray of shape (n_clusters, n_features)
    foreground : ndarray of shape (n_clusters,), bool
    inertia : float
    n_iter : int
    confidence : ndarray of shape (n_objects,)
        Of the objects, in the order of ids; none without contours.
    stained : ndarray of shape (height, width, 2), int32, or None
        Ids and classes of what stains tell: the nuclei of chromogens; of the
        counterstain what is too faint for one; debris of class 0, which `mask` has not;
        and of one class more than there are the other nuclei of the counterstain.
    """

    mask: np.ndarray
    centers: np.ndarray
    foreground: np.ndarray
    inertia: float
    n_iter: int
    confidence: np.ndarray
    stained: np.ndarray | None = None


@dataclass(frozen=True)
class ImageClusterer:
    """Clusters images one by one, by settings in which nothing is left open.

    Attributes
    ----------
    seed : int
        Of each image: what comes out does not depend on other images.
    shared : SharedClusters or None
        The clusters of all images; None where each image has its own.
    stains : tuple of str or vectors
        Of the classes; empty for masks without classes.
    estimate_stains : bool
        Whether several stains are looked up in each image.
    nucleus_diameter : float
        The typical one, by which the other lengths and areas go.
    find_diameter : bool
        Whether it is looked up in each image, where there are several classes or
        contours.
    contours : bool
        Whether objects are drawn by contours, not by the clusters' outlines.
    mark_unsure : bool
        Whether nuclear pixels in no object are -1.
    n_clusters, fusion, map_weight, image_weight, foreground, min_stain, \
min_contrast, smoothing, background_radius, background_weight, min_area, \
max_hole_area, opening_radius, instances, n_samples, n_init, max_iter
        See `SemanticClusterer`; none is "auto" but `foreground`. Lengths in
        micrometres.
    """

    seed: int
    shared: SharedClusters | None
    stains: tuple[Stain, ...]
    estimate_stains: bool
    nucleus_diameter: float
    find_diameter: bool
    contours: bool
    mark_unsure: bool
    n_clusters: int
    fusion: str
    map_weight: float
    image_weight: float
    foreground: str | int | Callable
    min_stain: float
    min_contrast: float
    smoothing: float
    background_radius: float
    background_weight: float
    min_area: float
    max_hole_area: float
    opening_radius: float
    instances: bool
    n_samples: int
    n_init: int
    max_iter: int

    # -- what it does ---------------------------------------------------------

    def share(
        self,
        images: ImageBatch,
        pixel_sizes: np.ndarray,
        progress: Callable[[int], Iterable[int]],
    ) -> SharedClusters:
        """Find the clusters that all images share, from a sample of their pixels."""
        rng = np.random.default_rng(self.seed)
        shows = [i for i in range(len(images)) if not images.shows_nothing(i)]

        def features_of(i: int) -> PixelFeatures:
            # Something must be clustered, even if no image shows anything.
            box, shown = _box(images.shown(i) if shows else None)
            return self._features(images[i][box], pixel_sizes[i], shown)

        chosen = shows or list(range(len(images)))
        n_each = max(1, -(-self.n_samples // len(chosen)))
        drawn = []
        for place in progress(len(chosen)):
            planes = features_of(chosen[place]).seen_planes
            drawn.append(planes[:, draw_pixels(planes.shape[1], n_each, rng)])
        sample = np.concatenate(drawn, axis=1)
        scale = None
        if self.fusion == "concat":
            scale = fit_scale(sample, self.map_weight)
            sample = scale.apply(sample)
        centers, n_iter = self._k_means(sample, rng)
        statistics = []
        for place in progress(len(chosen)):
            features = features_of(chosen[place])
            features.put_on_scale(scale, self.map_weight)
            labels = assign(features.planes, centers)
            statistics.append(cluster_statistics(features, labels, centers))
        foreground = self._named_foreground(pool_statistics(statistics))
        return SharedClusters(centers, foreground, n_iter, scale)

    def cluster(
        self, image: np.ndarray, pixel_size: float, shown: np.ndarray | None = None
    ) -> ClusteredImage:
        """Cluster the pixels of an image and make its mask.

        Parameters
        ----------
        image : ndarray of shape (height, width, 1 to 4), float32
        pixel_size : float
            Micrometres per pixel.
        shown : ndarray of shape (height, width), bool, default=None
            Where the image shows something; the rest counts for nothing.
        """
        if shown is not None and not shown.any():
            return self._nothing(image)
        box, seen = _box(shown)
        part = image[box]
        zoom = self._zoom(part, pixel_size, seen)
        found = self._cluster_part(part, pixel_size / zoom, zoom, seen)
        mask, stained = found.mask, found.stained
        if self._has_classes and is_black(part[..., :3]):
            mask = np.zeros_like(mask)
            stained = None if stained is None else mask
        if mask.shape[:2] != image.shape[:2]:
            mask = _within(mask, box, image.shape)
            stained = None if stained is None else _within(stained, box, image.shape)
        return replace(found, mask=mask, stained=stained)

    def score(
        self, image: np.ndarray, pixel_size: float, shown: np.ndarray | None = None
    ) -> float:
        """Give the silhouette of the clusters of an image, by a sample of pixels."""
        if shown is not None and not shown.any():
            return -1.0
        box, seen = _box(shown)
        part = image[box]
        zoom = self._zoom(part, pixel_size, seen)
        planes = self._scaled(part, pixel_size / zoom, zoom, seen).seen_planes
        rng = np.random.default_rng(self.seed)
        centers = self._centers(planes, rng)[0]
        places = draw_pixels(planes.shape[1], self.n_samples, rng)
        return silhouette(planes[:, places], centers)

    def _nothing(self, image: np.ndarray) -> ClusteredImage:
        """Return the answer for an image that shows nothing at all."""
        shape = (*image.shape[:2], 2) if self.stains else image.shape[:2]
        n_features = 3 if self.fusion == "jet" else 1 + (image.shape[2] in (2, 4))
        centers = np.full((1, n_features), np.nan, np.float32)
        if self.shared is not None:
            centers = self.shared.centers
        mask = np.zeros(shape, np.int32)
        return ClusteredImage(mask, centers, np.zeros(1, bool), 0, 0, _nothing(), mask)

    # -- one image, as a whole ------------------------------------------------

    @property
    def _has_classes(self) -> bool:
        """Whether there are several classes, told apart by their stains."""
        return len(self.stains) > 1

    def _zoom(
        self, image: np.ndarray, pixel_size: float, shown: np.ndarray | None
    ) -> float:
        """Tell how much larger than usual the nuclei of an image are, at first look."""
        is_known = not self.find_diameter or self.shared is not None
        # Without instances, what is found are clumps.
        if is_known or not (self._has_classes and self.instances):
            return 1.0
        mask = self._cluster_part(image, pixel_size, 1.0, shown, refine=False).mask
        return nuclear_zoom(mask[..., 0], pixel_size)

    def _cluster_part(
        self,
        image: np.ndarray,
        pixel_size: float,
        zoom: float,
        shown: np.ndarray | None,
        *,
        refine: bool = True,
    ) -> ClusteredImage:
        """As `cluster`, of what an image shows and at one size of nuclei.

        `refine` says whether nuclei of several classes are looked at once more.
        """
        features = self._scaled(image, pixel_size, zoom, shown)
        rng = np.random.default_rng(self.seed)
        centers, n_iter = self._centers(features.seen_planes, rng)
        labels, inertia = assign(features.planes, centers, return_inertia=True)
        if shown is not None:
            inertia = assign(features.seen_planes, centers, return_inertia=True)[1]
        if self.shared is not None:
            chosen = self.shared.foreground
        else:
            statistics = cluster_statistics(features, labels, centers)
            chosen = self._named_foreground(statistics)
        foreground = chosen[labels].reshape(image.shape[:2])
        if shown is not None:
            foreground &= shown
        confidence, stained = _nothing(), None
        if self.contours:
            mask, confidence = self._closed(features, foreground, pixel_size)
        else:
            mask = self._objects(features, foreground, pixel_size)
        if self.stains and self.contours:  # of one stain, and dropped by size already
            mask = np.stack([mask, (mask > 0).astype(np.int32)], axis=-1)
        elif self.stains:
            stained = self._stained(features.stained, mask.shape, pixel_size, refine)
            mask = self._with_classes(mask, stained, pixel_size, refine)
            is_pale = (mask[..., 1] == len(self.stains)) & (stained[..., 0] == 0)
            stained[is_pale, 0] = mask[is_pale, 0] + stained[..., 0].max()
            stained[is_pale, 1] = len(self.stains) + 1
        if shown is not None:  # cleaning and splitting fill what lies within
            mask[~shown] = 0
            if stained is not None:
                stained[~shown] = 0
        if self.mark_unsure:
            ids = mask if mask.ndim == 2 else mask[..., 0]
            ids[foreground & (ids == 0)] = -1
        return ClusteredImage(
            mask, centers, chosen, inertia, n_iter, confidence, stained
        )

    # -- features -------------------------------------------------------------

    def _scaled(
        self,
        image: np.ndarray,
        pixel_size: float,
        zoom: float,
        shown: np.ndarray | None,
    ) -> PixelFeatures:
        """Return the features of an image, on one scale."""
        features = self._features(image, pixel_size, shown, zoom)
        if self.fusion == "jet":
            scale = None
        elif self.shared is not None:
            scale = self.shared.scale
        else:
            scale = fit_scale(features.seen_planes, self.map_weight)
        features.put_on_scale(scale, self.map_weight)
        return features

    def _features(
        self,
        image: np.ndarray,
        pixel_size: float,
        shown: np.ndarray | None,
        zoom: float = 1.0,
    ) -> PixelFeatures:
        reach = _COUNTERSTAIN_REACH if self._has_classes else 1.0
        return pixel_features(
            image,
            fusion=self.fusion,
            smoothing=self.smoothing / pixel_size,
            background_sigma=reach * self.background_radius / pixel_size,
            background_weight=self.background_weight,
            image_weight=self.image_weight,
            shown=shown,
            **self._stain_options(pixel_size, zoom, shown),
        )

    def _stain_options(
        self, pixel_size: float, zoom: float, shown: np.ndarray | None
    ) -> dict[str, Callable]:
        """Say how the stain of nuclei is found: one stain, or one for each class.

        Artefacts are as large as they are, however large the nuclei: there `zoom`,
        by which `pixel_size` follows these, is taken back.
        """
        if not self.stains:
            return {}
        if not self._has_classes:
            return {"amount": partial(single_stain, stain=self.stains[0])}
        unmix = partial(
            stain_image,
            stains=list(self.stains),
            estimate=self.estimate_stains,
            min_stain=self.min_stain,
            smoothing=self.smoothing / pixel_size,
            background_sigma=self._chromogen_sigma(pixel_size),
            clean=partial(self._cleaned, pixel_size=pixel_size, min_area=self.min_area),
            pixel_size=pixel_size * zoom,
            shown=shown,
        )
        return {"unmix": unmix}

    def _chromogen_sigma(self, pixel_size: float) -> float:
        """Deviation of the blur that gives a stained nucleus' surroundings."""
        return _CHROMOGEN_REACH * self.background_radius / pixel_size

    # -- clusters -------------------------------------------------------------

    def _centers(
        self, planes: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        if self.shared is not None:
            return self.shared.centers, self.shared.n_iter
        return self._k_means(planes, rng)

    def _k_means(
        self, planes: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        return fit_kmeans(
            planes,
            self.n_clusters,
            self.n_samples,
            rng,
            n_init=self.n_init,
            max_iter=self.max_iter,
        )

    def _named_foreground(self, statistics: dict[str, np.ndarray]) -> np.ndarray:
        """Tell which clusters are nuclei, as `foreground` says."""
        foreground = self.foreground
        if foreground == "auto" and self._has_classes:
            foreground = max(1, len(statistics["n_pixels"]) // 2)
        return name_foreground(foreground, statistics)

    # -- objects --------------------------------------------------------------

    def _closed(
        self, features: PixelFeatures, foreground: np.ndarray, pixel_size: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the objects that closed contours draw, and their confidence."""
        least = self.min_contrast
        how: dict[str, Any] = {
            "smoothing": _CONTOUR_SMOOTHING * self.smoothing / pixel_size,
            "support": foreground,
            "min_contrast": _CONTOUR_CONTRAST * least,
        }
        raw = features.raw
        if not stands_out(features, foreground, least):
            # K-means halves an even background. A few nuclei may still be there.
            if self.foreground != "auto":
                raw = None
            how["support"] = rare_foreground(features, least)
            how["min_contrast"] = least
        if raw is None or not how["support"].any():
            return np.zeros(foreground.shape, np.int32), _nothing()
        usual = diameter = self.nucleus_diameter / pixel_size
        if self.find_diameter:
            diameter = find_diameter(raw, diameter=usual, **how)
        found = contour_objects(raw, diameter=diameter, **how)
        ids = found.labels
        if features.shown is not None:
            ids = np.where(features.shown, ids, 0)
        min_area = self.min_area / pixel_size**2 * (diameter / usual) ** 2
        ids = remove_small(ids, round(min_area))
        kept = np.unique(ids)
        kept = kept[kept > 0]
        confidence = found.confidence[kept - 1] if len(kept) else _nothing()
        return relabel(ids), confidence

    def _objects(
        self, features: PixelFeatures, foreground: np.ndarray, pixel_size: float
    ) -> np.ndarray:
        """Clean the foreground and split it into objects, if anything stands out."""
        least = self.min_contrast
        stained = features.stained
        if stained is not None:
            foreground = foreground & (stained.chromogen == 0)
        if stands_out(features, foreground, least):
            ids = self._instances(foreground, self.min_area, pixel_size)
            if stained is None:
                return ids
            ids, is_tissue = self._drop_large(ids, pixel_size)
            if not is_tissue:
                return self._drop_faint(
                    ids, features.stain, ids == 0, pixel_size, least
                )
        # K-means halves an even background. A few nuclei may still be there.
        if self.foreground != "auto":
            return np.zeros(foreground.shape, np.int32)
        foreground = rare_foreground(features, least)
        min_area = max(self.min_area, 0.25 * self.nucleus_diameter**2)
        ids = self._instances(foreground, min_area, pixel_size)
        if stained is None:
            return ids
        ids = self._drop_large(ids, pixel_size)[0]
        return self._drop_faint(ids, features.stain, ids == 0, pixel_size, least)

    def _stained(
        self,
        stained: StainedImage | None,
        shape: tuple[int, ...],
        pixel_size: float,
        refine: bool,
    ) -> np.ndarray:
        """Return what chromogens tell: ids and classes, (h, w, 2); debris has none."""
        ids, classes = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        if stained is None:
            return np.stack([ids, classes], axis=-1)
        diameter = self.nucleus_diameter / pixel_size
        for number, stain in enumerate(stained.chromogen_stains, start=1):
            mask = stained.chromogen == number
            own = self._instances(mask, self.min_area, pixel_size, stain)
            own = self._drop_large(own, pixel_size)[0]
            least = _MEAN_STAIN * self.min_stain
            own = self._drop_faint(own, stain, stained.ground, pixel_size, least)
            told = np.where(own > 0, number, 0)
            if refine and self.instances:
                full = stained.full_stains[number - 1]
                clear = stained.unsaturated[number - 1]
                own = split_clumps(own, full, clear, diameter=diameter)
                kept = drop_small_among(
                    own, _LEAST_CHROMOGEN, diameter=diameter, stain=full
                )
                kept = remove_small(kept, round(self.min_area / pixel_size**2))
                told[kept == 0] = 0
                faint = faint_among(kept, full, _FAINT, diameter=diameter)
                told[faint] = len(self.stains)
            inside = own > 0
            ids = np.where(inside, own + ids.max(), ids)
            classes = np.where(inside, told, classes)
        return np.stack([ids, classes], axis=-1).astype(np.int32, copy=False)

    def _with_classes(
        self, ids: np.ndarray, stained: np.ndarray, pixel_size: float, refine: bool
    ) -> np.ndarray:
        """Add the nuclei that chromogens tell; return ids and classes, (h, w, 2)."""
        classes = np.where(ids > 0, len(self.stains), 0).astype(np.int32)
        inside = stained[..., 1] > 0
        ids = np.where(inside, stained[..., 0] + ids.max(), ids)
        classes = np.where(inside, stained[..., 1], classes)
        if refine and self.instances:
            diameter = self.nucleus_diameter / pixel_size
            ids = self._among_stained(ids, classes, diameter)
        # Counted nuclei: what a split cuts off is none.
        ids = remove_small(ids, round(self.min_area / pixel_size**2))
        classes[ids == 0] = 0
        return np.stack([relabel(ids), classes], axis=-1)

    def _among_stained(
        self, ids: np.ndarray, classes: np.ndarray, diameter: float
    ) -> np.ndarray:
        """Drop what is no nucleus of the counterstain, beside those of chromogens."""
        pale = classes == len(self.stains)
        own = np.where(pale, ids, 0)
        own = drop_slivers(own, (ids > 0) & ~pale)
        own = drop_small_among(
            own, _LEAST_COUNTERSTAIN, diameter=diameter, among=np.where(pale, own, ids)
        )
        return np.where(pale, own, ids)

    def _instances(
        self,
        mask: np.ndarray,
        min_area: float,
        pixel_size: float,
        intensity: np.ndarray | None = None,
    ) -> np.ndarray:
        """Clean a mask and give each object its id."""
        mask = self._cleaned(mask, pixel_size, min_area)
        if not self.instances:
            return ndi.label(mask)[0].astype(np.int32, copy=False)
        diameter = self.nucleus_diameter / pixel_size
        return split_touching(mask, diameter=diameter, intensity=intensity)

    def _cleaned(
        self, mask: np.ndarray, pixel_size: float, min_area: float
    ) -> np.ndarray:
        return clean_mask(
            mask,
            min_area=round(min_area / pixel_size**2),
            max_hole_area=round(self.max_hole_area / pixel_size**2),
            opening_radius=self.opening_radius / pixel_size,
        )

    def _drop_large(
        self, ids: np.ndarray, pixel_size: float
    ) -> tuple[np.ndarray, bool]:
        """Drop what is far too large for nuclei; tell whether that was the most."""
        areas = np.bincount(ids.ravel())
        areas[0] = 0
        large = areas > _LARGEST * (self.nucleus_diameter / pixel_size) ** 2
        is_tissue = 2 * areas[large].sum() > areas.sum()
        return np.where(large[ids], 0, ids), bool(is_tissue)

    def _drop_faint(
        self,
        ids: np.ndarray,
        stain: np.ndarray,
        ground: np.ndarray,
        pixel_size: float,
        least: float,
    ) -> np.ndarray:
        return drop_faint(
            ids,
            stain,
            ground,
            least=least,
            sigma=self._chromogen_sigma(pixel_size),
            diameter=self.nucleus_diameter / pixel_size,
        )


def _nothing() -> np.ndarray:
    """Return an array without elements that pickling leaves as it is.

    NumPy gives a new one strides of 0 and an unpickled one those of its elements, by
    which joblib tells them apart.
    """
    return np.zeros(1)[:0]


def _within(
    mask: np.ndarray, box: tuple[slice, slice], shape: tuple[int, ...]
) -> np.ndarray:
    """Return a mask of a box as one of the whole image, 0 beside it."""
    whole = np.zeros((*shape[:2], *mask.shape[2:]), mask.dtype)
    whole[box] = mask
    return whole


def _box(
    shown: np.ndarray | None,
) -> tuple[tuple[slice, slice], np.ndarray | None]:
    """Return the rows and columns in which anything is shown, and what is, in them."""
    if shown is None or not shown.any():
        return np.s_[:, :], shown
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inner = shown[box]
    return box, None if inner.all() else inner
