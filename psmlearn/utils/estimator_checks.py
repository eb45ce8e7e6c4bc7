# SPDX-License-Identifier: BSD-3-Clause
"""Checks that an estimator keeps psmlearn's contract for images.

scikit-learn's ``check_estimator`` skips estimators that take no tables. These checks
are its counterpart for estimators that take images: transformers (``transform``),
segmenters (``predict`` gives label images) and detectors (``predict`` gives points).
Each check is a function ``check_...(name, estimator)`` that raises where the
estimator breaks the contract; which ones apply is read off the estimator's methods,
parameters and tags. The images are RGB; give the estimator small settings (one epoch
of one step, a tiny network), for it is fitted some hundred times.

An estimator whose ``fit`` cannot do without masks says so by its tags,
``target_tags.required``; all others are checked to learn the same whatever y is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import pytest

from psmlearn.utils._check_tools import has_network, has_parameter, needs_masks
from psmlearn.utils._input_checks import (
    check_all_background,
    check_bad_masks_refused,
    check_bad_values_refused,
    check_container_kept,
    check_empty_refused,
    check_grey_images,
    check_input_unchanged,
    check_label_free,
    check_list_equals_array,
    check_memory_layouts,
    check_odd_sizes,
    check_one_image,
    check_output_contract,
    check_paths_equal_arrays,
    check_ragged_sizes,
    check_single_image_refused,
    check_uint8_equals_float,
    check_unfitted,
    check_unreadable_refused,
    check_wrong_channels_refused,
)
from psmlearn.utils._network_checks import (
    check_absent_device,
    check_hooks_released,
    check_interrupt,
    check_memory_released,
    check_partial_fit,
    check_template_kept,
    check_tiles,
    check_warm_start,
)
from psmlearn.utils._state_checks import (
    check_cached_pipeline,
    check_clone_drops_state,
    check_fit_returns_self,
    check_fit_transform,
    check_fit_twice,
    check_global_state_untouched,
    check_grad_modes,
    check_hash,
    check_images_not_kept,
    check_memory_map,
    check_nothing_printed,
    check_parameters,
    check_pickle,
    check_seed_repeats,
    check_threads,
)

Check = Callable[[str, BaseEstimator], None]
ExpectedFailures = Callable[[BaseEstimator], dict[str, str]]

_FOR_ALL: list[Check] = [
    check_parameters,
    check_unfitted,
    check_fit_returns_self,
    check_clone_drops_state,
    check_list_equals_array,
    check_ragged_sizes,
    check_odd_sizes,
    check_one_image,
    check_paths_equal_arrays,
    check_uint8_equals_float,
    check_grey_images,
    check_memory_layouts,
    check_container_kept,
    check_output_contract,
    check_input_unchanged,
    check_single_image_refused,
    check_bad_values_refused,
    check_empty_refused,
    check_unreadable_refused,
    check_wrong_channels_refused,
    check_all_background,
    check_fit_twice,
    check_fit_transform,
    check_seed_repeats,
    check_global_state_untouched,
    check_nothing_printed,
    check_pickle,
    check_memory_map,
    check_hash,
    check_images_not_kept,
    check_threads,
    check_cached_pipeline,
]


def _is_label_free(estimator: BaseEstimator) -> bool:
    return not needs_masks(estimator)


_FOR_SOME: list[tuple[Check, Callable[[BaseEstimator], bool]]] = [
    (check_bad_masks_refused, needs_masks),
    (check_label_free, _is_label_free),
    (check_grad_modes, has_network),
    (check_hooks_released, has_network),
    (check_memory_released, has_network),
    (check_absent_device, has_network),
    (check_interrupt, has_network),
    (check_template_kept, has_parameter("network")),
    (check_tiles, has_parameter("tile_size")),
    (check_warm_start, has_parameter("warm_start")),
    (check_partial_fit, lambda estimator: hasattr(estimator, "partial_fit")),
]

__all__ = [
    "check_image_estimator",
    "image_checks",
    "parametrize_with_image_checks",
    *sorted(check.__name__ for check in _FOR_ALL),
    *sorted(check.__name__ for check, _ in _FOR_SOME),
]


def image_checks(estimator: BaseEstimator) -> list[Check]:
    """List the checks that apply to an estimator.

    Parameters
    ----------
    estimator : estimator instance

    Returns
    -------
    list of callable
        Functions ``check(name, estimator)`` that raise where the contract is broken.

    Examples
    --------
    >>> from psmlearn import SemanticClusterer
    >>> from psmlearn.utils.estimator_checks import image_checks
    >>> [check.__name__ for check in image_checks(SemanticClusterer())][:2]
    ['check_parameters', 'check_unfitted']
    """
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise TypeError(
            f"An instance of an estimator is expected, with its get_params; got "
            f"{estimator!r}."
        )
    chosen = [check for check, applies in _FOR_SOME if applies(estimator)]
    return [*_FOR_ALL, *chosen]


def _failures_of(
    estimator: BaseEstimator, expected_failed_checks: dict[str, str] | None
) -> dict[str, str]:
    expected = dict(expected_failed_checks or {})
    known = {check.__name__ for check in image_checks(estimator)}
    unknown = sorted(set(expected) - known)
    if unknown:
        raise ValueError(
            f"expected_failed_checks names {', '.join(unknown)}, which "
            f"{type(estimator).__name__} is not checked for."
        )
    return expected


def check_image_estimator(
    estimator: BaseEstimator,
    *,
    expected_failed_checks: dict[str, str] | None = None,
) -> list[str]:
    """Run every check that applies to an estimator.

    Parameters
    ----------
    estimator : estimator instance
        With small settings; it is cloned, never fitted itself.
    expected_failed_checks : dict of {str: str}, default=None
        Names of checks that must fail, each with the reason.

    Returns
    -------
    list of str
        Names of the checks that passed.

    Raises
    ------
    AssertionError
        If a check fails, or an expected failure passes.
    Exception
        Whatever the estimator raised in a check.

    Examples
    --------
    >>> from psmlearn import SemanticClusterer
    >>> from psmlearn.utils.estimator_checks import check_list_equals_array
    >>> check_list_equals_array("SemanticClusterer", SemanticClusterer(n_samples=500))
    """
    name = type(estimator).__name__
    expected = _failures_of(estimator, expected_failed_checks)
    passed = []
    for check in image_checks(estimator):
        reason = expected.get(check.__name__)
        if reason is None:
            check(name, estimator)
            passed.append(check.__name__)
        elif not _fails(check, name, estimator):
            raise AssertionError(
                f"{check.__name__} was expected to fail for {name} ({reason}); it "
                "passed: take it off expected_failed_checks."
            )
    return passed


def _fails(check: Check, name: str, estimator: BaseEstimator) -> bool:
    try:
        check(name, estimator)
    except Exception:  # whatever the estimator raises is a failure
        return True
    return False


def parametrize_with_image_checks(
    estimators: Sequence[BaseEstimator],
    *,
    expected_failed_checks: ExpectedFailures | None = None,
) -> pytest.MarkDecorator:
    """Make a pytest decorator that runs each check as a test of its own.

    Parameters
    ----------
    estimators : list of estimator instances
        With small settings.
    expected_failed_checks : callable, default=None
        Takes an estimator and returns a dict of names of checks that must fail,
        each with the reason; they become strict xfails.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments `estimator` and `check`.

    Examples
    --------
    >>> from psmlearn import SemanticClusterer
    >>> from psmlearn.utils.estimator_checks import parametrize_with_image_checks
    >>> @parametrize_with_image_checks([SemanticClusterer(n_samples=500)])
    ... def test_image_checks(estimator, check):
    ...     check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        name = type(estimator).__name__
        told = expected_failed_checks(estimator) if expected_failed_checks else None
        expected = _failures_of(estimator, told)
        for check in image_checks(estimator):
            reason = expected.get(check.__name__)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            cases.append(
                pytest.param(
                    estimator,
                    partial(check, name),
                    marks=marks,
                    id=f"{name}-{check.__name__}",
                )
            )
    return pytest.mark.parametrize("estimator, check", cases)
