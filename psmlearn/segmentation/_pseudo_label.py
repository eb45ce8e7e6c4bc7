# SPDX-License-Identifier: BSD-3-Clause
"""Training of a segmenter on the masks of a labeler, without labels."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._frame import inner_box
from psmlearn._sklearn_compat import HasMethods, Interval, StrOptions, _fit_context
from psmlearn.activation import SelfActivationMapper
from psmlearn.base import BaseImageEstimator
from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._classes import resolve_classes, warn_of_staining
from psmlearn.io._batch import (
    ImageBatch,
    check_images,
    check_masks,
    resolve_pixel_size,
)
from psmlearn.segmentation._classes import (
    class_jaccard,
    forget_unsure_classes,
    mask_points,
)
from psmlearn.segmentation._parts import (
    check_devices,
    check_image_labels,
    clusterer_of,
    count_objects,
    fit_labeler,
    n_classes_of,
    nothing_found,
    pass_random_state,
    refusal,
    segmenter_options,
    value_ranges,
)
from psmlearn.segmentation._segmenter import NucleiSegmenter
from psmlearn.segmentation._stained import put_stained_first

__all__ = ["PseudoLabelSegmenter"]

# Of pale nuclei a network finds more than the masks hold, most of them pale ground.
_THRESHOLD_OF_CLASSES = 0.85


def _segmenter_has(name: str):
    def check(self) -> bool:
        segmenter = getattr(self, "segmenter_", self.segmenter)
        return segmenter is None or hasattr(segmenter, name)

    return check


class PseudoLabelSegmenter(MetaEstimatorMixin, BaseImageEstimator):
    """Find nuclei without labels: a labeler makes masks, a segmenter learns them.

    Parameters
    ----------
    labeler : estimator, default=None
        Its ``fit(X)`` and ``predict(X)``, or its ``fit_predict(X)``, give label
        images. One that learns from labels of whole images has a keyword
        `image_labels` in `fit`; if in `fit_predict` as well, its masks of the training
        images are those of ``fit_predict``. In a Pipeline the last step gets them. None
        takes the pipeline of :class:`SelfActivationMapper` ("maps") and
        :class:`SemanticClusterer` ("clusters") with their defaults; with several
        classes the clusterer alone, whose stains a map adds nothing to.
    segmenter : estimator, default=None
        Trained on what the labeler predicts. None takes :class:`NucleiSegmenter`;
        with several classes its threshold is 0.85 and its nucleus_diameter "auto";
        after a labeler that learns from image labels its targets are "regions", of
        any area. Images beyond [0, 1] need parts with ``value_range=None``; the
        default segmenter has the `value_range` of the labeler, and with None and
        "regions" the network "unet_in" and a stain_jitter of 3.
    classes : "ki67", "he", dict or None, default=None
        Classes of cells that the default labeler tells by their stain, as in
        :class:`SemanticClusterer`: with "ki67" 1 is positive (brown) and 2 negative
        (blue), and all masks are (height, width, 2).
    class_source : {"stain", "network"}, default="stain"
        With several classes, what tells them in prediction. "stain": the labeler, if
        it is a :class:`SemanticClusterer` or a Pipeline that ends with one,
        finds the nuclei of the chromogens in the image, and the network those of the
        counterstain, which are pale and hard to tell from the ground. "network": it
        tells all of them; `predict_proba` always is its own.
    n_rounds : int, default=1
        Rounds of training. From the second on the masks are the segmenter's own,
        pixels of doubt unknown; labels of images no longer play a part.
    doubt : float, default=0.15
        In later rounds, pixels whose probability is nearer than this to one half
        are unknown, and so is the class of objects that are so near to the middle of
        two classes.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for the default parts; given parts have their own.
    device : str, default="auto"
        For the default parts.
    random_state : int, RandomState or None, default=None
        Reaches the default parts, and given parts whose own is None.
    verbose : int, default=0
        1 shows progress of the default parts.

    Attributes
    ----------
    labeler_, segmenter_ : estimator
        The fitted parts.
    n_features_in_ : int
        Channels of X.
    n_pseudo_objects_ : list of int
        Objects in the masks of each round.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.

    Examples
    --------
    >>> from psmlearn import NucleiSegmenter, PseudoLabelSegmenter, SemanticClusterer
    >>> from psmlearn.datasets import make_nuclei
    >>> images = make_nuclei(n_images=2, shape=(96, 96), random_state=0).images
    >>> segmenter = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32)
    >>> model = PseudoLabelSegmenter(SemanticClusterer(), segmenter, random_state=0)
    >>> model.fit(images).predict(images).shape
    (2, 96, 96)
    """

    _parameter_constraints: dict = {
        "labeler": [HasMethods(["fit", "predict"]), None],
        "segmenter": [HasMethods(["fit", "predict"]), None],
        "classes": [str, dict, None],
        "class_source": [StrOptions({"stain", "network"})],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "doubt": [Interval(Real, 0, 0.5, closed="left")],
        "pixel_size": [
            Interval(Real, 0, None, closed="neither"),
            "array-like",
            StrOptions({"file"}),
        ],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        labeler=None,
        segmenter=None,
        *,
        classes=None,
        class_source="stain",
        n_rounds=1,
        doubt=0.15,
        pixel_size=0.25,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.labeler = labeler
        self.segmenter = segmenter
        self.classes = classes
        self.class_source = class_source
        self.n_rounds = n_rounds
        self.doubt = doubt
        self.pixel_size = pixel_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, image_labels=None) -> PseudoLabelSegmenter:
        """Train on images alone.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images.
        y : ignored
            Never handed on: training sees no label.
        image_labels : array-like of shape (n_images,) or (n_images, n_classes), \
default=None
            What is known of each image, for a weakly supervised labeler only. To have
            them sliced in cross-validation, enable scikit-learn's metadata routing and
            ask for them by ``set_fit_request(image_labels=True)``.

        Returns
        -------
        self : PseudoLabelSegmenter

        Raises
        ------
        ValueError
            If an image is bad or one part would refuse it, or if `image_labels` are
            not one an image or are given to a labeler that takes none (all before
            training); or if the labeler finds nothing at all.
        """
        images = self._check_fit_images(X)
        labeler, segmenter = self._make_parts(images)
        for part in (labeler, segmenter):
            check_devices(part)
        if image_labels is not None:
            check_image_labels(image_labels, len(images), labeler)
        masks = fit_labeler(labeler, X, image_labels)
        n_objects = count_objects(masks)
        if not n_objects:
            raise nothing_found(len(images), weak=image_labels is not None)
        # Only now: a fit that ends before leaves what an earlier one learnt.
        self.labeler_, self.segmenter_ = labeler, segmenter
        self.n_pseudo_objects_ = [n_objects]
        segmenter.fit(X, masks)
        for _ in range(1, self.n_rounds):
            masks = self._own_masks(X)
            self.n_pseudo_objects_.append(count_objects(masks))
            if not self.n_pseudo_objects_[-1]:
                break
            segmenter.fit(X, masks)
        return self

    def _check_fit_images(self, X) -> ImageBatch:
        """Check the images for both parts, before either is trained."""
        ranges = value_ranges(self.labeler, self.segmenter)
        known = {each for each in ranges.values() if each != "unknown"}
        if known == {None}:
            return self._check_images(X, reset=True, value_range=None)
        try:
            return self._check_images(X, reset=True)
        except ValueError as error:
            if None in known:  # is it their range alone that one part refuses?
                check_images(X, caller=type(self).__name__, value_range=None)
                raise refusal(ranges, error) from None
            raise

    def _make_parts(self, images: ImageBatch):
        """Return unfitted labeler and segmenter, with seeds."""
        rng = check_random_state(self.random_state)
        if self.classes is not None:
            resolve_classes(self.classes)  # before anything is trained
        if self.labeler is None:
            if images.n_channels not in (1, 3):
                raise ValueError(
                    "The default labeler takes images with 1 or 3 channels, got "
                    f"{images.n_channels}; pass a labeler that knows yours."
                )
            labeler = SemanticClusterer(
                pixel_size=self.pixel_size, classes=self.classes, verbose=self.verbose
            )
            if n_classes_of(self.classes) < 2:
                # Maps are arrays that know no file: the clusterer is told the numbers.
                sizes = resolve_pixel_size(self.pixel_size, images)
                is_one = (sizes == sizes[0]).all()
                labeler.pixel_size = float(sizes[0]) if is_one else sizes.tolist()
                maps = SelfActivationMapper(device=self.device, verbose=self.verbose)
                labeler = Pipeline([("maps", maps), ("clusters", labeler)])
        else:
            if self.classes is not None:
                raise ValueError(
                    f"classes={self.classes!r} is for the default labeler; tell your "
                    f"{type(self.labeler).__name__} itself, such as "
                    "SemanticClusterer(classes=...)."
                )
            labeler = clone(self.labeler)
        if self.segmenter is None:
            segmenter = default_segmenter(
                getattr(clusterer_of(labeler), "classes", None),
                pixel_size=self.pixel_size,
                device=self.device,
                verbose=self.verbose,
                **segmenter_options(labeler),
            )
        else:
            segmenter = clone(self.segmenter)
        if self.random_state is not None:
            pass_random_state(labeler, rng)
            pass_random_state(segmenter, rng)
        return labeler, segmenter

    def _own_masks(self, X) -> list[np.ndarray]:
        """Return the masks that are predicted now, with pixels of doubt unknown."""
        masks = [np.array(mask) for mask in self._predict(X, warns=False)]
        if not self.doubt or not hasattr(self.segmenter_, "predict_proba"):
            return masks
        probabilities = self.segmenter_.predict_proba(X)
        stains = self._stains()
        if not stains:
            forget_unsure_classes(masks, probabilities, 2 * self.doubt)
        # What is likely, but not enough for the segmenter's threshold, is in doubt too.
        likely = max(0.5 + self.doubt, getattr(self.segmenter_, "threshold", 0))
        for mask, proba in zip(masks, probabilities, strict=True):
            foreground = 1 - proba[..., 0]
            doubtful = (foreground > 0.5 - self.doubt) & (foreground < likely)
            if stains:  # no matter of probability
                doubtful &= (mask[..., 1] == 0) | (mask[..., 1] == len(stains))
            mask[doubtful] = -1
        return masks

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "segmenter_") and hasattr(self, "n_pseudo_objects_")

    @available_if(_segmenter_has("predict"))
    def predict(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the label image of each image, as the segmenter does.

        With ``class_source="stain"`` and several classes, nuclei of chromogens are
        those of the labeler.
        """
        return self._predict(X)

    def _predict(self, X, *, warns: bool = True):
        masks = self._fitted_segmenter(X if warns else None, 5).predict(X)
        n_classes = len(self._stains())
        if not n_classes or any(np.ndim(mask) != 3 for mask in masks):
            return masks  # not by stain, or a segmenter of no classes
        with warnings.catch_warnings():
            if self.labeler is None:  # then it is told already, in our name
                warnings.filterwarnings("ignore", ".* do not look like the stains")
            stained = self.labeler_.predict(X)
        images = self._check_images(X, reset=False)
        merged = []
        for image, mask, own in zip(images, masks, stained, strict=True):
            rows, columns = inner_box(image[..., :3])
            inside = np.zeros_like(mask)  # in a black border is no nucleus
            inside[rows, columns] = mask[rows, columns]
            merged.append(put_stained_first(inside, own, n_classes))
        return images.wrap(merged)

    @available_if(_segmenter_has("predict_proba"))
    def predict_proba(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the class probabilities of each pixel, as the segmenter does."""
        return self._fitted_segmenter(X).predict_proba(X)

    @available_if(_segmenter_has("detect"))
    def detect(self, X) -> list[np.ndarray]:
        """Return the points of each image, as the segmenter does; see `predict`."""
        if self._stains():
            return [mask_points(mask) for mask in self._predict(X)]
        return self._fitted_segmenter(X).detect(X)

    @available_if(_segmenter_has("score"))
    def score(self, X, y) -> float:
        """Return the segmenter's score, the aggregated Jaccard index by default.

        Where the stain tells classes it is that index of what `predict` returns, the
        mean over the classes.
        """
        stains = self._stains()
        if not stains:
            return self._fitted_segmenter().score(X, y)
        masks = check_masks(y, None, caller=f"{type(self).__name__}.score")
        found = list(self._predict(X, warns=False))
        return class_jaccard(masks, found, np.arange(1, len(stains) + 1))

    def _stains(self) -> list[str]:
        """Return the classes that the stain tells in prediction, if it does."""
        check_is_fitted(self)
        clusterer = clusterer_of(self.labeler_)
        if self.class_source != "stain" or clusterer is None:
            return []
        if not hasattr(self.segmenter_, "classes_"):
            return []
        return clusterer.class_names_ if len(clusterer.class_names_) > 1 else []

    def _fitted_segmenter(self, X=None, stacklevel: int = 4):
        """Return the segmenter; images of another staining are warned of."""
        check_is_fitted(self)
        if X is not None and self.labeler is None and self.classes is not None:
            images = self._check_images(X, reset=False)
            warn_of_staining(images, self.classes, type(self).__name__, stacklevel)
        return self.segmenter_


def default_segmenter(classes, **options) -> NucleiSegmenter:
    """Return the unfitted segmenter that is the default for these classes."""
    segmenter = NucleiSegmenter(**options)
    if n_classes_of(classes) > 1:
        segmenter.set_params(threshold=_THRESHOLD_OF_CLASSES, nucleus_diameter="auto")
    return segmenter
