# SPDX-License-Identifier: BSD-3-Clause
"""H-score and Allred score from the stain intensity of nuclei."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from psmlearn._parameters import as_numbers, check_choice, shown
from psmlearn.measure._intensity import Intensities, as_intensities

_THRESHOLDS = (0.2, 0.4, 0.6)


def h_score(
    intensity: Intensities,
    *,
    thresholds: Sequence[float] = _THRESHOLDS,
    average: str | None = "micro",
) -> float | np.ndarray:
    """Score the staining of nuclei from 0 to 300.

    The sum of 1 x the percentage of weakly, 2 x that of moderately and 3 x that of
    strongly stained nuclei [1]_ [2]_. All measured nuclei count; a pathologist scores
    tumour cells. For research use only.

    Parameters
    ----------
    intensity : list of arrays, or array
        For each image the intensity of each nucleus, as :func:`stain_intensity`
        gives it. NaN does not count. One flat array is one image.
    thresholds : three floats, default=(0.2, 0.4, 0.6)
        Intensities from which a nucleus is weakly, moderately and strongly stained.
        The default is QuPath's for mean DAB optical density; it depends on the
        staining and the scanner, so set it from slides of one's own.
    average : {"micro", None}, default="micro"
        Whether to score all nuclei together, or each image.

    Returns
    -------
    score : float, or ndarray of shape (n_images,)
        0 to 300; NaN where there are no nuclei.

    See Also
    --------
    allred_score : From 0 to 8.

    Notes
    -----
    That the thresholds begin at 0.2 and `min_stain` of
    :class:`~psmlearn.SemanticClusterer` is 0.12 is no contradiction: they cut different
    numbers. Here it is the mean over all pixels of a nucleus, from white paper on, in
    the published colours of the stains. There it is the excess over the surroundings,
    at the brownest place of a nucleus (two fifths of it on average), in the colours of
    the image, after the light of the empty slide was divided out. So a positive nucleus
    whose mean is below 0.2 scores nothing here, and a negative one in a brown haze may
    score.

    References
    ----------
    .. [1] K. S. McCarty et al., "Estrogen receptor analyses: correlation of
       biochemical and immunohistochemical methods using monoclonal antireceptor
       antibodies", Archives of Pathology & Laboratory Medicine 109, 1985.
    .. [2] H. Goulding et al., "A new immunohistochemical antibody for the assessment
       of estrogen receptor status on routine formalin-fixed tissue samples", Human
       Pathology 26(3), 1995.

    Examples
    --------
    >>> from psmlearn.measure import h_score
    >>> h_score([0.1, 0.3, 0.5, 0.7])  # a quarter each: 25 + 50 + 75
    150.0
    """
    return _score(intensity, thresholds, average, _h_score)


def allred_score(
    intensity: Intensities,
    *,
    thresholds: Sequence[float] = _THRESHOLDS,
    average: str | None = "micro",
) -> float | np.ndarray:
    """Score the staining of nuclei from 0 to 8.

    The sum of a score of proportion and one of intensity [1]_. All measured nuclei
    count; a pathologist scores tumour cells. For research use only.

    - proportion of stained nuclei: 0 none, 1 below 1 %, 2 up to 10 %, 3 up to 1/3,
      4 up to 2/3, 5 above.
    - mean intensity of the stained nuclei: 1 weak, 2 moderate, 3 strong; 0 without
      any. Here the mean of their grades 1 to 3, rounded (halves up).

    Parameters
    ----------
    intensity : list of arrays, or array
        For each image the intensity of each nucleus, as :func:`stain_intensity`
        gives it. NaN does not count. One flat array is one image.
    thresholds : three floats, default=(0.2, 0.4, 0.6)
        Intensities from which a nucleus is weakly, moderately and strongly stained,
        as in :func:`h_score`; see its notes on `min_stain`.
    average : {"micro", None}, default="micro"
        Whether to score all nuclei together, or each image.

    Returns
    -------
    score : float, or ndarray of shape (n_images,)
        0 or 2 to 8, whole numbers; NaN where there are no nuclei.

    See Also
    --------
    h_score : From 0 to 300.

    References
    ----------
    .. [1] J. M. Harvey, G. M. Clark, C. K. Osborne and D. C. Allred, "Estrogen
       receptor status by immunohistochemistry is superior to the ligand-binding assay
       for predicting response to adjuvant endocrine therapy in breast cancer",
       Journal of Clinical Oncology 17(5), 1999.

    Examples
    --------
    >>> from psmlearn.measure import allred_score
    >>> allred_score([0.1, 0.3, 0.5, 0.7])  # 5 for three quarters, 2 for moderate
    7.0
    """
    return _score(intensity, thresholds, average, _allred_score)


def _score(
    intensity: Intensities,
    thresholds: Sequence[float],
    average: str | None,
    formula: Callable[[np.ndarray], float],
) -> float | np.ndarray:
    """Apply a formula to the numbers of nuclei of each grade."""
    limits = as_numbers(thresholds, "thresholds", "three rising numbers")
    if limits.shape != (3,) or not (np.diff(limits) > 0).all():
        raise ValueError(
            f"thresholds must be three rising numbers, got {shown(thresholds)}."
        )
    check_choice(average, "average", ("micro", None))
    counts = np.zeros((0, 4), dtype=np.int64)
    for values in as_intensities(intensity):
        grades = np.searchsorted(limits, values[~np.isnan(values)], side="right")
        counts = np.vstack([counts, np.bincount(grades, minlength=4)])
    if average == "micro":
        return formula(counts.sum(axis=0))
    return np.array([formula(row) for row in counts], dtype=float)


def _h_score(counts: np.ndarray) -> float:
    total = counts.sum()
    return float(100.0 * (counts @ np.arange(4)) / total) if total else float("nan")


def _allred_score(counts: np.ndarray) -> float:
    total, n_stained = int(counts.sum()), int(counts[1:].sum())
    if total == 0:
        return float("nan")
    if n_stained == 0:
        return 0.0
    # Whole numbers, so that 1 of 3 is exactly a third.
    proportion = 1 + sum(
        (
            100 * n_stained >= total,
            10 * n_stained > total,
            3 * n_stained > total,
            3 * n_stained > 2 * total,
        )
    )
    grades = int(counts @ np.arange(4))
    return float(proportion + (2 * grades + n_stained) // (2 * n_stained))
