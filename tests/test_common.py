# SPDX-License-Identifier: BSD-3-Clause
"""Both suites of checks over every estimator: psmlearn's and scikit-learn's."""

from __future__ import annotations

from small_estimators import SMALL, make_small

from psmlearn.utils.estimator_checks import parametrize_with_image_checks

ESTIMATORS = [make_small(estimator_class) for estimator_class in SMALL]


@parametrize_with_image_checks(ESTIMATORS)
def test_image_contract(estimator, check):
    check(estimator)
