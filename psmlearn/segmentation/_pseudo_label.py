# SPDX-License-Identifier: BSD-3-Clause
"""Training of a segmenter on the masks of a labeler, without labels."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._checks import is_own_range
from psmlearn._progress import announce, stages
from psmlearn._sklearn_compat import HasMethods, Interval, StrOptions, _fit_context
from psmlearn._typing import ImageLabels, Images, Masks, PixelSize, RandomState
from psmlearn.base import (
    RANDOM_STATE,
    UNIT_RANGE,
    VOXEL_SIZE,
    BaseImageEstimator,
    NetworkEstimator,
)
from psmlearn.cluster._classes import Classes, warn_of_staining
from psmlearn.io._batch import ImageBatch, check_images, check_masks
from psmlearn.segmentation._classes import (
    class_jaccard,
    forget_unsure_classes,
    ids_of,
    mask_points,
)
from psmlearn.segmentation._defaults import (
    default_labeler,
    default_rounds,
    default_segmenter,
)
from psmlearn.segmentation._labelers import (
    as_labeler,
    check_image_labels,
    fit_labeler,
    for_part,
    last_step,
    value_range_of,
)
from psmlearn.segmentation._pixels import MaskSegmenter
from psmlearn.segmentation._rounds import check_warm_rounds, one_round
from psmlearn.segmentation._slide_fields import (
    fields_of,
    pixel_size_of_fields,
    slides_among,
)
from psmlearn.segmentation._stain_classes import StainedNuclei

__all__ = ["PseudoLabelSegmenter", "chain_stages"]

_OWN_MASKS = "own masks"


@dataclass(frozen=True)
class _Frozen:
    """The range of images that was checked in `fit`."""

    value_range: tuple[float, float] | None


def _segmenter_has(name: str):
    def check(self) -> bool:
        segmenter = getattr(self, "segmenter_", self.segmenter)
        return segmenter is None or hasattr(segmenter, name)

    return check


class PseudoLabelSegmenter(MetaEstimatorMixin, BaseImageEstimator):
    """Find nuclei without labels: a labeler makes masks, a segmenter learns them.

    Parameters
    ----------
    labeler : estimator or callable, default=None
        Its ``fit(X)`` and ``predict(X)`` give label images; where it has a
        ``fit_predict(X)``, that gives those of the training images. A plain function
        takes a list of images, each (height, width, n_channels) float32, integers
        scaled to [0, 1], and returns a label image of each. An estimator that learns
        from labels of whole images has a keyword `image_labels` in `fit`; if in
        `fit_predict` as well, its masks of the training images are those of
        ``fit_predict``. In a Pipeline the last step gets them. None takes the pipeline
        of :class:`SelfActivationMapper` ("maps") and :class:`SemanticClusterer`
        ("clusters", with ``unsure="unknown"``); with several classes the clusterer
        alone, whose stains a map adds nothing to.
    segmenter : estimator, default=None
        Trained on what the labeler predicts. None takes :class:`NucleiSegmenter`;
        after a :class:`SemanticClusterer` its nucleus_diameter is "auto", and its
        min_area 6.0, or with several classes its threshold 0.85. After a labeler that
        learns from image labels None takes :class:`RegionSegmenter`. Images beyond
        [0, 1] need parts with ``value_range=None``; the default segmenter has that of
        the labeler.
    classes : "ki67", "he", dict or None, default=None
        Classes of cells that the default labeler tells by their stain, as in
        :class:`SemanticClusterer`: with "ki67" 1 is positive (brown) and 2 negative
        (blue), and all masks are (height, width, 2).
    class_source : {"stain", "network"}, default="stain"
        With several classes, what tells them in prediction. "stain": the labeler, if
        it is a :class:`SemanticClusterer` or a Pipeline that ends with one,
        finds the nuclei of the chromogens in the image, and the network those of the
        counterstain, which are pale and hard to tell from the ground; of these the
        labeler's count as well where the network finds nothing. "network": it tells
        all of them; `predict_proba` always is its own.
    n_rounds : int or "auto", default="auto"
        Rounds of training. From the second on the masks are the segmenter's own,
        pixels of doubt unknown; labels of images no longer play a part. "auto" is 2
        with the default labeler and segmenter of nuclei of one stain, else 1.
    warm_rounds : bool or "auto", default="auto"
        Whether rounds go on from each other, for half of the time: the first takes
        crops of five sevenths of the segmenter's `patch_size`, each later one goes on
        from its weights for a quarter of the `steps_per_epoch`. Else each round is a
        training of its own. "auto" is True with the default labeler and segmenter.
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
        1 shows progress; it reaches given parts whose own is 0.

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
        "labeler": [HasMethods(["fit", "predict"]), callable, None],
        "segmenter": [HasMethods(["fit", "predict"]), None],
        "classes": [str, dict, None],
        "class_source": [StrOptions({"stain", "network"})],
        "n_rounds": [
            Interval(Integral, 1, 1000, closed="both"),
            StrOptions({"auto"}),
        ],
        "warm_rounds": ["boolean", StrOptions({"auto"})],
        "doubt": [Interval(Real, 0, 0.5, closed="left")],
        "pixel_size": VOXEL_SIZE,
        "device": [str],
        "random_state": RANDOM_STATE,
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        labeler: Any = None,
        segmenter: BaseEstimator | None = None,
        *,
        classes: Classes | None = None,
        class_source: str = "stain",
        n_rounds: int | Literal["auto"] = "auto",
        warm_rounds: bool | Literal["auto"] = "auto",
        doubt: float = 0.15,
        pixel_size: PixelSize = 0.25,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.labeler = labeler
        self.segmenter = segmenter
        self.classes = classes
        self.class_source = class_source
        self.n_rounds = n_rounds
        self.warm_rounds = warm_rounds
        self.doubt = doubt
        self.pixel_size = pixel_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Images,
        y: object = None,
        *,
        image_labels: ImageLabels | None = None,
    ) -> PseudoLabelSegmenter:
        """Train on images alone.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images, or slides (:class:`psmlearn.io.Slide` and their paths), of which
            fields are trained on: 30 of 1,000 pixels over all slides, drawn as
            :func:`psmlearn.slides.sample_fields` does by `random_state`, at the pixel
            size of the segmenter. For others hand in what that function gives.
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
            training); or if the labeler finds nothing at all. What an earlier fit
            learnt is then there as before.
        """
        with self._keeps_what_was():
            X = self._with_fields(X, image_labels)
            images = self._check_fit_images(X)
            labeler, segmenter = self._make_parts(images)
            for part in (labeler, segmenter):
                _check_parts(part)
            if self._goes_on():
                check_warm_rounds(segmenter)
            if image_labels is not None:
                check_image_labels(image_labels, len(images), labeler)
            with stages(chain_stages(labeler, segmenter, self._n_rounds())):
                self._fit_parts(labeler, segmenter, X, images, image_labels)
        return self

    def _with_fields(self, X: Images, image_labels: ImageLabels | None) -> Images:
        """Return the images, and fields in place of slides."""
        slides, images = slides_among(X)
        if not slides:
            return X
        if image_labels is not None:
            raise ValueError(
                "image_labels: what a slide shows is not what each field of it shows; "
                "give labels of fields, such as those of psmlearn.slides.sample_fields."
            )
        size = pixel_size_of_fields(self.labeler, self.segmenter, self.pixel_size)
        return [*images, *fields_of(slides, size, self.random_state)]

    def _fit_parts(
        self,
        labeler: Any,
        segmenter: Any,
        X: Images,
        images: ImageBatch,
        image_labels: ImageLabels | None,
    ) -> None:
        """Fit the labeler, and the segmenter on its masks, round by round."""
        masks = fit_labeler(labeler, for_part(labeler, X, images), image_labels)
        n_objects = _count_objects(masks)
        if not n_objects:
            raise _nothing_found(len(images), weak=image_labels is not None)
        self.labeler_, self.segmenter_ = labeler, segmenter
        self.n_pseudo_objects_ = [n_objects]
        frozen = _Frozen(images.value_range)
        to_segment = for_part(segmenter, X, images)
        warm = self._goes_on()
        try:
            for index in range(self._n_rounds()):
                if index:
                    announce(_OWN_MASKS)
                    masks = self._own_masks(X, images)
                    self.n_pseudo_objects_.append(_count_objects(masks))
                    if not self.n_pseudo_objects_[-1]:
                        break
                with one_round(segmenter, index, masks) if warm else nullcontext():
                    segmenter.fit(to_segment, masks)
        except KeyboardInterrupt:
            if _has_learnt(segmenter) or not hasattr(self, "_frozen"):
                self._frozen = frozen
            raise
        self._frozen = frozen

    def _check_fit_images(self, X: Images) -> ImageBatch:
        """Check the images for both parts, before either is trained."""
        ranges = self._value_ranges()
        known = {each for each in ranges.values() if each != "unknown"}
        own = {each for each in known if is_own_range(each)}
        if known == {None} or (len(own) == 1 and None not in known):
            value_range = own.pop() if own else None
            return self._check_images(X, reset=True, value_range=value_range)
        try:
            return self._check_images(X, reset=True)
        except ValueError as error:
            if None in known:  # is it their range alone that one part refuses?
                check_images(X, caller=type(self).__name__, value_range=None)
                raise _refusal(ranges, error) from None
            raise

    def _value_ranges(self) -> dict[str, Any]:
        """Return the range of images that each part takes."""
        of_labeler: Any = UNIT_RANGE
        if self.labeler is not None:
            of_labeler = value_range_of(self.labeler)
        if self.segmenter is not None:
            of_segmenter = value_range_of(self.segmenter)
        else:  # the default one follows the labeler
            of_segmenter = UNIT_RANGE if isinstance(of_labeler, str) else of_labeler
        return {"labeler": of_labeler, "segmenter": of_segmenter}

    def _make_parts(self, images: ImageBatch) -> tuple[Any, Any]:
        """Return unfitted labeler and segmenter, with seeds."""
        rng = check_random_state(self.random_state)
        common: dict[str, Any] = {
            "pixel_size": self.pixel_size,
            "device": self.device,
            "verbose": self.verbose,
        }
        if self.labeler is None:
            labeler = default_labeler(images, classes=self.classes, **common)
        elif self.classes is not None:
            raise ValueError(
                f"classes={self.classes!r} is for the default labeler; tell your "
                f"{type(self.labeler).__name__} itself, such as "
                "SemanticClusterer(classes=...)."
            )
        else:
            labeler = as_labeler(self.labeler)
        if self.segmenter is None:
            segmenter = default_segmenter(labeler, **common)
        else:
            segmenter = clone(self.segmenter)
        if self.random_state is not None:
            _pass_random_state(labeler, rng)
            _pass_random_state(segmenter, rng)
        if self.verbose:
            for part in (labeler, segmenter):
                _pass_verbose(part, self.verbose)
        return labeler, segmenter

    def _n_rounds(self) -> int:
        """Return the rounds of training; what was gained by two is told in docs."""
        if self.n_rounds != "auto":
            return int(self.n_rounds)
        return default_rounds(self.classes) if self._is_default() else 1

    def _goes_on(self) -> bool:
        """Return whether later rounds go on from the weights of the first."""
        if self._n_rounds() == 1:
            return False
        if self.warm_rounds == "auto":
            return self._is_default()
        return bool(self.warm_rounds)

    def _is_default(self) -> bool:
        return self.labeler is None and self.segmenter is None

    def _own_masks(self, X: Images, images: ImageBatch) -> list[np.ndarray]:
        """Return the masks that are predicted now, with pixels of doubt unknown."""
        given = for_part(self.segmenter_, X, images)
        found, probabilities = _masks_and_probabilities(self.segmenter_, given)
        completed = self._completed(found, X, images, warns=False)
        masks = [np.array(mask) for mask in completed]
        if not self.doubt or probabilities is None:
            return masks
        stained = self._stained()
        if stained is None:
            forget_unsure_classes(masks, probabilities, 2 * self.doubt)
        # What is likely, but not enough for the segmenter's threshold, is in doubt too.
        likely = max(0.5 + self.doubt, getattr(self.segmenter_, "threshold", 0))
        for mask, proba in zip(masks, probabilities, strict=True):
            foreground = 1 - proba[..., 0]
            doubtful = foreground > 0.5 - self.doubt
            # So is what is likely, and yet no object.
            doubtful &= (foreground < likely) | (ids_of(mask) == 0)
            if stained is not None:  # the stain's nuclei are no matter of probability
                doubtful &= stained.of_network(mask)
            mask[doubtful] = -1
        return masks

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "segmenter_") and hasattr(self, "n_pseudo_objects_")

    @available_if(_segmenter_has("predict"))
    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the label image of each image, as the segmenter does.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        masks : array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per object; in the container of X. With classes
            the second plane holds that of each object.

        Notes
        -----
        With ``class_source="stain"`` and several classes, nuclei of chromogens are
        those of the labeler.
        """
        images = self._images_to_predict(X, warns=True)
        return self._masks(X, images)

    def _predict_with_proba(self, X: Images) -> tuple[Any, Any]:
        """Return what `predict` and `predict_proba` do, by one pass where it can be.

        The probabilities are None where the segmenter gives none.
        """
        images = self._images_to_predict(X, warns=True)
        given = for_part(self.segmenter_, X, images)
        found, probabilities = _masks_and_probabilities(self.segmenter_, given)
        return self._completed(found, X, images, warns=True), probabilities

    def _masks(self, X: Images, images: ImageBatch, *, warns: bool = True) -> Any:
        """Return the masks of checked images, in their container."""
        masks = self.segmenter_.predict(for_part(self.segmenter_, X, images))
        return self._completed(masks, X, images, warns=warns)

    def _completed(
        self, masks: Any, X: Images, images: ImageBatch, *, warns: bool
    ) -> Any:
        """Return the segmenter's masks, with the nuclei that the stain tells."""
        masks = _where_shown(masks, images)
        stained = self._stained()
        if stained is None:
            return masks
        given = for_part(self.labeler_, X, images)
        # Of the default labeler it is told already, in our name.
        warns = warns and self.labeler is not None
        return stained.put_first(given, images, masks, warns=warns)

    @available_if(_segmenter_has("predict_proba"))
    def predict_proba(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the class probabilities of each pixel, as the segmenter does.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        probabilities : array or list of ndarray of shape \
(height, width, 1 + n_classes), float32
            Background first; they sum to 1.
        """
        images = self._images_to_predict(X, warns=True)
        return self.segmenter_.predict_proba(for_part(self.segmenter_, X, images))

    @available_if(_segmenter_has("detect"))
    def detect(self, X: Images) -> list[np.ndarray]:
        """Return the points of each image, as the segmenter does; see `predict`.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2 or 3), float64
            Row and column in pixels, and the class where there are classes.
        """
        images = self._images_to_predict(X, warns=True)
        if self._stained() is not None:
            return [mask_points(mask) for mask in self._masks(X, images)]
        return self.segmenter_.detect(for_part(self.segmenter_, X, images))

    @available_if(_segmenter_has("score"))
    def score(self, X: Images, y: Masks) -> float:
        """Return the segmenter's score, the aggregated Jaccard index by default.

        Where the stain tells classes it is that index of what `predict` returns, the
        mean over the classes.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.
        y : array or list of ndarray of shape (height, width[, 2])
            True label images.
        """
        images = self._images_to_predict(X)
        stained = self._stained()
        if stained is None:
            return self.segmenter_.score(for_part(self.segmenter_, X, images), y)
        masks = check_masks(y, None, caller=f"{type(self).__name__}.score")
        found = list(self._masks(X, images, warns=False))
        return class_jaccard(masks, found, stained.classes)

    def _images_to_predict(self, X: Images, *, warns: bool = False) -> ImageBatch:
        """Check images once for all parts; those of another staining are warned of."""
        check_is_fitted(self)
        images = self._check_images(
            X, reset=False, value_range=self._frozen.value_range
        )
        if warns and self.labeler is None:
            warn_of_staining(images, self.classes, type(self).__name__)
        return images

    def _stained(self) -> StainedNuclei | None:
        """Return what takes nuclei from the stain in prediction, if anything does."""
        check_is_fitted(self)
        if self.class_source != "stain":
            return None
        return StainedNuclei.of(self.labeler_, self.segmenter_)


def _masks_and_probabilities(segmenter: Any, given: Any) -> tuple[Any, Any]:
    """Return what a segmenter predicts, by one pass of its network where it can.

    The probabilities are None where it gives none.
    """
    # A subclass that predicts in its own way is asked for that.
    kind, ours = type(segmenter), MaskSegmenter
    if getattr(kind, "predict", None) is ours.predict and (
        kind.predict_proba is ours.predict_proba
    ):
        return segmenter._predict_with_proba(given)
    masks = segmenter.predict(given)
    if not hasattr(segmenter, "predict_proba"):
        return masks, None
    return masks, segmenter.predict_proba(given)


def _where_shown(masks: Any, images: ImageBatch) -> Any:
    """Return the masks, 0 where their images show nothing, whoever made them."""
    shown = [images.shown(index) for index in range(len(images))]
    if all(each is None for each in shown):
        return masks
    cut = []
    for mask, seen in zip(masks, shown, strict=True):
        if seen is not None and np.asarray(mask)[~seen].any():
            mask = np.array(mask)
            mask[~seen] = 0
        cut.append(mask)
    return images.wrap(cut)


def _refusal(ranges: dict[str, Any], error: ValueError) -> ValueError:
    """Return the error for images that one part takes, and the other would not."""
    free, bound = sorted(ranges, key=lambda part: ranges[part] is not None)
    return ValueError(
        f"{error} The {free} has value_range=None and takes them, but the {bound} "
        "would refuse them: give value_range=None to both, or rescale the images."
    )


def _nothing_found(n_images: int, *, weak: bool) -> ValueError:
    """Return the error for a labeler whose masks are all empty."""
    if weak:
        return ValueError(
            f"The labeler found no object in any of the {n_images} images, so there is "
            "nothing to learn. Check that image_labels tell apart images with and "
            "without objects, look at the labeler's maps (its transform) and masks, "
            "train it for longer, or lower its demands (threshold, min_area)."
        )
    return ValueError(
        f"The labeler found no nucleus in any of the {n_images} images, so "
        "there is nothing to learn. Look at its masks (its predict), check "
        "pixel_size, or lower its demands (min_contrast, min_stain, min_area)."
    )


def _count_objects(masks: Any) -> int:
    """Return the number of objects in label images, with or without classes."""
    planes = [ids_of(np.asarray(mask)) for mask in masks]
    return int(sum(np.unique(ids[ids > 0]).size for ids in planes))


def _pass_random_state(estimator: Any, rng: np.random.RandomState) -> None:
    """Set every `random_state` of an estimator and its parts that is None."""
    parameters = estimator.get_params(deep=True)
    # What is inside comes first, so that seeds do not hang on the names of options.
    names = sorted(parameters, key=lambda name: (-name.count("__"), name))
    seeds = {
        name: int(rng.randint(np.iinfo(np.int32).max))
        for name in names
        if name.split("__")[-1] == "random_state" and parameters[name] is None
    }
    estimator.set_params(**seeds)


def _pass_verbose(estimator: Any, verbose: int) -> None:
    """Set every `verbose` of an estimator and its parts that is 0."""
    parameters = estimator.get_params(deep=True)
    silent = [
        name
        for name, value in parameters.items()
        # False is that of a Pipeline, which takes no number.
        if name.split("__")[-1] == "verbose" and value is not False and not value
    ]
    estimator.set_params(**dict.fromkeys(silent, verbose))


def chain_stages(labeler: Any, segmenter: Any, n_rounds: int) -> list[str]:
    """Return what the stages of a fit are called, in order."""
    steps = [
        getattr(step, "_stage", None)
        for part in (labeler, segmenter)
        for step in _steps_of(part)
    ]
    own = getattr(last_step(segmenter), "_stage", None)
    named = [name for name in steps if name]
    return named + [_OWN_MASKS, *([own] if own else [])] * (n_rounds - 1)


def _steps_of(part: Any) -> list[Any]:
    """Return the steps of a Pipeline, or what is none."""
    if not isinstance(part, Pipeline):
        return [part]
    return [inner for _, step in part.steps for inner in _steps_of(step)]


def _has_learnt(segmenter: Any) -> bool:
    """Tell whether an interrupted fit has left something to predict with."""
    try:
        check_is_fitted(segmenter)
    except NotFittedError:
        return False
    return getattr(last_step(segmenter), "n_epochs_", 1) > 0


def _check_parts(estimator: Any) -> None:
    """Refuse a device or a weight file that is absent before any part is trained."""
    from psmlearn._engine._device import resolve_device

    for name, value in [("", estimator), *estimator.get_params(deep=True).items()]:
        if isinstance(value, NetworkEstimator):
            value._before_work()
        if (name == "device" or name.endswith("__device")) and isinstance(value, str):
            resolve_device(value)
