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

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the one that is not there."""


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_check_feature_names_in",
    "_fit_context",
    "_num_samples",
    "has_callbacks",
]

has_callbacks = hasattr(CallbackSupportMixin, "_init_callback_context")


class Interval(_Interval):
    """Numbers of an interval; True and False, which Python counts with, are none."""

    def is_satisfied_by(self, val) -> bool:
        if isinstance(val, bool | np.bool_):
            return False
        try:
            return bool(super().is_satisfied_by(val) and np.isfinite(float(val)))
        except OverflowError:  # an int beyond all floats
            return False
