# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer: pixels of images and maps to masks of nuclei."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn.base import BaseImageEstimator
from psmlearn.cluster._classes import PRESETS
from psmlearn.cluster._segment import ImageClustering
from psmlearn.cluster._table import TableClustering, is_table
from psmlearn.io._batch import resolve_pixel_size

__all__ = ["SemanticClusterer"]


class SemanticClusterer(
    ImageClustering,
    TableClustering,
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
        brown nuclei are negative.
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
        several classes it is looked up in each image (``fit_scope="image"``), and
        all lengths and areas, made for nuclei of 5.0, follow it.
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

    _parameter_constraints: dict = {
        "n_clusters": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "fusion": [StrOptions({"concat", "jet"})],
        "map_weight": [Interval(Real, 0, None, closed="left")],
        "image_weight": [Interval(Real, 0, None, closed="left")],
        "fit_scope": [StrOptions({"image", "all"})],
        "foreground": [
            StrOptions({"auto", "paper"}),
            Interval(Integral, 0, None, closed="left"),
            callable,
        ],
        "classes": [StrOptions(set(PRESETS)), dict, None],
        "stain_vectors": [StrOptions({"image", "named"})],
        "min_stain": [Interval(Real, 0, None, closed="neither")],
        "min_contrast": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "smoothing": [Interval(Real, 0, None, closed="left")],
        "background_radius": [Interval(Real, 0, None, closed="neither")],
        "background_weight": [Interval(Real, 0, 1, closed="both")],
        "nucleus_diameter": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "min_area": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_hole_area": [Interval(Real, 0, None, closed="left")],
        "opening_radius": [Interval(Real, 0, None, closed="left")],
        "instances": ["boolean"],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "pixel_size": [
            Interval(Real, 0, None, closed="neither"),
            "array-like",
            StrOptions({"file"}),
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_clusters="auto",
        *,
        fusion="concat",
        map_weight=0.4,
        image_weight=1.0,
        fit_scope="image",
        foreground="auto",
        classes=None,
        stain_vectors="image",
        min_stain=0.12,
        min_contrast="auto",
        smoothing=0.375,
        background_radius=4.0,
        background_weight=0.75,
        nucleus_diameter="auto",
        min_area="auto",
        max_hole_area=25.0,
        opening_radius=0.5,
        instances=True,
        n_samples=20_000,
        n_init=4,
        max_iter=50,
        pixel_size=0.25,
        random_state=None,
        verbose=0,
    ):
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
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.pixel_size = pixel_size
        self.random_state = random_state
        self.verbose = verbose

    # -- public --------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
        random_state = check_random_state(self.random_state)
        self._seed = int(random_state.randint(np.iinfo(np.int32).max))
        self._name_classes()
        self._on_table = is_table(X)
        if self._on_table:
            return self._fit_table(X)
        self.__dict__.pop("feature_names_in_", None)
        images = self._check_images(X, reset=True)
        self._check_channels()
        self._warn_of_staining(images, 5)  # past scikit-learn's fit context
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        self._scope = self.fit_scope
        if self.fit_scope == "all":
            self._fit_all(images, pixel_sizes)
        results = [
            self._cluster_image(images[i], pixel_sizes[i])
            for i in self._progress(len(images))
        ]
        masks, centers, chosen, inertias, iterations = zip(*results, strict=True)
        self.labels_ = images.wrap(masks)
        self.inertia_ = float(sum(inertias))
        if self.fit_scope == "image":
            self.cluster_centers_ = self._padded(centers, np.nan)
            self.foreground_ = self._padded(chosen, False)
            self.n_iter_ = max(iterations)
        return self

    def fit_predict(self, X, y=None):
        """Fit on `X` and return its masks; see `predict`."""
        return self.fit(X).labels_

    def predict(self, X):
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
        if self._is_table_like_fit(X):
            return self._predict_table(X)
        images = self._check_images(X, reset=False)
        self._warn_of_staining(images)
        return images.wrap(self._masks(images))

    def fit_transform(self, X, y=None):
        """Fit on `X` and transform it; the same as ``fit(X).transform(X)``."""
        self.fit(X)
        if self._on_table:
            return self._transform_table(X)
        images = self._check_images(X, reset=False)
        return self._stacked(images, self.labels_)

    def transform(self, X):
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
        if self._is_table_like_fit(X):
            return self._transform_table(X)
        images = self._check_images(X, reset=False)
        self._warn_of_staining(images)
        return self._stacked(images, self._masks(images))

    def score(self, X, y=None):
        """Mean simplified silhouette of a sample of pixels, from -1 to 1.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)
        y : None
            Ignored.

        Returns
        -------
        float
            -1 where there is a single cluster.
        """
        check_is_fitted(self)
        if self._is_table_like_fit(X):
            return self._score_table(X)
        images = self._check_images(X, reset=False)
        sizes = resolve_pixel_size(self.pixel_size, images)
        places = self._progress(len(images))
        return float(np.mean([self._silhouette(images[i], sizes[i]) for i in places]))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the channels of `transform`'s output."""
        check_is_fitted(self)
        if self._on_table:
            return self._table_names_out(input_features)
        names = ["grey"] if self.n_features_in_ <= 2 else ["red", "green", "blue"]
        if self.n_features_in_ in (2, 4):
            names.append("map")
        labels = ["mask"] if self.classes is None else ["mask", "class"]
        return np.array([*names, *labels], dtype=object)

    @property
    def classes_(self) -> np.ndarray:
        """Ids of the classes, from 1."""
        return np.arange(1, len(self.class_names_) + 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # plain pixel tables, beside images
        return tags
