# SPDX-License-Identifier: BSD-3-Clause
"""The labelling index: share of positive nuclei, with its interval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.utils import check_random_state

from psmlearn._parameters import check_choice, check_number, is_number, shown
from psmlearn._typing import Points, RandomState, Regions, Table
from psmlearn.exceptions import CountWarning
from psmlearn.measure._cells import (
    ImageCells,
    check_classes,
    read_cells,
)
from psmlearn.measure._intensity import Intensities, check_intensity
from psmlearn.measure._intervals import (
    MIN_FIELDS,
    bootstrap_fields,
    expanded_level,
    wilson_interval,
)
from psmlearn.measure._result import Columns, LabellingIndex
from psmlearn.measure._scores import allred_score, h_score

_MOST_RESAMPLES = 1_000_000
_WILSON = "over nuclei (Wilson)"


def labelling_index(
    y: Points | Table,
    *,
    regions: Regions | None = None,
    intensity: Intensities | None = None,
    positive: int = 1,
    negative: int = 2,
    confidence_level: float = 0.95,
    n_bootstrap: int = 2000,
    unit: str = "auto",
    min_cells: int = 500,
    names: Sequence[str] | None = None,
    random_state: RandomState = 0,
) -> LabellingIndex:
    """Count positive and negative nuclei, and tell the share of the positive ones.

    All nuclei in the region are counted; a pathologist counts tumour cells. For
    research use only.

    Parameters
    ----------
    y : list of arrays, tables or paths, or one alone
        For each image (field) a label image (height, width, 2) with the classes in
        the second plane, or points (n_points, 3) of row, column and class. One array
        alone is one image; a stack (n_images, height, width, 2) is several. Files are
        label images, or tables (.csv) as :func:`psmlearn.io.read_points` takes them.
        Tables of nuclei will do, too, such as :func:`nuclei_table` gives or writes,
        with the columns "centroid_row", "centroid_column" and "class".
    regions : list of arrays or paths, array, path or None, default=None
        One for each image: a boolean mask (height, width), or whole numbers, 0
        outside and 1..n for several regions, each of which gets its own row. A
        nucleus counts where its centre lies inside. None is the whole image.
    intensity : list of arrays, default=None
        What :func:`stain_intensity` gives for these nuclei: adds H-score and Allred
        score, overall, per image and per region. Measured without regions, or with
        the same ones.
    positive, negative : int, default=1 and 2
        The two classes. Nuclei of any other are not counted.
    confidence_level : float, default=0.95
        Of the intervals, between 0 and 1.
    n_bootstrap : int, default=2000
        Number of resamples of fields.
    unit : {"auto", "fields", "nuclei"}, default="auto"
        What the interval takes as independent. "fields" resamples whole images,
        since nuclei of one field are alike; "nuclei" is Wilson's interval. "auto" is
        "fields" from 5 images with nuclei on, else "nuclei".
    min_cells : int, default=500
        With fewer nuclei the result carries a warning, and a `UserWarning` is given;
        rows of images and regions with fewer carry one, too. 0 asks for none.
    names : sequence of str, default=None
        What to call the images; "image 0" and so on if None.
    random_state : int, RandomState instance or None, default=0
        Of the resampling.

    Returns
    -------
    result : LabellingIndex
        Counts, index and interval overall, per image and per region. The index is
        NaN where nothing was counted.

    Raises
    ------
    ValueError
        If masks have no classes, sizes or numbers differ, or a parameter makes no
        sense.

    Warns
    -----
    UserWarning
        If fewer than ``min_cells`` nuclei were counted.

    Notes
    -----
    The overall index is that of the counts pooled over all images. Its interval over
    fields is the expanded percentile interval [2]_, which widens the percentiles of a
    cluster bootstrap [1]_ as much as few fields ask for. Simulated with beta-binomial
    fields of 100 to 150 nuclei, index 2 to 30 %, correlation within fields 0 to 0.2,
    the nominal 95 % interval covers 86 to 95 % (5 or 6 fields), 89 to 95 % (8 or 10)
    and 91 to 96 % (20 or 40); with 4 fields 81 to 89 %. Wilson's interval covers 95 %
    where fields do not differ, and as little as 27 to 70 % where they do. So resample
    fields where there are 5, and measure more fields where it matters.

    Intervals of single images and regions are Wilson's [3]_: they hold for that
    field, not for the tissue around it. Where all fields have one index (such as 0),
    resampling tells nothing and Wilson's interval stands in.

    References
    ----------
    .. [1] A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their
       Application", Cambridge University Press, 1997, section 3.8.
    .. [2] T. C. Hesterberg, "What teachers should know about the bootstrap", The
       American Statistician 69(4), 2015.
    .. [3] E. B. Wilson, "Probable inference, the law of succession, and statistical
       inference", Journal of the American Statistical Association 22, 1927.
    .. [4] T. O. Nielsen et al., "Assessment of Ki67 in breast cancer: updated
       recommendations from the International Ki67 in Breast Cancer Working Group",
       Journal of the National Cancer Institute 113(7), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure import labelling_index
    >>> points = np.array([[10, 10, 1], [30, 12, 2], [50, 40, 2], [60, 70, 2]])
    >>> result = labelling_index([points], min_cells=0)
    >>> result.n_positive, result.n_negative, result.index
    (1, 3, 0.25)
    >>> [round(bound, 2) for bound in result.interval]
    [0.05, 0.7]
    """
    _check_parameters(positive, negative, confidence_level, n_bootstrap, unit)
    check_number(min_cells, "min_cells", -1, whole=True)
    _check_seed(random_state)
    cells = read_cells(y, regions, names)
    values = check_intensity(intensity, [image.is_inside for image in cells])
    classes = (positive, negative)
    counts = np.array([_count(image.classes, classes) for image in cells])
    others = np.array([len(image.classes) for image in cells]) - counts.sum(axis=1)
    texts: list[str] = []
    interval, unit, method = _interval(
        counts, confidence_level, n_bootstrap, unit, random_state, texts
    )
    n_positive, n_negative = (int(n) for n in counts.sum(axis=0))
    n_cells, n_other = n_positive + n_negative, int(others.sum())
    told = _texts_of_counts(n_cells, n_other, min_cells)
    if n_cells < min_cells:
        warnings.warn(told[0], CountWarning, stacklevel=2)
    texts[:0] = told
    kept = None
    if values is not None:
        kept = [v[_is_either(c, classes)] for v, c in zip(values, cells, strict=True)]
    per_image = {"image": [image.name for image in cells]}
    per_image |= _columns(counts, others, kept, confidence_level, min_cells)
    return LabellingIndex(
        n_positive=n_positive,
        n_negative=n_negative,
        n_other=n_other,
        index=_share(n_positive, n_cells),
        interval=interval,
        confidence_level=float(confidence_level),
        unit=unit,
        method=method,
        n_fields=int((counts.sum(axis=1) > 0).sum()),
        min_cells=int(min_cells),
        per_image=per_image,
        per_region=_per_region(cells, classes, values, confidence_level, min_cells),
        warnings=tuple(texts),
        h_score=None if kept is None else float(h_score(kept)),
        allred_score=None if kept is None else float(allred_score(kept)),
    )


def _check_parameters(
    positive: int, negative: int, level: float, n_bootstrap: int, unit: str
) -> None:
    check_classes(positive, negative)
    check_number(level, "confidence_level", 0, 1)
    check_number(n_bootstrap, "n_bootstrap", 0, _MOST_RESAMPLES + 1, whole=True)
    check_choice(unit, "unit", ("auto", "fields", "nuclei"))


def _check_seed(random_state: RandomState) -> None:
    """Refuse True, which scikit-learn takes for the seed 1, and what is none at all."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return
    if not is_number(random_state, whole=True) or not 0 <= random_state < 2**32:
        raise ValueError(
            "random_state must be an int from 0 to 2**32 - 1, a RandomState or None, "
            f"got {shown(random_state)}."
        )


def _count(classes: np.ndarray, wanted: tuple[int, int]) -> list[int]:
    return [int(np.count_nonzero(classes == each)) for each in wanted]


def _is_either(image: ImageCells, wanted: tuple[int, int]) -> np.ndarray:
    return np.isin(image.classes, wanted)


def _share(n_positive: int, n_cells: int) -> float:
    return n_positive / n_cells if n_cells else float("nan")


def _columns(
    counts: np.ndarray,
    others: np.ndarray,
    values: list[np.ndarray] | None,
    level: float,
    min_cells: int,
) -> Columns:
    """Columns of a table with a row for each row of counts.

    Parameters
    ----------
    counts : ndarray of shape (n_rows, 2), int
    others : ndarray of shape (n_rows,), int
        Nuclei of other classes.
    values : list of n_rows arrays, or None
        Intensities of the counted nuclei.
    """
    n_positive, n_negative = counts.reshape(-1, 2).T
    n_cells = n_positive + n_negative
    low, high = wilson_interval(n_positive, n_cells, level)
    pairs = zip(n_positive.tolist(), n_cells.tolist(), strict=True)
    columns = {
        "n_positive": n_positive.tolist(),
        "n_negative": n_negative.tolist(),
        "n_cells": n_cells.tolist(),
        "index": [_share(*pair) for pair in pairs],
        "low": low.tolist(),
        "high": high.tolist(),
    }
    if values is not None:
        columns["h_score"] = np.asarray(h_score(values, average=None)).tolist()
        allred = np.asarray(allred_score(values, average=None))
        columns["allred_score"] = allred.tolist()
    columns["warnings"] = [
        " ".join(_texts_of_counts(int(n), int(n_other), min_cells))
        for n, n_other in zip(n_cells, others, strict=True)
    ]
    return columns


def _per_region(
    cells: list[ImageCells],
    classes: tuple[int, int],
    values: list[np.ndarray] | None,
    level: float,
    min_cells: int,
) -> Columns | None:
    """Columns with a row for each numbered region; None where there are none."""
    if all(image.region_ids is None for image in cells):
        return None
    names, ids, counts, others, kept = [], [], [], [], []
    for index, image in enumerate(cells):
        region_ids = [1] if image.region_ids is None else image.region_ids.tolist()
        is_counted = _is_either(image, classes)
        for region in region_ids:
            inside = image.regions == region
            names.append(image.name)
            ids.append(region)
            counts.append(_count(image.classes[inside], classes))
            others.append(np.count_nonzero(inside & ~is_counted))
            if values is not None:
                kept.append(values[index][inside & is_counted])
    table = np.array(counts, dtype=np.int64).reshape(-1, 2)
    scored = None if values is None else kept
    columns = _columns(table, np.array(others), scored, level, min_cells)
    named: Columns = {"image": names, "region": ids}
    return named | columns


def _interval(
    counts: np.ndarray,
    level: float,
    n_bootstrap: int,
    unit: str,
    random_state: RandomState,
    texts: list[str],
) -> tuple[tuple[float, float], str, str]:
    """Interval of the pooled index, its unit, and how it was made."""
    counts = counts[counts.sum(axis=1) > 0]
    n_fields = len(counts)
    n_positive, n_cells = counts[:, 0], counts.sum(axis=1)
    if unit == "fields" or (unit == "auto" and n_fields >= MIN_FIELDS):
        # Equal to the last bit where fields do not differ at all.
        if n_fields > 1 and len(set((n_positive / n_cells).tolist())) > 1:
            interval = bootstrap_fields(
                n_positive,
                n_cells,
                expanded_level(level, n_fields),
                n_bootstrap,
                check_random_state(random_state),
            )
            if n_fields < MIN_FIELDS:
                texts.append(
                    f"{n_fields} fields are too few to resample well: the interval "
                    "is too narrow."
                )
            return interval, "fields", f"over {n_fields} fields (bootstrap)"
        if n_fields:
            why = "do not differ" if n_fields > 1 else "are only one"
            texts.append(f"The fields {why}: the interval is over nuclei.")
    elif n_fields > 1:
        texts.append(
            f"The interval is over nuclei ({n_fields} fields): where fields differ it "
            "is too narrow."
        )
    low, high = wilson_interval(n_positive.sum(), n_cells.sum(), level)
    return (float(low), float(high)), "nuclei", _WILSON


def _texts_of_counts(n_cells: int, n_other: int, min_cells: int) -> list[str]:
    """Say what is wrong with counts; first where they are too few."""
    texts = []
    if n_cells == 0:
        texts.append("No positive or negative nucleus was found: there is no index.")
    elif n_cells < min_cells:
        texts.append(
            f"Too few nuclei: {n_cells} counted, at least {min_cells} expected."
        )
    if n_other:
        texts.append(f"Nuclei of other or unknown class, not counted: {n_other}.")
    return texts
