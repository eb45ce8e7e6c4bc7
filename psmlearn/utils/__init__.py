# SPDX-License-Identifier: BSD-3-Clause
"""Tools for those who write estimators; see `psmlearn.utils.estimator_checks`."""
