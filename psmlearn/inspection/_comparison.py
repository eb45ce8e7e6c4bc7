# SPDX-License-Identifier: BSD-3-Clause
"""Truth and prediction on one image: found, missed and false nuclei."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._parameters import shown
from psmlearn.inspection._figures import get_axes, get_image, require_fitted_method
from psmlearn.inspection._overlay import check_class_colors, overlay_labels
from psmlearn.io._masks import load_mask
from psmlearn.metrics._checks import check_iou_threshold, check_pairs
from psmlearn.metrics._objects import ObjectMatches, match_objects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Apart in lightness and on the blue to yellow axis, which all kinds of colour vision
# keep, and none close to pink, purple, brown, blue or paper.
COMPARISON_COLORS = {
    "found": (0, 229, 255),
    "missed": (255, 225, 25),
    "false": (255, 61, 0),
}
_NUMBERS = {"found": 1, "false": 2, "missed": 3}


def only(ids: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return a label image with no objects but those of some ids."""
    present, place = np.unique(ids, return_inverse=True)
    values = np.where(np.isin(present, kept), present, 0)
    return values[place].reshape(ids.shape)


def one_threshold(iou_threshold: float) -> float:
    """Check one threshold in [0, 1)."""
    threshold = check_iou_threshold(iou_threshold, lowest=0.0)
    if threshold.ndim:
        raise ValueError(
            f"iou_threshold must be one number, got {shown(iou_threshold)}."
        )
    return float(threshold)


class SegmentationComparisonDisplay:
    """Nuclei that were found, missed and falsely found, on their image.

    A true and a predicted nucleus are the same if their intersection over union is
    above a threshold; no nucleus is matched twice, and there are as many matches as
    can be: those of :func:`psmlearn.metrics.object_f1_score`. Of found and false
    nuclei the predicted outline is drawn, of missed ones the true one. Make one with
    :meth:`from_predictions` or :meth:`from_estimator`; both draw it. All parameters
    are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, n_channels)
        The image.
    true_labels : ndarray of shape (height, width) or (height, width, 2)
        Label image of the true nuclei. Classes do not count; what is unknown (-1) in
        either of the two is not compared.
    labels : ndarray of shape (height, width) or (height, width, 2)
        Label image of the predicted nuclei.
    iou_threshold : float, default=0.5
        Intersection over union above which two nuclei are the same, in [0, 1).

    Attributes
    ----------
    found_, missed_, false_ : ndarray of int64
        Ids of the predicted nuclei that match a true one, of the true ones that none
        matches, and of the predicted ones that match none.
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    im_ : matplotlib AxesImage
        The picture.

    See Also
    --------
    PrecisionRecallIoUDisplay : How many are found at which threshold.
    psmlearn.metrics.segmentation_report : All scores.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.inspection import SegmentationComparisonDisplay
    >>> data = make_nuclei(n_images=1, shape=(64, 64), n_nuclei=5, random_state=0)
    >>> labels = data.masks[0].copy()
    >>> labels[labels == 2] = 0
    >>> display = SegmentationComparisonDisplay.from_predictions(
    ...     data.images[0], data.masks[0], labels)
    >>> display.missed_
    array([2])
    >>> display.ax_.get_title()
    'precision 1.000, recall 0.800, F1 0.889'
    """

    found_: np.ndarray
    missed_: np.ndarray
    false_: np.ndarray

    def __init__(
        self,
        image: np.ndarray,
        true_labels: np.ndarray,
        labels: np.ndarray,
        *,
        iou_threshold: float = 0.5,
    ) -> None:
        self.image = image
        self.true_labels = true_labels
        self.labels = labels
        self.iou_threshold = iou_threshold

    def plot(
        self,
        ax: Axes | None = None,
        *,
        colors: Mapping[str, Sequence[int]] | None = None,
        thickness: int | None = None,
        title: str | None = None,
    ) -> SegmentationComparisonDisplay:
        """Draw the outlines, and a legend with the numbers of nuclei.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        colors : dict of str to three integers, default=None
            Colours of "found", "missed" and "false", red, green and blue from 0 to
            255, in place of the own ones: cyan, yellow and red, which the colour-blind
            tell apart as well.
        thickness : int, default=None
            Width of the outlines in pixels; by the size of the image if None.
        title : str, default=None
            The title; precision, recall and F1 if None.

        Returns
        -------
        display : SegmentationComparisonDisplay
            This object.

        Raises
        ------
        ValueError
            If sizes differ, or a parameter makes no sense.
        """
        chosen = {**COMPARISON_COLORS, **_checked_colors(colors)}
        (pair,) = check_pairs([self.true_labels], [self.labels])
        matches = match_objects(pair, one_threshold(self.iou_threshold))
        self.found_, self.missed_, self.false_ = (
            matches.found,
            matches.missed,
            matches.false,
        )
        height, width = pair.true.shape
        if thickness is None:
            thickness = max(1, round(max(height, width) / 500))
        picture = self.image
        for kind, ids in (
            ("found", only(pair.pred, self.found_)),
            ("false", only(pair.pred, self.false_)),
            ("missed", only(pair.true, self.missed_)),
        ):
            picture = overlay_labels(
                picture, ids, color=chosen[kind], thickness=thickness
            )
        tall = float(np.clip(6.5 * height / width, 2.0, 12.0)) + 0.9
        self.figure_, self.ax_ = get_axes(ax, figsize=(6.5, tall), layout="constrained")
        self.im_ = self.ax_.imshow(picture)
        self.ax_.set_axis_off()
        self.ax_.set_title(_scores(matches) if title is None else title)
        self._add_legend(chosen)
        return self

    def _add_legend(self, colors: Mapping[str, Sequence[int]]) -> None:
        """Say below the picture which colour is which, and how many there are."""
        from matplotlib.patches import Patch

        handles = [
            Patch(
                facecolor=_for_matplotlib(colors[kind]),
                edgecolor="0.3",
                label=f"{kind} ({len(ids)})",
            )
            for kind, ids in (
                ("found", self.found_),
                ("missed", self.missed_),
                ("false", self.false_),
            )
        ]
        self.ax_.legend(
            handles=handles,
            title=f"match: IoU > {self.iou_threshold:g}",
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=3,
            frameon=False,
        )

    @classmethod
    def from_predictions(
        cls,
        image: np.ndarray | str | os.PathLike,
        true_labels: np.ndarray | str | os.PathLike,
        labels: np.ndarray | str | os.PathLike,
        *,
        iou_threshold: float = 0.5,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> SegmentationComparisonDisplay:
        """Compare a given label image with the true one.

        Parameters
        ----------
        image : ndarray or path
            One image.
        true_labels : ndarray of shape (height, width) or (height, width, 2), or path
            Its true label image.
        labels : ndarray of shape (height, width) or (height, width, 2), or path
            Its predicted label image.
        iou_threshold : float, default=0.5
            Intersection over union above which two nuclei are the same, in [0, 1).
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : SegmentationComparisonDisplay
        """
        display = cls(
            get_image(image),
            load_mask(true_labels, "true_labels"),
            load_mask(labels, "labels"),
            iou_threshold=iou_threshold,
        )
        return display.plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: np.ndarray | str | os.PathLike,
        true_labels: np.ndarray | str | os.PathLike,
        *,
        iou_threshold: float = 0.5,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> SegmentationComparisonDisplay:
        """Segment one image with a fitted estimator and compare with the truth.

        Parameters
        ----------
        estimator : estimator with ``predict``
            A fitted segmenter, clusterer or pipeline that ends in one.
        image : ndarray or path
            One image.
        true_labels : ndarray of shape (height, width) or (height, width, 2), or path
            Its true label image.
        iou_threshold : float, default=0.5
            Intersection over union above which two nuclei are the same, in [0, 1).
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : SegmentationComparisonDisplay
        """
        require_fitted_method(estimator, "predict")
        pixels = get_image(image)
        labels = estimator.predict([pixels])[0]
        return cls.from_predictions(
            pixels,
            true_labels,
            labels,
            iou_threshold=iou_threshold,
            ax=ax,
            **plot_options,
        )


def _checked_colors(
    colors: Mapping[str, Sequence[int]] | None,
) -> dict[str, Sequence[int]]:
    """Refuse colours of anything else than the three kinds."""
    if colors is None:
        return {}
    if not isinstance(colors, Mapping) or not set(colors) <= set(COMPARISON_COLORS):
        raise ValueError(
            "colors must be a dict with the keys 'found', 'missed' and 'false', or "
            f"some of them, got {shown(colors)}."
        )
    check_class_colors({_NUMBERS[kind]: color for kind, color in colors.items()})
    return dict(colors)


def _for_matplotlib(color: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (float(part) / 255 for part in color)
    return red, green, blue


def _scores(matches: ObjectMatches) -> str:
    """Write precision, recall and F1; a dash where there is nothing to score."""
    n_true, n_pred = matches.true_ids.size, matches.pred_ids.size
    n_found = matches.found.size
    parts = []
    for name, total in (
        ("precision", n_pred),
        ("recall", n_true),
        ("F1", (n_true + n_pred) / 2),
    ):
        parts.append(f"{name} {n_found / total:.3f}" if total else f"{name} –")
    return ", ".join(parts)
