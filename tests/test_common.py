# SPDX-License-Identifier: BSD-3-Clause
"""Both suites of checks over every estimator: psmlearn's and scikit-learn's."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import (
    check_param_validation,
    parametrize_with_checks,
)
from small_estimators import (
    SMALL,
    SMALL_TABLE,
    make_more_variants,
    make_small,
    make_variants,
)
from sweeps import slow_but
from tabular_adapter import as_tabular

from psmlearn import NucleiSegmenter, SemanticClusterer
from psmlearn.utils.estimator_checks import parametrize_with_image_checks

ESTIMATORS = [make_small(estimator_class) for estimator_class in SMALL]
# SemanticClusterer comes twice: on images by the adapter, and on tables as it is.
TABULAR = [
    *(as_tabular(make_small(cls, **SMALL_TABLE[cls])) for cls in SMALL),
    make_small(SemanticClusterer),
]

# Checks that must fail, each with its reason, by the kind of estimator.
EXPECTED_FAILURES = {
    # scikit-learn's suite
    "TabularSemanticClusterer": {
        "check_clustering": "the clusters are of pixels within images, not of the "
        "images that stand for rows; the table itself passes, as SemanticClusterer",
    },
    # psmlearn's suite
    "Pipeline": {
        "check_parameters": "scikit-learn's Pipeline fits its steps in place",
    },
    "NucleiSegmenter, voronoi": {
        "check_interrupt": "interrupted in its first stage, which trains the "
        "detector, the segmenter has no network yet",
    },
}


# scikit-learn's checks that take the most time: one estimator in the plain suite.
DEAR = (
    "check_clustering",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
)

# What variants differ in, and what is known to fail.
OF_VARIANTS = (
    "check_bad_masks_refused",
    "check_interrupt",
    "check_label_free",
    "check_list_equals_array",
    "check_output_contract",
    "check_parameters",
    "check_pickle",
    "check_seed_repeats",
    "check_tiles",
    "check_warm_start",
)


def expected_failures(estimator) -> dict[str, str]:
    name = type(estimator).__name__
    if getattr(estimator, "targets", None) == "voronoi":
        name = f"{name}, voronoi"
    return EXPECTED_FAILURES.get(name, {})


def _listed(decorator):
    """Turn the generator of older versions of scikit-learn into a list."""
    names, found = decorator.args
    return pytest.mark.parametrize(names, list(found), **decorator.kwargs)


@parametrize_with_image_checks(ESTIMATORS)
def test_image_contract(estimator, check):
    check(estimator)


@slow_but(
    lambda _, check: check in OF_VARIANTS,
    parametrize_with_image_checks(
        make_variants(), expected_failed_checks=expected_failures
    ),
)
def test_image_contract_of_variants(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_image_checks(
    make_more_variants(), expected_failed_checks=expected_failures
)
def test_image_contract_of_more_variants(estimator, check):
    check(estimator)


def _is_plain(estimator, check: str) -> bool:
    kind = type(estimator)
    return (
        kind is SemanticClusterer or kind._real is NucleiSegmenter or check not in DEAR
    )


@slow_but(
    _is_plain,
    _listed(parametrize_with_checks(TABULAR, expected_failed_checks=expected_failures)),
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", TABULAR, ids=lambda item: type(item).__name__)
def test_every_parameter_is_checked_in_fit(estimator):
    adapter = type(estimator)
    kept, real = adapter.__name__, getattr(adapter, "_real", adapter).__name__
    adapter.__name__ = real  # messages name the real class
    try:
        check_param_validation(real, estimator)
    finally:
        adapter.__name__ = kept
