# SPDX-License-Identifier: BSD-3-Clause
"""Sweeps of checks: the plain suite runs a few of them, the slow part all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sklearn.base import BaseEstimator


def slow_but(
    plain: Callable[[BaseEstimator, str], bool], decorator: pytest.MarkDecorator
) -> pytest.MarkDecorator:
    """Mark as slow all checks of estimators that are not `plain`, by name."""
    names, cases = decorator.args
    chosen = []
    for case in cases:
        values, marks = getattr(case, "values", case), getattr(case, "marks", ())
        check = values[1]
        while isinstance(check, partial):
            check = check.func
        if not plain(values[0], check.__name__):
            marks = [*marks, pytest.mark.slow]
        chosen.append(pytest.param(*values, marks=marks, id=getattr(case, "id", None)))
    assert any(pytest.mark.slow not in case.marks for case in chosen)
    return pytest.mark.parametrize(names, chosen, **decorator.kwargs)
