# SPDX-License-Identifier: BSD-3-Clause
"""The scores as scikit-learn scorers, for searches and cross-validation."""

from __future__ import annotations

import copy
from collections.abc import Callable

from sklearn.metrics import make_scorer

from psmlearn.metrics._segmentation import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)

dice_scorer = make_scorer(dice_score, response_method="predict")
aji_scorer = make_scorer(aggregated_jaccard_score, response_method="predict")
aji_plus_scorer = make_scorer(
    aggregated_jaccard_score, response_method="predict", one_to_one=True
)
object_f1_scorer = make_scorer(object_f1_score, response_method="predict")
pq_scorer = make_scorer(panoptic_quality_score, response_method="predict")

_SCORERS = {
    "aji": aji_scorer,
    "aji_plus": aji_plus_scorer,
    "dice": dice_scorer,
    "object_f1": object_f1_scorer,
    "pq": pq_scorer,
}


def get_scorer(name: str) -> Callable[..., float]:
    """Get a scorer by its name.

    Parameters
    ----------
    name : str
        One of `get_scorer_names`.

    Returns
    -------
    callable
        A copy of the scorer: called as ``scorer(estimator, images, masks)``, it
        predicts the images and gives the macro average. Higher is better.

    Raises
    ------
    ValueError
        If there is no scorer of that name.

    Examples
    --------
    >>> from psmlearn.metrics import get_scorer, get_scorer_names
    >>> get_scorer("aji_plus")
    make_scorer(aggregated_jaccard_score, ..., one_to_one=True)
    >>> scoring = {name: get_scorer(name) for name in get_scorer_names()}
    >>> sorted(scoring)
    ['aji', 'aji_plus', 'dice', 'object_f1', 'pq']
    """
    if name not in _SCORERS:
        raise ValueError(
            f"There is no scorer {name!r}; known are {get_scorer_names()}."
        )
    return copy.deepcopy(_SCORERS[name])


def get_scorer_names() -> list[str]:
    """Get the names of all scorers, sorted.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from psmlearn.metrics import get_scorer_names
    >>> get_scorer_names()
    ['aji', 'aji_plus', 'dice', 'object_f1', 'pq']
    """
    return sorted(_SCORERS)
