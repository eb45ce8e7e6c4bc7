# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer: pixels of images and maps to masks of nuclei."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClusterMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from psmlearn._images._kmeans import assign, draw_pixels, fit_kmeans, silhouette
from psmlearn._images._sizes import NUCLEUS_DIAMETER
from psmlearn._progress import announce, track
from psmlearn._sklearn_compat import (
    Interval,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
)
from psmlearn._typing import Images, PixelSize, RandomState
from psmlearn.base import (
    AREA,
    AT_LEAST_0,
    AT_LEAST_1,
    CLUSTERS,
    COUNT,
    LENGTH,
    LENGTH_OR_0,
    PIXEL_SIZE,
    POSITIVE,
    RANDOM_STATE,
    BaseImageEstimator,
)
from psmlearn.cluster._classes import (
    PRESETS,
    Classes,
    Stain,
    resolve_classes,
    warn_of_staining,
)
from psmlearn.cluster._features import CHANNELS, FeatureScale
from psmlearn.cluster._segment import ClusteredImage, ImageClusterer, SharedClusters
from psmlearn.io._batch import ImageBatch, resolve_pixel_size
from psmlearn.io._inputs import is_path

__all__ = ["SemanticClusterer"]

# How clusters are named nuclei: by a rule, by number, or by their statistics.
Naming: TypeAlias = (
    Literal["auto", "paper"] | int | Callable[[dict[str, np.ndarray]], np.ndarray]
)

# What "auto" stands for: haematoxylin of H&E; and several classes, whose counterstain
# is paler and beside whose stained nuclei small ones are debris.
_AUTO: dict[str, Any] = {
    "n_clusters": 2,
    "min_contrast": 0.12,
    "min_area": 4.0,
    "nucleus_diameter": NUCLEUS_DIAMETER,
}
_AUTO_OF_CLASSES = {**_AUTO, "n_clusters": 4, "min_contrast": 0.04, "min_area": 5.0}


@dataclass(frozen=True)
class _Frozen:
    """What `predict` takes from `fit`, beside the public attributes.

    Attributes
    ----------
    seed : int
    scope : {"image", "all"}
        `fit_scope`.
    on_table : bool
    feature_scale : FeatureScale or None
        Of all images.
    """

    seed: int
    scope: str
    on_table: bool
    feature_scale: FeatureScale | None


class SemanticClusterer(  # type: ignore[call-arg]  # scikit-learn's keyword
    ClusterMixin,
    TransformerMixin,
    BaseImageEstimator,
    auto_wrap_output_keys=None,
):
    """Cluster the pixels of images and their maps into masks of nuclei.

    Pixels are clustered by k-means on the amount of haematoxylin and on the map of
    the image, if it has one; the clusters that are nuclei are named by stain and
    map, their pixels cleaned and split into objects. No label is used anywhere. An
    image in which nothing stands out comes out empty.

    A plain table of pixels is clustered as it is, by k-means alone: then `predict`
    gives the number of each pixel's cluster.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of clusters; where an image has fewer distinct pixels, it gets fewer.
        "auto" is 2, and 4 with several classes, whose counterstain is pale here and
        dark there.
    fusion : {"concat", "jet"}, default="concat"
        What is clustered. "concat": the smoothed amount of haematoxylin, above its
        surroundings, and the map; each cut at its 3rd and 97th percentile and
        brought to one scale. "jet": the paper's, the map's heat colours plus the
        weighted image, in three channels; it needs a map.
    map_weight : float, default=0.4
        Weight of the map beside haematoxylin in "concat", in deviations.
    image_weight : float, default=1.0
        Weight of the image beside heat colours in "jet" (the paper's beta).
    fit_scope : {"image", "all"}, default="image"
        "image": each image is clustered by itself, `fit` learns only a seed. "all":
        one set of clusters for all images, found on a sample of their pixels.
    foreground : {"auto", "paper"}, int or callable, default="auto"
        Which clusters are nuclei. "auto": those whose mean score (haematoxylin and
        map, weighted as in "concat") is above Otsu's threshold of all pixels' scores;
        with several classes the higher half of them. "paper": the one whose first
        two channels are lowest, with ``fusion="jet"`` only. An int: so many of the
        highest. A callable takes a dict with "centers" (n_clusters, n_features) and
        "haematoxylin", "map", "score" and "n_pixels" (n_clusters,), and returns as
        many bools.
    classes : {"ki67", "he"}, dict or None, default=None
        Classes of nuclei and their stains, for masks with classes. "ki67" is
        ``{"positive": "dab", "negative": "haematoxylin"}``, "he" is ``{"nucleus":
        "haematoxylin"}``. Class ids count from 1 in this order; the last stain is
        the counterstain. A stain is "haematoxylin", "eosin", "dab", or its optical
        densities (red, green, blue). Up to three.
    stain_vectors : {"image", "named"}, default="image"
        Whether several classes' stains are looked up in each image, or as named.
    min_stain : float, default=0.12
        With several classes: optical density by which a stain other than the
        counterstain must exceed its surroundings somewhere in a nucleus of its
        class, and by two fifths on its average (the smaller, the more); what fails
        is none. What counts as positive is a convention: raise it where faintly
        brown nuclei are negative. Where a section is stained black (the mean amount
        in the stain's nuclei above 1.25), a nucleus with less than 0.22 of the amount
        usual around it is of the counterstain, with `instances`.
    min_contrast : float or "auto", default="auto"
        Optical density of haematoxylin by which the foreground's mean must exceed
        the rest of the image. If it does not, only objects that stand out by half
        as much again are kept ("auto" in `foreground`), or none. 0 takes all that
        is not paler than its surroundings. "auto" is 0.12; 0.04 for a
        counterstain beside others.
    smoothing : float, default=0.375
        Deviation of the Gaussian that smooths haematoxylin and map, in micrometres.
    background_radius : float, default=4.0
        Deviation of the blur that gives a pixel's surroundings, in micrometres; with
        several classes seven eighths of it, for their counterstain two thirds.
    background_weight : float, default=0.75
        Part of the surroundings that is taken away, from 0 to 1; with several
        classes what is left counts less the darker they are.
    nucleus_diameter : float or "auto", default="auto"
        Typical diameter of nuclei, for splitting; micrometres. "auto" is 5.0; with
        contours or several classes it is looked up in each image (for classes with
        ``fit_scope="image"``), and the lengths and areas of the objects, made for
        nuclei of 5.0, follow it. Give a number for parts of one slide.
    min_area : float or "auto", default="auto"
        Smaller pieces of foreground are dropped, before touching nuclei are split;
        square micrometres. "auto" is 4.0, with several classes 5.0.
    max_hole_area : float, default=25.0
        Holes up to this area are filled, as in nuclei of a dark rim and a pale
        inside; square micrometres.
    opening_radius : float, default=0.5
        Radius in micrometres of the disc that the foreground is opened by.
    instances : bool, default=True
        Whether touching nuclei are split. If not, an object is what hangs together.
        With several classes clumps of a chromogen's nuclei are, in black sections,
        also split by contours in the light that it takes least of, and those far
        smaller than others around them dropped; so are small nuclei of the
        counterstain, and rims along a chromogen's nuclei.
    objects : {"auto", "contours", "clusters"}, default="auto"
        What draws the outline of nuclei. "contours": for each nucleus the contour of
        haematoxylin that is the most even and the steepest for its surroundings, of
        those that lie in nuclear clusters by at least half; holes and opening go by
        `nucleus_diameter`, not by `max_hole_area` and `opening_radius`.
        "clusters": the nuclear clusters, cleaned and split. "auto": contours, but
        clusters with ``fusion="jet"``, several classes or ``instances=False``.
    unsure : {"background", "unknown"}, default="background"
        What becomes of nuclear pixels that are in no object: 0, or -1, which nothing
        is taught by.
    n_samples : int, default=20000
        Pixels drawn for one k-means.
    n_init : int, default=4
        Starts of one k-means, the best is kept.
    max_iter : int, default=50
        Most iterations of one start.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for all images or one each; "file" reads it from the
        images' files.
    random_state : int, RandomState instance or None, default=None
        An int gives the same masks in every run.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    labels_ : list or array of ndarray of shape (height, width[, 2]), int32
        Masks of the images of `fit`; for a table (n_pixels,) int32.
    confidences_ : list of ndarray of shape (n_objects,)
        How sure each object of `labels_` is, in the order of ids, by the evenness and
        steepness of its outline, from 0.3 to 2; empty without contours or images.
    class_names_ : list of str
        Names of the classes; none without classes.
    classes_ : ndarray of shape (n_classes,), int
        Their ids.
    cluster_centers_ : ndarray of shape (n_images, n_clusters, n_features) or \
(n_clusters, n_features)
        Centres, of each image or of all. Clusters that an image lacks are NaN.
    foreground_ : ndarray of shape (n_images, n_clusters) or (n_clusters,), bool
        Clusters named nuclei; none for a table.
    inertia_ : float
        Sum of squared distances of all pixels to their centres.
    n_iter_ : int
        Most iterations of any image.
    n_features_in_ : int
        Channels of the images, or columns of the table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of a table's columns, if it has names.

    Notes
    -----
    Images have 1 channel (grey), 2 (grey and a map), 3 (RGB) or 4 (RGB and a map).
    The paper's clustering is ``SemanticClusterer(3, fusion="jet",
    foreground="paper", min_contrast=0, min_area=0, max_hole_area=4,
    opening_radius=0, instances=False)``.

    `predict` goes by the present parameters, but by the seed, the `fit_scope` and,
    with "all", the clusters of `fit`.

    References
    ----------
    P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
    Self-activation Maps", MICCAI 2023, arXiv:2308.11144.

    Examples
    --------
    >>> from psmlearn.cluster import SemanticClusterer
    >>> from psmlearn.datasets import make_nuclei
    >>> images = make_nuclei(2, (96, 96), n_nuclei=6, random_state=0).images
    >>> masks = SemanticClusterer(random_state=0).fit_predict(images)
    >>> masks.shape, masks.dtype
    ((2, 96, 96), dtype('int32'))
    """

    _stage = "pseudo masks"
    _parameter_constraints: dict = {
        "n_clusters": [
            CLUSTERS,
            StrOptions({"auto"}),
        ],
        "fusion": [StrOptions({"concat", "jet"})],
        "map_weight": [AT_LEAST_0],
        "image_weight": [AT_LEAST_0],
        "fit_scope": [StrOptions({"image", "all"})],
        "foreground": [
            StrOptions({"auto", "paper"}),
            Interval(Integral, 0, 1_000_000, closed="both"),
            callable,
        ],
        "classes": [StrOptions(set(PRESETS)), dict, None],
        "stain_vectors": [StrOptions({"image", "named"})],
        "min_stain": [POSITIVE],
        "min_contrast": [AT_LEAST_0, StrOptions({"auto"})],
        "smoothing": [LENGTH_OR_0],
        "background_radius": [LENGTH],
        "background_weight": [Interval(Real, 0, 1, closed="both")],
        "nucleus_diameter": [
            LENGTH,
            StrOptions({"auto"}),
        ],
        "min_area": [AREA, StrOptions({"auto"})],
        "max_hole_area": [AREA],
        "opening_radius": [LENGTH_OR_0],
        "instances": ["boolean"],
        "objects": [StrOptions({"auto", "contours", "clusters"})],
        "unsure": [StrOptions({"background", "unknown"})],
        "n_samples": [AT_LEAST_1],
        "n_init": [COUNT],
        "max_iter": [COUNT],
        "pixel_size": PIXEL_SIZE,
        "random_state": RANDOM_STATE,
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        *,
        fusion: Literal["concat", "jet"] = "concat",
        map_weight: float = 0.4,
        image_weight: float = 1.0,
        fit_scope: Literal["image", "all"] = "image",
        foreground: Naming = "auto",
        classes: Classes | None = None,
        stain_vectors: Literal["image", "named"] = "image",
        min_stain: float = 0.12,
        min_contrast: float | Literal["auto"] = "auto",
        smoothing: float = 0.375,
        background_radius: float = 4.0,
        background_weight: float = 0.75,
        nucleus_diameter: float | Literal["auto"] = "auto",
        min_area: float | Literal["auto"] = "auto",
        max_hole_area: float = 25.0,
        opening_radius: float = 0.5,
        instances: bool = True,
        objects: Literal["auto", "contours", "clusters"] = "auto",
        unsure: Literal["background", "unknown"] = "background",
        n_samples: int = 20_000,
        n_init: int = 4,
        max_iter: int = 50,
        pixel_size: PixelSize = 0.25,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.fusion = fusion
        self.map_weight = map_weight
        self.image_weight = image_weight
        self.fit_scope = fit_scope
        self.foreground = foreground
        self.classes = classes
        self.stain_vectors = stain_vectors
        self.min_stain = min_stain
        self.min_contrast = min_contrast
        self.smoothing = smoothing
        self.background_radius = background_radius
        self.background_weight = background_weight
        self.nucleus_diameter = nucleus_diameter
        self.min_area = min_area
        self.max_hole_area = max_hole_area
        self.opening_radius = opening_radius
        self.instances = instances
        self.objects = objects
        self.unsure = unsure
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.pixel_size = pixel_size
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ----------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images | ArrayLike, y: Any = None) -> SemanticClusterer:
        """Cluster the pixels of `X` and name the clusters; `y` is ignored.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)
        y : None
            Ignored.

        Returns
        -------
        self : SemanticClusterer
        """
        announce(self._stage)
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        with self._keeps_what_was():
            names = [] if self.classes is None else resolve_classes(self.classes)
            self.class_names_ = list(names)
            if is_table(X):
                self._frozen = self._fit_table(X, seed)
            else:
                self._frozen = self._fit_images(X, seed)
        return self

    def _fit_images(self, X: Images | ArrayLike, seed: int) -> _Frozen:
        """Learn the public attributes from images; return the rest."""
        self.__dict__.pop("feature_names_in_", None)
        images = self._check_stacks(X, reset=True)
        warn_of_staining(images, self.classes, type(self).__name__)
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        clusterer = self._image_clusterer(seed)
        shared = None
        if self.fit_scope == "all":
            shared = clusterer.share(images, pixel_sizes, self._progress)
            clusterer = replace(clusterer, shared=shared)
        # What stains tell is as large as the masks, and not kept.
        found = [
            replace(
                clusterer.cluster(images[i], pixel_sizes[i], images.shown(i)),
                stained=None,
            )
            for i in self._progress(len(images))
        ]
        self.labels_ = images.wrap([each.mask for each in found])
        self.confidences_ = [each.confidence for each in found]
        self.inertia_ = float(sum(each.inertia for each in found))
        if shared is not None:
            self.cluster_centers_ = shared.centers
            self.foreground_ = shared.foreground
            self.n_iter_ = shared.n_iter
            return _Frozen(seed, self.fit_scope, False, shared.scale)
        n_clusters = clusterer.n_clusters
        centers = [each.centers for each in found]
        self.cluster_centers_ = _padded(centers, n_clusters, np.nan)
        foreground = [each.foreground for each in found]
        self.foreground_ = _padded(foreground, n_clusters, False)
        self.n_iter_ = max(each.n_iter for each in found)
        return _Frozen(seed, self.fit_scope, False, None)

    def _fit_table(self, X: Any, seed: int) -> _Frozen:
        """Learn the public attributes from a table; return the rest."""
        table = self._check_table(X, reset=True)
        n_clusters = self._resolved()["n_clusters"]
        if len(table) < n_clusters:
            raise ValueError(
                f"n_samples={len(table)} should be >= n_clusters={n_clusters}."
            )
        self.cluster_centers_, self.n_iter_ = fit_kmeans(
            table.T,
            n_clusters,
            max(self.n_samples, n_clusters),
            np.random.default_rng(seed),
            n_init=self.n_init,
            max_iter=self.max_iter,
        )
        self.labels_, self.inertia_ = assign(
            table.T, self.cluster_centers_, return_inertia=True
        )
        self.foreground_ = np.zeros(len(self.cluster_centers_), bool)
        self.confidences_ = []
        return _Frozen(seed, self.fit_scope, True, None)

    def fit_predict(
        self, X: Images | ArrayLike, y: Any = None
    ) -> np.ndarray | list[np.ndarray]:
        """Fit on `X` and return its masks; parameters and result as of `predict`."""
        return self.fit(X).labels_

    def fit_transform(
        self, X: Images | ArrayLike, y: Any = None
    ) -> np.ndarray | list[np.ndarray]:
        """Fit on `X` and transform it, as ``fit(X).transform(X)`` does."""
        self.fit(X)
        if self._frozen.on_table:
            table = self._check_table(X, reset=False)
            return _with_column(table, np.asarray(self.labels_))
        return _with_masks(self._check_stacks(X, reset=False), self.labels_)

    # -- using ------------------------------------------------------------------

    def predict(self, X: Images | ArrayLike) -> np.ndarray | list[np.ndarray]:
        """Segment images, or give the clusters of the pixels of a table.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)

        Returns
        -------
        masks : list or array of (height, width) int32
            Label images in the container that came, with classes (height, width, 2):
            ids and classes; for a table (n_pixels,) int32 with the number of each
            pixel's cluster.
        """
        check_is_fitted(self)
        if self._is_table_as_fitted(X):
            table = self._check_table(X, reset=False)
            return assign(table.T, self.cluster_centers_)
        images = self._check_stacks(X, reset=False)
        warn_of_staining(images, self.classes, type(self).__name__)
        return images.wrap(self._masks(images))

    def transform(self, X: Images | ArrayLike) -> np.ndarray | list[np.ndarray]:
        """Append the pseudo masks to the images.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)

        Returns
        -------
        stacked : list or array of (height, width, n_channels + 1) float32
            The images with the ids of the objects as last channel, or, with classes,
            ids and classes as the last two. For a table its columns and the number
            of the cluster.
        """
        check_is_fitted(self)
        if self._is_table_as_fitted(X):
            table = self._check_table(X, reset=False)
            return _with_column(table, assign(table.T, self.cluster_centers_))
        images = self._check_stacks(X, reset=False)
        warn_of_staining(images, self.classes, type(self).__name__)
        return _with_masks(images, self._masks(images))

    def score(self, X: Images | ArrayLike, y: Any = None) -> float:
        """Mean simplified silhouette of a sample of pixels, from -1 to 1.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)
        y : None
            Ignored.

        Returns
        -------
        float
            -1 where there is a single cluster, or no image shows anything.
        """
        check_is_fitted(self)
        if self._is_table_as_fitted(X):
            table = self._check_table(X, reset=False)
            rng = np.random.default_rng(self._frozen.seed)
            places = draw_pixels(len(table), self.n_samples, rng)
            return silhouette(table[places].T, self.cluster_centers_)
        images = self._check_stacks(X, reset=False)
        sizes = resolve_pixel_size(self.pixel_size, images)
        clusterer = self._fitted_clusterer()
        scores = [
            clusterer.score(images[i], sizes[i], images.shown(i))
            for i in self._progress(len(images))
            if not images.shows_nothing(i)
        ]
        return float(np.mean(scores)) if scores else -1.0

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Return the names of the channels of `transform`'s output."""
        check_is_fitted(self)
        if self._frozen.on_table:
            names = _check_feature_names_in(self, input_features)
            return np.array([*names, "cluster"], dtype=object)
        names = ["grey"] if self.n_features_in_ <= 2 else ["red", "green", "blue"]
        if self.n_features_in_ in (2, 4):
            names.append("map")
        labels = ["mask"] if self.classes is None else ["mask", "class"]
        return np.array([*names, *labels], dtype=object)

    @property
    def classes_(self) -> np.ndarray:
        """Ids of the classes, from 1."""
        return np.arange(1, len(self.class_names_) + 1)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_frozen")  # a first `fit` that failed half-way is none

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # plain pixel tables, beside images
        return tags

    # -- the work on images -----------------------------------------------------

    def _stains(self) -> tuple[Stain, ...]:
        """Return the stains of the classes."""
        if self.classes is None:
            return ()
        return tuple(resolve_classes(self.classes).values())

    def _draws_contours(self) -> bool:
        """Tell whether contours draw the objects."""
        if self.objects != "auto":
            return self.objects == "contours"
        one_stain = len(self._stains()) < 2
        return self.fusion == "concat" and self.instances and one_stain

    def _resolved(self) -> dict[str, Any]:
        """Return the parameters that may be "auto", as numbers."""
        auto = _AUTO_OF_CLASSES if len(self._stains()) > 1 else _AUTO
        given = {name: getattr(self, name) for name in auto}
        return {
            name: auto[name] if value == "auto" else value
            for name, value in given.items()
        }

    def _image_clusterer(
        self, seed: int, shared: SharedClusters | None = None
    ) -> ImageClusterer:
        """Bring the parameters into the form that images are clustered by."""
        return ImageClusterer(
            seed=seed,
            shared=shared,
            stains=self._stains(),
            estimate_stains=self.stain_vectors == "image",
            find_diameter=self.nucleus_diameter == "auto",
            contours=self._draws_contours(),
            mark_unsure=self.unsure == "unknown",
            fusion=self.fusion,
            map_weight=self.map_weight,
            image_weight=self.image_weight,
            foreground=self.foreground,
            min_stain=self.min_stain,
            smoothing=self.smoothing,
            background_radius=self.background_radius,
            background_weight=self.background_weight,
            max_hole_area=self.max_hole_area,
            opening_radius=self.opening_radius,
            instances=self.instances,
            n_samples=self.n_samples,
            n_init=self.n_init,
            max_iter=self.max_iter,
            **self._resolved(),
        )

    def _fitted_clusterer(self) -> ImageClusterer:
        """The present parameters, with the seed and the shared clusters of `fit`."""
        frozen = self._frozen
        shared = None
        if frozen.scope == "all":
            shared = SharedClusters(
                self.cluster_centers_,
                self.foreground_,
                self.n_iter_,
                frozen.feature_scale,
            )
        return self._image_clusterer(frozen.seed, shared)

    def _masks(self, images: ImageBatch) -> list[np.ndarray]:
        return [found.mask for found in self._clustered(images)]

    def _stained_masks(self, X: Images | ArrayLike) -> list[np.ndarray]:
        """Return what stains tell of images: ids and classes, (h, w, 2) int32.

        Of class 0 is debris; what is too faint for a chromogen's nucleus is of the
        counterstain; the counterstain's own nuclei are of one class more.
        """
        check_is_fitted(self)
        images = self._check_stacks(X, reset=False)
        warn_of_staining(images, self.classes, type(self).__name__)
        found = [clustered.stained for clustered in self._clustered(images)]
        return [mask for mask in found if mask is not None]

    def _clustered(self, images: ImageBatch) -> Iterator[ClusteredImage]:
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        clusterer = self._fitted_clusterer()
        for i in self._progress(len(images)):
            yield clusterer.cluster(images[i], pixel_sizes[i], images.shown(i))

    def _progress(self, n_images: int) -> Iterable[int]:
        """Go through the images, behind a bar where `verbose` asks for it."""
        name = type(self).__name__
        return track(range(n_images), n_images, name, verbose=self.verbose)

    # -- checks -----------------------------------------------------------------

    def _check_stacks(self, X: Images | ArrayLike, *, reset: bool) -> ImageBatch:
        """Check images, and that the parameters fit their channels."""
        images = self._check_images(X, reset=reset)
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
        if self.objects == "contours" and len(self._stains()) > 1:
            raise ValueError(
                "SemanticClusterer: objects='contours' draws nuclei of one stain, and "
                f"classes={self.classes!r} has {len(self._stains())}: use "
                "objects='clusters', or 'auto'."
            )
        if isinstance(self.foreground, str) and self.foreground == "paper":
            if self.fusion != "jet":
                raise ValueError(
                    "SemanticClusterer: foreground='paper' is defined on heat "
                    "colours: use it with fusion='jet', or foreground='auto'."
                )
        return images

    def _is_table_as_fitted(self, X: Images | ArrayLike) -> bool:
        """Tell the kind of `X`; it must be the kind that `fit` saw."""
        on_table = is_table(X)
        if on_table != self._frozen.on_table:
            kinds = {True: "a pixel table (n_pixels, n_channels)", False: "images"}
            raise ValueError(
                f"{type(self).__name__} was fitted on {kinds[self._frozen.on_table]} "
                f"and got {kinds[on_table]}: fit it on the same kind."
            )
        return on_table

    def _check_table(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], order="C"
        )


def is_table(X: Any) -> bool:
    """Tell a table of pixels (rows) by channels (columns) from images.

    A list is a table if it holds rows: sequences or 1-D arrays of numbers.
    """
    if hasattr(X, "tocsr") or getattr(X, "ndim", None) == 2:
        return True
    if isinstance(X, list | tuple):
        first = X[0] if len(X) else None
        if isinstance(first, list | tuple):
            return not (len(first) and isinstance(first[0], list | tuple | np.ndarray))
        return isinstance(first, np.ndarray) and first.ndim == 1
    if not hasattr(X, "__array__"):
        return False
    array = np.asarray(X)
    if array.ndim == 1 and array.size:
        return not is_path(array[0])
    return array.ndim in (1, 2)


def _with_column(table: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Append the numbers of clusters to a table."""
    return np.column_stack([table, clusters.astype(table.dtype)])


def _with_masks(
    images: ImageBatch, masks: Iterable[np.ndarray]
) -> np.ndarray | list[np.ndarray]:
    """Append a mask to each image."""
    return images.wrap(
        np.concatenate([image, np.atleast_3d(mask).astype(np.float32)], axis=-1)
        for image, mask in zip(images, masks, strict=True)
    )


def _padded(rows: list[np.ndarray], length: int, fill: float | bool) -> np.ndarray:
    """Stack rows, one an image, of which some are shorter than `length`."""
    shape = (len(rows), length, *rows[0].shape[1:])
    out = np.full(shape, fill, dtype=rows[0].dtype)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
