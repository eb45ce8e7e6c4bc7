# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks of estimators that train: our own, and scikit-learn's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from sklearn.base import BaseEstimator

from psmlearn._sklearn_compat import CallbackSupportMixin, has_callbacks

__all__ = ["CallbackMixin", "EpochHooks"]


class _EpochCallback:
    """A callback of ours, in the form that scikit-learn keeps and hands on."""

    def __init__(self, on_epoch_end: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.on_epoch_end = on_epoch_end

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing: it is asked at the end of epochs only."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


class CallbackMixin(CallbackSupportMixin):
    """Adds `set_callbacks` to an estimator that trains in epochs."""

    _skl_callbacks: list[Any]

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set what is called while the estimator trains; it is no parameter.

        Clones keep callbacks, pickles do not.

        Parameters
        ----------
        *callbacks : object or callable
            Objects with ``on_epoch_end(estimator, logs)``, or such functions. `logs`
            has "epoch" (from 1), "loss" and, with early stopping, "validation_loss".
            What returns True stops training after this epoch. Callbacks of
            scikit-learn (`sklearn.callback`, from 1.9 on) are taken, too: each epoch
            is a task. None at all removes those that were set.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError
            If one is no callback.

        Examples
        --------
        >>> from psmlearn import NucleiSegmenter
        >>> from psmlearn.datasets import make_nuclei
        >>> data = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
        >>> model = NucleiSegmenter(max_epochs=9, steps_per_epoch=1, patch_size=32)
        >>> def stop_at_two(estimator, logs):
        ...     return logs["epoch"] == 2
        >>> model.set_callbacks(stop_at_two).fit(data.images, data.masks).n_epochs_
        2
        """
        kept = [_as_callback(each) for each in callbacks]
        if kept:
            self._skl_callbacks = kept
        else:
            self.__dict__.pop("_skl_callbacks", None)
        return self

    def __sklearn_clone__(self) -> Any:
        copy = BaseEstimator.__sklearn_clone__(self)
        if "_skl_callbacks" in self.__dict__:
            copy._skl_callbacks = self._skl_callbacks
        return copy


def _as_callback(given: Any) -> Any:
    """Return a callback in the form of scikit-learn."""
    if not isinstance(given, type):
        if isinstance(given, _EpochCallback):
            return given
        if callable(getattr(given, "on_epoch_end", None)):
            return _EpochCallback(given.on_epoch_end)
        hooks = ("setup", "teardown", "on_fit_task_begin", "on_fit_task_end")
        if has_callbacks and all(callable(getattr(given, h, None)) for h in hooks):
            return given
        if callable(given):
            return _EpochCallback(given)
    raise TypeError(
        f"{given!r} is no callback: expected an object with on_epoch_end(estimator, "
        "logs), such a function, or a callback of scikit-learn 1.9 or newer."
    )


class EpochHooks:
    """What is called before and after each epoch of one training.

    Parameters
    ----------
    estimator : estimator with CallbackMixin
    max_epochs : int
    """

    def __init__(self, estimator: Any, max_epochs: int) -> None:
        self._estimator = estimator
        given = getattr(estimator, "_skl_callbacks", [])
        self._own = [each for each in given if isinstance(each, _EpochCallback)]
        self._root: Any = None
        self._task: Any = None
        # scikit-learn's meta-estimators want their context told in any case.
        if has_callbacks and (given or hasattr(estimator, "_parent_callback_ctx")):
            self._root = estimator._init_callback_context(max_subtasks=max_epochs)
            self._root.call_on_fit_task_begin(estimator=estimator)

    def begin(self) -> None:
        """Call what is to be called before an epoch."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self._estimator)

    def end(self, logs: dict[str, Any]) -> bool:
        """Call what is to be called after an epoch; return whether to stop."""
        answers = [each.on_epoch_end(self._estimator, dict(logs)) for each in self._own]
        stops = any(answer is True for answer in answers)
        if self._task is not None:
            stops |= self._task.call_on_fit_task_end(estimator=self._estimator)
        return stops

    def close(self) -> None:
        """Call what is to be called when all epochs are done."""
        if self._root is not None:
            self._root.call_on_fit_task_end(estimator=self._estimator)
