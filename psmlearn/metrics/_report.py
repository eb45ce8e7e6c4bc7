# SPDX-License-Identifier: BSD-3-Clause
"""All scores of a segmentation at once, to read or to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np

from psmlearn.metrics._checks import (
    Labels,
    Masks,
    Regions,
    check_iou_threshold,
    check_labels,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._points import check_radius
from psmlearn.metrics._report_scores import score_all, score_classes
from psmlearn.metrics._report_text import format_report


def segmentation_report(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels = None,
    target_names: Sequence[str] | None = None,
    regions: Regions = None,
    iou_thresholds: float | Sequence[float] = (0.5, 0.7, 0.9),
    radius: float | None = 10.0,
    hausdorff: bool = False,
    names: Sequence[str] | None = None,
    digits: int = 3,
    output_dict: bool = False,
    zero_division: float = 1.0,
) -> str | dict:
    """Tell all scores of a segmentation, as a text or as a dict.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    labels : int, sequence of int or None, default=None
        Classes to score one by one as well, from 1 on, of masks with classes.
    target_names : sequence of str, default=None
        What to call the classes, in the order of `labels`. By default "class 1" and
        so on.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: pixels outside are not
        scored, objects are cut at the edge. None in a list is a whole image.
    iou_thresholds : float or sequence of float, default=(0.5, 0.7, 0.9)
        IoU above which two objects match, in [0, 1): for precision, recall, F1 and
        average precision of objects. PQ, DQ, SQ and the scores of classes keep to
        0.5. They must differ in their first six digits, which name the scores.
    radius : float or None, default=10.0
        Largest distance of the centres of two objects that match, in pixels: for
        precision, recall and F1 of the detection. None leaves these out.
    hausdorff : bool, default=False
        Whether to measure the object-level Hausdorff distance too, which takes
        longer than all the rest.
    names : sequence of str, default=None
        What to call the images. By default "image 0" and so on.
    digits : int, default=3
        Digits after the point in the text.
    output_dict : bool, default=False
        Whether to return a dict in place of the text.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image where there is nothing to score. With NaN such images are
        left out of the macro mean, the deviation, and the search for the worst.

    Returns
    -------
    str or dict
        The text has a row for each score: the mean over the images (macro), the
        score of the counts pooled over the images (micro), the standard deviation
        over the images (their number is the divisor), and the worst image. A
        second table has a row for each class, its counts pooled over the images.
        The dict holds the same with all digits, in plain numbers, strings, lists
        and dicts that `json.dumps` takes (NaN as in Python's json):

        - "n_images", "n_true_objects", "n_pred_objects", "n_images_without_true"
          and "n_images_without_pred" (objects): int; "image_names": list of str;
          "iou_thresholds": list of float; "radius": float or None;
          "zero_division": float
        - "scores": for each score, such as "aji", "object_f1@0.7" or
          "detection_f1@10", a dict of "macro", "micro", "std", "worst",
          "worst_image" and, in the order of the images, "per_image"
        - "classes": for each name a dict of "label", "support" (true objects),
          "n_pred_objects" and the pooled scores; only with `labels`

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, if there is not one name for each class or image, or if a
        parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    See Also
    --------
    object_f1_score, panoptic_quality_score, aggregated_jaccard_score : What the
        scores mean, and where other libraries differ.

    Notes
    -----
    The numbers equal those of the functions: "sq" those of
    `segmentation_quality_score`, "object_f1@0.7" those of ``object_f1_score(...,
    iou_threshold=0.7)``, and so on. "count_error", `count_error`, and "hausdorff",
    `hausdorff_distance`, are no shares: lower is better, and the worst is the
    largest.

    Scores of pixels, objects and outlines, and the numbers of objects, go by pixel:
    what lies outside of a region or is unknown is cut away, and of each object the
    pixels of a class count for that class. Scores of centres and the count error go
    by object: it counts whole where its centroid lies inside and is known, for the
    class of most of its pixels. With regions, unknown pixels or objects of several
    classes the two may differ in number.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import segmentation_report
    >>> true = np.zeros((2, 40, 40), dtype=int)
    >>> true[:, 2:12, 2:12], true[:, 20:32, 20:32] = 1, 2
    >>> pred = true.copy()
    >>> pred[0, 2:5] = 0
    >>> pred[1, 20:27] = 0
    >>> print(segmentation_report(true, pred, iou_thresholds=0.5, digits=2))
                              macro    micro      std    worst  worst image
    <BLANKLINE>
    pixels
      Dice                     0.86     0.87     0.07     0.79  image 1
      IoU                      0.77     0.77     0.11     0.66  image 1
    <BLANKLINE>
    objects
      object Dice              0.87     0.87     0.07     0.80  image 1
      object IoU               0.80     0.81     0.09     0.72  image 1
      AJI                      0.77     0.77     0.11     0.66  image 1
      AJI+                     0.77     0.77     0.11     0.66  image 1
      PQ                       0.68     0.68     0.17     0.50  image 1
      DQ                       0.75     0.75     0.25     0.50  image 1
      SQ                       0.93     0.90     0.08     0.85  image 0
    <BLANKLINE>
    objects found at IoU > 0.5
      precision                0.75     0.75     0.25     0.50  image 1
      recall                   0.75     0.75     0.25     0.50  image 1
      F1                       0.75     0.75     0.25     0.50  image 1
      average precision        0.67     0.60     0.33     0.33  image 1
    <BLANKLINE>
    centres found within 10 px
      precision                1.00     1.00     0.00     1.00  image 0
      recall                   1.00     1.00     0.00     1.00  image 0
      F1                       1.00     1.00     0.00     1.00  image 0
    <BLANKLINE>
    errors, lower is better
      count error              0.00     0.00     0.00     0.00  image 0
    <BLANKLINE>
    images: 2, true objects: 4, predicted objects: 4
    macro: mean over images; micro: counts pooled over images;
    std: standard deviation over images; PQ, DQ and SQ at IoU > 0.5
    >>> report = segmentation_report(true, pred, output_dict=True)
    >>> report["scores"]["aji"]["per_image"]
    [0.877..., 0.655...]
    """
    zero_division = check_zero_division(zero_division)
    thresholds = np.atleast_1d(check_iou_threshold(iou_thresholds, lowest=0.0))
    printed = [f"{threshold:g}" for threshold in thresholds]
    if len(set(printed)) < len(printed):
        raise ValueError(
            f"iou_thresholds holds two that print alike: {', '.join(printed)}; the "
            "names of the scores would not tell them apart."
        )
    if radius is not None:
        radii, is_one = check_radius(radius)
        if not is_one:
            raise ValueError(f"radius must be one number, or None; got {radius!r}.")
        radius = radii[0]
    if isinstance(digits, bool) or not isinstance(digits, Integral) or digits < 0:
        raise ValueError(f"digits must be a whole number from 0 on; got {digits!r}.")
    classes, _ = check_labels(labels)
    if classes is None and target_names is not None:
        raise ValueError("target_names names classes; give `labels` too.")
    class_names = _check_names(target_names, "target_names", "class", classes or [])
    pairs = check_pairs(y_true, y_pred, classes=classes is not None, regions=regions)
    image_names = _check_names(names, "names", "image", range(len(pairs)))
    report = score_all(pairs, image_names, thresholds, radius, hausdorff, zero_division)
    if classes is not None:
        found = score_classes(pairs, classes, radius, zero_division)
        report["classes"] = dict(zip(class_names, found, strict=True))
    return report if output_dict else format_report(report, digits)


def _check_names(
    names: Sequence[str] | None, parameter: str, kind: str, numbers: Iterable[int]
) -> list[str]:
    """Take one name for each number, or make them."""
    made = [f"{kind} {number}" for number in numbers]
    if names is None:
        return made
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{parameter} must be a sequence of str; got {names!r}.")
    if len(names) != len(made):
        raise ValueError(
            f"{parameter} has {len(names)} names; expected {len(made)}, one for each "
            f"{kind}."
        )
    if kind == "class" and len(set(names)) < len(names):
        raise ValueError(f"{parameter} holds a name twice: {list(names)}.")
    return [str(name) for name in names]
