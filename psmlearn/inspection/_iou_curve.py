# SPDX-License-Identifier: BSD-3-Clause
"""Precision, recall and F1 of objects over the IoU that a match asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._parameters import as_list, check_flag, shown
from psmlearn._typing import Images, Masks
from psmlearn.inspection._figures import get_axes, require_fitted_method
from psmlearn.metrics._checks import (
    check_iou_threshold,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._objects import count_objects
from psmlearn.metrics._overlap import overlap
from psmlearn.metrics._scoring import (
    average_precision,
    average_scores,
    f1,
    mean_of_known,
    precision,
    recall,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_SHARES = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "average_precision": average_precision,
}
_TEXTS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
}
# Of Okabe and Ito: told apart by the colour-blind, as are the dashes.
_STYLES = {
    "precision": ("#0072b2", "--"),
    "recall": ("#e69f00", "-."),
    "f1": ("#000000", "-"),
    "average_precision": ("#009e73", ":"),
}


class PrecisionRecallIoUDisplay:
    """Precision, recall and F1 of objects over the IoU threshold of a match.

    The higher the intersection over union (IoU) that a true and a predicted object
    must exceed to match, the fewer do. A curve that starts high and falls early says
    that nuclei are found, but their outlines differ; one that starts low, that they
    are not found. Make one with :meth:`from_predictions` or :meth:`from_estimator`;
    both draw it. All parameters are stored as attributes.

    Parameters
    ----------
    iou_thresholds : ndarray of shape (n_thresholds,)
        The thresholds, ascending.
    scores : dict of str to ndarray of shape (n_images, n_thresholds)
        Scores of each image: "precision", "recall", "f1" and "average_precision".

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of str to matplotlib Line2D
        The mean over the images, by score.
    image_lines_ : list of matplotlib Line2D
        The curves of single images, thin.

    See Also
    --------
    SegmentationComparisonDisplay : Which nuclei they are.
    psmlearn.metrics.object_average_precision_score : The scores alone.

    Notes
    -----
    Average precision is that of the 2018 Data Science Bowl: matches over matches,
    missed and false objects together; its mean over the thresholds is in the legend.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.inspection import PrecisionRecallIoUDisplay
    >>> masks = make_nuclei(n_images=2, shape=(64, 64), random_state=0).masks
    >>> display = PrecisionRecallIoUDisplay.from_predictions(masks, masks)
    >>> display.scores["f1"].shape
    (2, 10)
    >>> display.ax_.get_xlabel()
    'IoU threshold of a match'
    """

    def __init__(
        self,
        iou_thresholds: np.ndarray,
        scores: Mapping[str, np.ndarray],
    ) -> None:
        self.iou_thresholds = iou_thresholds
        self.scores = scores

    def plot(
        self,
        ax: Axes | None = None,
        *,
        metrics: Sequence[str] = ("precision", "recall", "f1", "average_precision"),
        show_images: bool = True,
        title: str | None = None,
    ) -> PrecisionRecallIoUDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        metrics : sequence of str
            Which scores; all four by default.
        show_images : bool, default=True
            Whether to draw the curves of single images, thin, behind the mean.
        title : str, default=None
            The title; the number of images if None.

        Returns
        -------
        display : PrecisionRecallIoUDisplay
            This object.
        """
        chosen = as_list(metrics, "metrics", f"some of {list(_SHARES)}")
        unknown = [each for each in chosen if each not in self.scores]
        if unknown or not chosen:
            raise ValueError(
                f"metrics must be some of {list(self.scores)}, got {shown(metrics)}."
            )
        check_flag(show_images, "show_images")
        self.figure_, self.ax_ = get_axes(ax, layout="constrained")
        thresholds = np.asarray(self.iou_thresholds)
        self.lines_: dict[str, Line2D] = {}
        self.image_lines_: list[Line2D] = []
        for metric in chosen:
            self._draw(metric, thresholds, show_images)
        self.ax_.set_xlabel("IoU threshold of a match")
        self.ax_.set_ylabel("score")
        self.ax_.set_ylim(-0.02, 1.02)
        n_images = len(next(iter(self.scores.values())))
        images = f"mean of {n_images} images" if n_images > 1 else "one image"
        self.ax_.set_title(images if title is None else title)
        self.ax_.grid(alpha=0.25)
        self.ax_.legend(loc="best", framealpha=0.9)
        return self

    def _draw(self, metric: str, thresholds: np.ndarray, show_images: bool) -> None:
        """Draw one score: its mean, and thin what the mean is of."""
        scores = np.asarray(self.scores[metric])
        color, style = _STYLES.get(metric, ("0.3", "-"))
        if show_images and len(scores) > 1:
            for score in scores:
                self.image_lines_ += self.ax_.plot(
                    thresholds, score, color=color, linewidth=0.6, alpha=0.3, zorder=1
                )
        mean = np.asarray(mean_of_known(scores))
        label = _TEXTS.get(metric, metric)
        if metric == "average_precision":
            label += f" (mean {np.mean(mean):.3f})"
        (self.lines_[metric],) = self.ax_.plot(
            thresholds,
            mean,
            color=color,
            linestyle=style,
            linewidth=2,
            marker="o",
            markersize=4,
            label=label,
            zorder=2 if metric == "f1" else 3,  # it may be all of them
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Masks,
        y_pred: Masks,
        *,
        iou_thresholds: Sequence[float] | np.ndarray | None = None,
        zero_division: float = 1.0,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> PrecisionRecallIoUDisplay:
        """Draw the curves of given label images.

        Parameters
        ----------
        y_true, y_pred : list of arrays or paths, array or path
            True and predicted label images, as the scores of
            :mod:`psmlearn.metrics` take them; classes do not count.
        iou_thresholds : sequence of float, default=None
            Thresholds in [0, 1); None is 0.5 to 0.95 in steps of 0.05.
        zero_division : {0.0, 1.0, np.nan}, default=1.0
            Score of an image where there is nothing to score.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : PrecisionRecallIoUDisplay
        """
        given: Any = _THRESHOLDS if iou_thresholds is None else iou_thresholds
        thresholds = np.sort(np.atleast_1d(check_iou_threshold(given, lowest=0.0)))
        zero_division = check_zero_division(zero_division)
        pairs = check_pairs(y_true, y_pred)
        counts = np.array([count_objects(overlap(pair), thresholds) for pair in pairs])
        scores = {
            name: np.asarray(average_scores(counts, None, zero_division, share))
            for name, share in _SHARES.items()
        }
        display = cls(thresholds, scores)
        return display.plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Images,
        y: Masks,
        *,
        iou_thresholds: Sequence[float] | np.ndarray | None = None,
        zero_division: float = 1.0,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> PrecisionRecallIoUDisplay:
        """Segment images with a fitted estimator and draw the curves.

        Parameters
        ----------
        estimator : estimator with ``predict``
            A fitted segmenter, clusterer or pipeline that ends in one.
        X : ndarray of shape (n_images, height, width, n_channels), or list
            The images.
        y : label images
            Their true label images.
        iou_thresholds : sequence of float, default=None
            Thresholds in [0, 1); None is 0.5 to 0.95 in steps of 0.05.
        zero_division : {0.0, 1.0, np.nan}, default=1.0
            Score of an image where there is nothing to score.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : PrecisionRecallIoUDisplay
        """
        require_fitted_method(estimator, "predict")
        return cls.from_predictions(
            y,
            estimator.predict(X),
            iou_thresholds=iou_thresholds,
            zero_division=zero_division,
            ax=ax,
            **plot_options,
        )
