# SPDX-License-Identifier: BSD-3-Clause
"""Clustering of images: features, clusters, names, objects; no input checks."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._frame import inner_box, is_black
from psmlearn._images._instances import (
    clean_mask,
    relabel,
    remove_small,
    split_touching,
)
from psmlearn._images._kmeans import assign, draw_pixels, fit_kmeans, silhouette
from psmlearn._images._sizes import NUCLEUS_DIAMETER, nuclear_zoom
from psmlearn.cluster._classes import (
    drop_faint,
    resolve_classes,
    single_stain,
    stain_image,
    warn_of_staining,
)
from psmlearn.cluster._features import CHANNELS, fit_scale, pixel_features
from psmlearn.cluster._naming import (
    cluster_statistics,
    name_foreground,
    pool_statistics,
    rare_foreground,
    stands_out,
)
from psmlearn.io._batch import ImageBatch, resolve_pixel_size

# Square micrometres: less is no nucleus, and less of a stained one is debris.
_MIN_AREA = 4.0
_MIN_STAINED_AREA = 5.0
# Optical density by which nuclei exceed the rest: haematoxylin of H&E, and the pale
# counterstain of immunohistochemistry.
_CONTRAST = 0.12
_COUNTERSTAIN_CONTRAST = 0.04
# Pale nuclei lie close: their surroundings are narrower than those of a chromogen's.
_CHROMOGEN_REACH = 0.875
_COUNTERSTAIN_REACH = 0.656
# A chromogen's nucleus exceeds its surroundings by this part of `min_stain`, as a mean;
# the smaller, the more.
_MEAN_STAIN = 0.4
# With classes, no nucleus covers so many squares of the typical diameter.
_LARGEST = 20


class ImageClustering:
    """The part of `SemanticClusterer` that works on images."""

    def _check_channels(self) -> None:
        n_channels = self.n_features_in_
        if n_channels not in CHANNELS:
            told = ", ".join(f"{n} ({what})" for n, what in CHANNELS.items())
            raise ValueError(
                f"SemanticClusterer: images have {n_channels} channels; expected "
                f"{told}, as SelfActivationMapper makes them."
            )
        if self.classes is not None and n_channels < 3:
            raise ValueError(
                f"SemanticClusterer: classes are told by colour; the images have "
                f"{n_channels} channel(s), expected 3 (RGB) or 4 (RGB and a map)."
            )
        if self.fusion == "jet" and n_channels not in (2, 4):
            raise ValueError(
                f"SemanticClusterer: fusion='jet' needs a map as last channel; the "
                f"images have {n_channels} channel(s). Put a SelfActivationMapper "
                "before it, or use fusion='concat'."
            )
        if isinstance(self.foreground, str) and self.foreground == "paper":
            if self.fusion != "jet":
                raise ValueError(
                    "SemanticClusterer: foreground='paper' is defined on heat "
                    "colours: use it with fusion='jet', or foreground='auto'."
                )

    def _name_classes(self) -> None:
        """Learn the names of the classes."""
        names = [] if self.classes is None else resolve_classes(self.classes)
        self.class_names_ = list(names)

    def _warn_of_staining(self, images: ImageBatch, stacklevel: int = 4) -> None:
        warn_of_staining(images, self.classes, type(self).__name__, stacklevel)

    def _progress(self, n_images: int):
        """Go through the images, behind a bar where `verbose` asks for it."""
        if not self.verbose:
            return range(n_images)
        from tqdm import tqdm

        return tqdm(range(n_images), desc=type(self).__name__)

    def _features(self, image: np.ndarray, pixel_size: float, zoom: float = 1.0):
        return pixel_features(
            image,
            fusion=self.fusion,
            smoothing=self.smoothing / pixel_size,
            background_sigma=self._reach * self.background_radius / pixel_size,
            background_weight=self.background_weight,
            image_weight=self.image_weight,
            **self._stain_options(pixel_size, zoom),
        )

    @property
    def _has_classes(self) -> bool:
        return len(self.class_names_) > 1

    @property
    def _reach(self) -> float:
        """Part of `background_radius` that is a pixel's surroundings."""
        return _COUNTERSTAIN_REACH if self._has_classes else 1.0

    @property
    def _diameter(self) -> float:
        """Diameter of a nucleus in micrometres, as the other lengths reckon it."""
        is_known = self.nucleus_diameter != "auto"
        return self.nucleus_diameter if is_known else NUCLEUS_DIAMETER

    def _stain_options(self, pixel_size: float, zoom: float) -> dict:
        """Say how the stain of nuclei is found: one stain, or one for each class.

        Artefacts are as large as they are, however large the nuclei: there `zoom`,
        by which `pixel_size` follows these, is taken back.
        """
        if self.classes is None:
            return {}
        stains = list(resolve_classes(self.classes).values())
        if len(stains) == 1:
            return {"amount": partial(single_stain, stain=stains[0])}
        cleaning = self._cleaning(pixel_size, self._least_area)
        options = {
            "stains": stains,
            "estimate": self.stain_vectors == "image",
            "min_stain": self.min_stain,
            "smoothing": self.smoothing / pixel_size,
            "background_sigma": _CHROMOGEN_REACH * self.background_radius / pixel_size,
            "clean": partial(clean_mask, **cleaning),
            "pixel_size": pixel_size * zoom,
        }
        return {"unmix": partial(stain_image, **options)}

    def _cleaning(self, pixel_size: float, min_area: float) -> dict:
        """Return the options of `clean_mask` in pixels."""
        return {
            "min_area": round(min_area / pixel_size**2),
            "max_hole_area": round(self.max_hole_area / pixel_size**2),
            "opening_radius": self.opening_radius / pixel_size,
        }

    @property
    def _least_area(self) -> float:
        if self.min_area != "auto":
            return self.min_area
        return _MIN_STAINED_AREA if self._has_classes else _MIN_AREA

    def _least_contrast(self) -> float:
        """Return `min_contrast`; counterstains are paler than the stain of H&E."""
        if self.min_contrast != "auto":
            return self.min_contrast
        return _COUNTERSTAIN_CONTRAST if self._has_classes else _CONTRAST

    def _scaled(self, image: np.ndarray, pixel_size: float, zoom: float = 1.0):
        """Return the features of an image, on one scale."""
        features = self._features(image, pixel_size, zoom)
        if self.fusion == "jet":
            scale = None
        elif self._scope == "all":
            scale = self._feature_scale
        else:
            scale = fit_scale(features.planes, self.map_weight)
        features.put_on_scale(scale, self.map_weight)
        return features

    def _n_clusters(self) -> int:
        if self.n_clusters != "auto":
            return self.n_clusters
        return 4 if self._has_classes else 2

    def _named_foreground(self, statistics) -> np.ndarray:
        """Tell which clusters are nuclei, as `foreground` says."""
        foreground = self.foreground
        if foreground == "auto" and self._has_classes:
            foreground = max(1, len(statistics["n_pixels"]) // 2)
        return name_foreground(foreground, statistics)

    def _k_means(self, planes: np.ndarray, rng: np.random.Generator):
        return fit_kmeans(
            planes,
            self._n_clusters(),
            self.n_samples,
            rng,
            n_init=self.n_init,
            max_iter=self.max_iter,
        )

    def _centers(self, planes: np.ndarray, rng: np.random.Generator):
        if self._scope == "all":
            return self.cluster_centers_, self.n_iter_
        return self._k_means(planes, rng)

    def _fit_all(self, images: ImageBatch, pixel_sizes: np.ndarray) -> None:
        """Find the clusters that all images share, from a sample of their pixels."""
        rng = np.random.default_rng(self._seed)
        n_each = max(1, -(-self.n_samples // len(images)))
        drawn = []
        for i in self._progress(len(images)):
            image = images[i]
            planes = self._features(image[self._box(image)], pixel_sizes[i]).planes
            drawn.append(planes[:, draw_pixels(planes.shape[1], n_each, rng)])
        sample = np.concatenate(drawn, axis=1)
        if self.fusion == "concat":
            self._feature_scale = fit_scale(sample, self.map_weight)
            sample = self._feature_scale.apply(sample)
        self.cluster_centers_, self.n_iter_ = self._k_means(sample, rng)
        statistics = []
        for i in self._progress(len(images)):
            image = images[i]
            features = self._scaled(image[self._box(image)], pixel_sizes[i])
            labels = assign(features.planes, self.cluster_centers_)
            statistics.append(
                cluster_statistics(features, labels, self.cluster_centers_)
            )
        self.foreground_ = self._named_foreground(pool_statistics(statistics))

    def _cluster_image(self, image: np.ndarray, pixel_size: float):
        """Return mask, centres, foreground, inertia and iterations of one image."""
        box = self._box(image)
        part = image[box]
        zoom = self._zoom(part, pixel_size)
        inner, *rest = self._cluster_part(part, pixel_size / zoom, zoom)
        if self._has_classes and is_black(part[..., :3]):
            inner = np.zeros_like(inner)
        if inner.shape[:2] == image.shape[:2]:
            return inner, *rest
        mask = np.zeros((*image.shape[:2], *inner.shape[2:]), inner.dtype)
        mask[box] = inner
        return mask, *rest

    def _box(self, image: np.ndarray) -> tuple[slice, slice]:
        """Return where an image lies within its black border."""
        if not self._has_classes:  # black may be fluorescence's ground
            return np.s_[:, :]
        return inner_box(image[..., :3])

    def _zoom(self, image: np.ndarray, pixel_size: float) -> float:
        """Tell how much larger than usual the nuclei of an image are, at first look."""
        is_known = self.nucleus_diameter != "auto" or self._scope == "all"
        # Without instances, what is found are clumps.
        if is_known or not (self._has_classes and self.instances):
            return 1.0
        mask = self._cluster_part(image, pixel_size)[0]
        return nuclear_zoom(mask[..., 0], pixel_size)

    def _cluster_part(self, image: np.ndarray, pixel_size: float, zoom: float = 1.0):
        """As `_cluster_image`, within the black border and at one size of nuclei."""
        features = self._scaled(image, pixel_size, zoom)
        planes = features.planes
        centers, n_iter = self._centers(planes, np.random.default_rng(self._seed))
        labels, inertia = assign(planes, centers, return_inertia=True)
        if self._scope == "all":
            chosen = self.foreground_
        else:
            statistics = cluster_statistics(features, labels, centers)
            chosen = self._named_foreground(statistics)
        foreground = chosen[labels].reshape(image.shape[:2])
        mask = self._objects(features, foreground, pixel_size)
        if self.class_names_:
            mask = self._with_classes(mask, features, pixel_size)
        return mask, centers, chosen, inertia, n_iter

    def _silhouette(self, image: np.ndarray, pixel_size: float) -> float:
        """Score the clusters of an image by a sample of its pixels."""
        part = image[self._box(image)]
        zoom = self._zoom(part, pixel_size)
        planes = self._scaled(part, pixel_size / zoom, zoom).planes
        rng = np.random.default_rng(self._seed)
        centers = self._centers(planes, rng)[0]
        places = draw_pixels(planes.shape[1], self.n_samples, rng)
        return silhouette(planes[:, places], centers)

    def _objects(self, features, foreground: np.ndarray, pixel_size: float):
        """Clean the foreground and split it into objects, if anything stands out."""
        least = self._least_contrast()
        if features.chromogen is not None:
            foreground = foreground & (features.chromogen == 0)
        if stands_out(features, foreground, least):
            ids = self._instances(foreground, self._least_area, pixel_size)
            if features.chromogen is None:
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
        min_area = max(self._least_area, 0.25 * self._diameter**2)
        ids = self._instances(foreground, min_area, pixel_size)
        if features.chromogen is None:
            return ids
        ids = self._drop_large(ids, pixel_size)[0]
        return self._drop_faint(ids, features.stain, ids == 0, pixel_size, least)

    def _drop_large(self, ids: np.ndarray, pixel_size: float):
        """Drop what is far too large for nuclei; tell whether that was the most."""
        areas = np.bincount(ids.ravel())
        areas[0] = 0
        large = areas > _LARGEST * (self._diameter / pixel_size) ** 2
        is_tissue = 2 * areas[large].sum() > areas.sum()
        return np.where(large[ids], 0, ids), bool(is_tissue)

    def _drop_faint(self, ids, stain, ground, pixel_size: float, least: float):
        return drop_faint(
            ids,
            stain,
            ground,
            least=least,
            sigma=_CHROMOGEN_REACH * self.background_radius / pixel_size,
            diameter=self._diameter / pixel_size,
        )

    def _instances(
        self, mask, min_area: float, pixel_size: float, intensity=None
    ) -> np.ndarray:
        """Clean a mask and give each object its id."""
        mask = clean_mask(mask, **self._cleaning(pixel_size, min_area))
        if not self.instances:
            return ndi.label(mask)[0].astype(np.int32, copy=False)
        diameter = self._diameter / pixel_size
        return split_touching(mask, diameter=diameter, intensity=intensity)

    def _with_classes(self, ids, features, pixel_size: float) -> np.ndarray:
        """Add the nuclei of the chromogens; return ids and classes, (h, w, 2)."""
        n_classes = len(self.class_names_)
        classes = np.where(ids > 0, n_classes, 0).astype(np.int32)
        for number in range(1, n_classes):
            stain = features.chromogen_stains[number - 1]
            mask = features.chromogen == number
            own = self._instances(mask, self._least_area, pixel_size, stain)
            own = self._drop_large(own, pixel_size)[0]
            least = _MEAN_STAIN * self.min_stain
            own = self._drop_faint(own, stain, features.ground, pixel_size, least)
            inside = own > 0
            ids = np.where(inside, own + ids.max(), ids)
            classes[inside] = number
        # Counted nuclei: what a split cuts off is none.
        ids = remove_small(ids, round(self._least_area / pixel_size**2))
        classes[ids == 0] = 0
        return np.stack([relabel(ids), classes], axis=-1)

    def _masks(self, images: ImageBatch) -> list[np.ndarray]:
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        return [
            self._cluster_image(images[i], pixel_sizes[i])[0]
            for i in self._progress(len(images))
        ]

    def _stacked(self, images: ImageBatch, masks):
        """Append a mask to each image."""
        return images.wrap(
            np.concatenate([image, np.atleast_3d(mask).astype(np.float32)], axis=-1)
            for image, mask in zip(images, masks, strict=True)
        )

    def _padded(self, rows, fill) -> np.ndarray:
        """Stack per-image results; images of fewer clusters are filled up."""
        first = np.asarray(rows[0])
        shape = (len(rows), self._n_clusters(), *first.shape[1:])
        out = np.full(shape, fill, dtype=first.dtype)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return out
