# SPDX-License-Identifier: BSD-3-Clause
"""What independent implementations say, in the terms of psmlearn.metrics.

Warnings are silenced around the peers alone: they are not ours to mend, while those
of psmlearn stay errors.
"""

import contextlib
import importlib
import importlib.util
import sys
import warnings

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

# At 0.5 and above no object has two partners.
SAFE_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, *SAFE_THRESHOLDS)


def require(package):
    """Skip a whole module of tests where a peer is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: make oracles", allow_module_level=True)


def load(name):
    """Import a peer, or skip the test where that fails."""
    with quiet_peer(), without_torchvision():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"needs {name} (make oracles), which does not load: {error}")


@contextlib.contextmanager
def quiet_peer():
    """Let a peer warn, and divide 0 by 0."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_torchvision():
    """Hide torchvision: torchmetrics imports it where it is, also a broken one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", None)
        yield


def next_above(threshold, dtype=np.float64):
    """Give the threshold that makes "at least" mean "above"."""
    return float(np.nextafter(dtype(threshold), dtype(1)))


def stardist_matching(true, pred, thresholds):
    """Give what stardist.matching finds at each threshold, with matches above it.

    It keeps IoU in single precision: enough to tell a threshold from the next larger
    IoU that a small image can have.
    """
    matching = load("stardist.matching").matching
    above = [next_above(threshold, np.float32) for threshold in thresholds]
    with quiet_peer():
        return matching(true, pred, thresh=above, report_matches=True)


def sum_of_ious(true, pred, found):
    """Sum the IoU of the matches that StarDist reports, in double precision."""
    pairs = [found.matched_pairs[index] for index in found.matched_tps]
    return sum(iou(true == i, pred == j) for i, j in pairs)


def iou(true_object, pred_object):
    both = np.count_nonzero(true_object & pred_object)
    return both / np.count_nonzero(true_object | pred_object)


def cellpose_counts(true, pred, thresholds):
    """Count as cellpose does, with matches above the thresholds.

    A column of background is added, which changes no overlap: without any, cellpose
    takes the first object for the background when it counts the objects.
    """
    average_precision = load("cellpose.metrics").average_precision
    true, pred = (np.pad(mask, ((0, 0), (0, 1))) for mask in (true, pred))
    above = [next_above(threshold) for threshold in thresholds]
    with quiet_peer():
        scores, tp, fp, fn = average_precision(true, pred, above)
    return scores, tp, fp, fn


def cellpose_aji(true, pred):
    """Give what cellpose calls the aggregated Jaccard index."""
    peer = load("cellpose.metrics")
    with quiet_peer():
        return float(peer.aggregated_jaccard_index([true], [pred])[0])


def torchmetrics_quality(true, pred, classes=(1,)):
    """Give torchmetrics' PQ, SQ and DQ of each class, pooled over the images.

    Parameters
    ----------
    true, pred : list of ndarray of shape (height, width) or (height, width, 2)
        Of one size. The background is one "stuff" more, and left out of the result;
        pixels that are unknown become a category of which the peer is not told.

    Returns
    -------
    ndarray of shape (n_classes, 3)
    """
    peer = load("torchmetrics.functional.detection")
    torch = importlib.import_module("torch")
    stacks = [
        torch.from_numpy(np.stack([_categories(mask) for mask in masks]))
        for masks in (pred, true)
    ]
    default = torch.get_default_dtype()
    # Else it divides areas in single precision.
    torch.set_default_dtype(torch.float64)
    try:
        with quiet_peer():
            table = peer.panoptic_quality(
                *stacks,
                things=set(classes),
                stuffs={0},
                allow_unknown_preds_category=True,
                return_sq_and_rq=True,
                return_per_class=True,
            )
    finally:
        torch.set_default_dtype(default)
    return table[: len(classes)].numpy()


def _categories(mask):
    """Give each pixel its category and its id."""
    if mask.ndim == 2:
        mask = np.stack([mask, np.sign(mask)], axis=2)
    ids, classes = mask[..., 0].astype(np.int64), mask[..., 1].astype(np.int64)
    classes = np.where((ids == -1) | (classes == -1), 99, np.where(ids > 0, classes, 0))
    return np.stack([classes, np.where(classes % 99, ids, 0)], axis=2)


def dense_point_matching(true, pred, radius):
    """Match points by a dense matrix of distances and Hungarian assignment.

    Returns
    -------
    n_matches : int
        The most pairs, no further apart than the radius, that a one-to-one matching
        can have.
    total : float
        The least sum of their distances.
    """
    true, pred = np.asarray(true, dtype=float), np.asarray(pred, dtype=float)
    if not len(true) or not len(pred):
        return 0, 0.0
    distances = cdist(true[:, :2], pred[:, :2])
    close = distances <= radius
    # A pair out of reach costs more than all those within reach together.
    dear = 1.0 + radius * min(distances.shape)
    rows, columns = linear_sum_assignment(np.where(close, distances, dear))
    kept = close[rows, columns]
    return int(kept.sum()), float(distances[rows, columns][kept].sum())
