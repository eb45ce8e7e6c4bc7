# SPDX-License-Identifier: BSD-3-Clause
"""What the package takes from the private parts of scikit-learn.

scikit-learn may move these without notice: here, and nowhere else, they are looked up.
"""

from __future__ import annotations

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils.validation import _check_feature_names_in, _num_samples

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "_check_feature_names_in",
    "_fit_context",
    "_num_samples",
]


class Interval(_Interval):
    """Numbers of an interval; True and False, which Python counts with, are none."""

    def is_satisfied_by(self, val) -> bool:
        if isinstance(val, bool | np.bool_):
            return False
        try:
            return bool(super().is_satisfied_by(val) and np.isfinite(float(val)))
        except OverflowError:  # an int beyond all floats
            return False
