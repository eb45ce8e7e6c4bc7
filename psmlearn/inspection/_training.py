# SPDX-License-Identifier: BSD-3-Clause
"""The loss of a network over its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn.inspection._figures import get_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class TrainingCurveDisplay:
    """The training loss, epoch by epoch.

    Make one with :meth:`from_estimator`, which draws it. All parameters are stored
    as attributes.

    Parameters
    ----------
    loss_curve : sequence of float
        The loss of each epoch.
    validation_loss_curve : sequence of float, default=None
        The loss on what was held out, where early stopping measured it.
    name : str, default=None
        What to call the curve in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The curve.
    validation_line_ : matplotlib Line2D or None
        The curve of what was held out, dashed.

    Examples
    --------
    >>> from psmlearn.inspection import TrainingCurveDisplay
    >>> display = TrainingCurveDisplay([0.9, 0.5, 0.4], name="segmenter").plot()
    >>> display.ax_.get_xlabel()
    'Epoch'
    """

    def __init__(
        self,
        loss_curve: Sequence[float] | np.ndarray,
        *,
        validation_loss_curve: Sequence[float] | np.ndarray | None = None,
        name: str | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name

    def plot(
        self, ax: Axes | None = None, *, name: str | None = None, **line_options: Any
    ) -> TrainingCurveDisplay:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None. Several curves may share axes.
        name : str, default=None
            What to call the curve in the legend; the display's own name if None.
        **line_options
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : TrainingCurveDisplay
            This object.
        """
        label = self.name if name is None else name
        if label is not None and not isinstance(label, str):
            raise TypeError(f"name must be a str or None, got {label!r}.")
        self.figure_, self.ax_ = get_axes(ax)
        self.line_ = self._draw(self.loss_curve, label, line_options)
        self.validation_line_ = None
        if self.validation_loss_curve is not None:
            held_out = "held out" if label is None else f"{label}, held out"
            same = {"color": self.line_.get_color(), "linestyle": "--"}
            self.validation_line_ = self._draw(
                self.validation_loss_curve, held_out, {**line_options, **same}
            )
        self.ax_.set_xlabel("Epoch")
        self.ax_.set_ylabel("Loss")
        locator: Any = self.ax_.xaxis.get_major_locator()  # any of several kinds
        locator.set_params(integer=True)
        if label is not None or self.validation_line_ is not None:
            self.ax_.legend()
        return self

    def _draw(
        self,
        losses: Sequence[float] | np.ndarray,
        label: str | None,
        line_options: dict[str, Any],
    ) -> Line2D:
        epochs = np.arange(1, len(losses) + 1)
        options = {"marker": "." if len(epochs) < 50 else "", **line_options}
        (line,) = self.ax_.plot(epochs, losses, label=label, **options)
        return line

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        ax: Axes | None = None,
        **line_options: Any,
    ) -> TrainingCurveDisplay:
        """Draw the training curve of a fitted network estimator.

        Parameters
        ----------
        estimator : estimator with ``loss_curve_``
            A fitted mapper, detector or segmenter. Of a meta-estimator or pipeline
            pass the part that was trained, such as ``model.segmenter_``.
        name : str, default=None
            What to call the curve; the name of the class if None.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **line_options
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        TypeError
            If the estimator has no ``loss_curve_``.
        """
        kind = type(estimator).__name__
        if not hasattr(estimator, "loss_curve_"):
            raise TypeError(
                f"This {kind} has no loss_curve_: fit it first; of a meta-estimator "
                "or pipeline pass the trained part, such as model.segmenter_."
            )
        curve = np.asarray(estimator.loss_curve_, dtype=float)
        held_out = getattr(estimator, "validation_loss_curve_", None)
        display = cls(
            curve,
            validation_loss_curve=held_out if held_out else None,
            name=kind if name is None else name,
        )
        return display.plot(ax, **line_options)
