# SPDX-License-Identifier: BSD-3-Clause
"""The metrics once more, from their definitions, by loops over full-size masks."""

import itertools
import math

import numpy as np


def known(true, pred):
    return (true != -1) & (pred != -1)


def ids_of(mask, where):
    return sorted(set(mask[where & (mask > 0)].tolist()))


def iou(true_object, pred_object):
    return (true_object & pred_object).sum() / (true_object | pred_object).sum()


def objects(true, pred):
    where = known(true, pred)
    true_objects = [(true == i) & where for i in ids_of(true, where)]
    pred_objects = [(pred == i) & where for i in ids_of(pred, where)]
    return true_objects, pred_objects


def dice(true, pred):
    where = known(true, pred)
    true_fg, pred_fg = (true > 0) & where, (pred > 0) & where
    return 2 * int((true_fg & pred_fg).sum()), int(true_fg.sum() + pred_fg.sum())


def pixel_iou(true, pred):
    where = known(true, pred)
    true_fg, pred_fg = (true > 0) & where, (pred > 0) & where
    return int((true_fg & pred_fg).sum()), int((true_fg | pred_fg).sum())


def clean(true, pred, label=None, region=None):
    """Bring classes and a region into plain label images, pixel by pixel."""
    ids = [mask[..., 0] if mask.ndim == 3 else mask for mask in (true, pred)]
    cleaned = [plane.astype(np.int64) for plane in ids]
    for place in np.ndindex(ids[0].shape):
        is_known = all(plane[place] != -1 for plane in ids)
        if label is not None:
            classes = [mask[place][1] for mask in (true, pred)]
            is_known &= -1 not in classes
            for plane, of_pixel in zip(cleaned, classes, strict=True):
                if of_pixel != label:
                    plane[place] = 0
        if not is_known or (region is not None and not region[place]):
            for plane in cleaned:
                plane[place] = -1
    return cleaned


def one_class_each(mask):
    """Give all pixels of each object, but unknown ones, the class of most of them."""
    mask = mask.copy()
    for number in set(mask[..., 0][mask[..., 0] > 0].tolist()):
        inside = mask[..., 0] == number
        classes = mask[..., 1][inside].tolist()
        counted = [each for each in classes if each > 0]
        best = max(sorted(set(counted)), key=counted.count, default=0)
        mask[..., 1][inside & (mask[..., 1] >= 0)] = best
    return mask


def dice_of(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def partner(one, others):
    """The first of those that share most pixels, or None."""
    shared = [int((one & other).sum()) for other in others]
    return shared.index(max(shared)) if shared and max(shared) else None


def sides(true, pred, measure):
    """For each side the sum of area times measure, and of area."""
    counts = []
    true_objects, pred_objects = objects(true, pred)
    for ours, theirs in ((true_objects, pred_objects), (pred_objects, true_objects)):
        total = 0.0
        for one in ours:
            total += int(one.sum()) * measure(one, theirs)
        counts.append((total, sum(int(one.sum()) for one in ours)))
    return counts


def object_level(true, pred, measure):
    """Mean of both sides; a side without objects counts 0; None if both are."""
    counts = sides(true, pred, lambda one, theirs: _shared(one, theirs, measure))
    if not any(area for _, area in counts):
        return None
    return sum(total / area if area else 0.0 for total, area in counts) / 2


def _shared(one, theirs, measure):
    found = partner(one, theirs)
    return 0.0 if found is None else measure(one, theirs[found])


def sq(true, pred, iou_threshold):
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects, iou_threshold)
    if not pairs:
        return 0.0, len(true_objects) + len(pred_objects)
    return sum(pairs.values()), len(pairs)


def outline(mask):
    """Pixels of which a neighbour at a side is no part, or lies outside."""
    padded = np.pad(mask, 1)
    sides = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    return mask & ~(sides[0] & sides[1] & sides[2] & sides[3])


def directed(a, b, percentile):
    distances = [
        min(math.dist(p, q) for q in np.argwhere(b).tolist())
        for p in np.argwhere(a).tolist()
    ]
    return np.percentile(distances, percentile)


def distance(a, b, percentile=100, of_outlines=False):
    if of_outlines:
        a, b = outline(a), outline(b)
    return max(directed(a, b, percentile), directed(b, a, percentile))


def hausdorff(true, pred, percentile=100, of_outlines=False):
    """Mean of both sides at the level of objects; None if both are empty."""

    def measure(one, theirs):
        if not theirs:
            return math.hypot(*one.shape)
        found = partner(one, theirs)
        if found is None:
            all_distances = [distance(one, s, 100, of_outlines) for s in theirs]
            found = all_distances.index(min(all_distances))
        return distance(one, theirs[found], percentile, of_outlines)

    counts = [(t, a) for t, a in sides(true, pred, measure) if a]
    return sum(t / a for t, a in counts) / len(counts) if counts else None


def aji(true, pred):
    true_objects, pred_objects = objects(true, pred)
    intersection, union, used = 0, 0, set()
    for g in true_objects:
        best, best_iou = None, 0.0
        for j, s in enumerate(pred_objects):
            if iou(g, s) > best_iou:
                best, best_iou = j, iou(g, s)
        if best is None:
            union += int(g.sum())
            continue
        intersection += int((g & pred_objects[best]).sum())
        union += int((g | pred_objects[best]).sum())
        used.add(best)
    for j, s in enumerate(pred_objects):
        if j not in used:
            union += int(s.sum())
    return intersection, union


def matchings(pairs):
    """Every one-to-one matching, including those that could be enlarged."""
    for size in range(len(pairs) + 1):
        for chosen in itertools.combinations(pairs, size):
            if len({i for i, _ in chosen}) == len({j for _, j in chosen}) == size:
                yield chosen


def overlapping(true_objects, pred_objects, above=0.0):
    return {
        (i, j): iou(g, s)
        for i, g in enumerate(true_objects)
        for j, s in enumerate(pred_objects)
        if iou(g, s) > above
    }


def aji_plus(true, pred):
    """All (intersection, union) that a matching of the largest sum of IoU gives."""
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects)
    options = []
    for chosen in matchings(list(pairs)):
        intersection, union = 0, 0
        for i, j in chosen:
            intersection += int((true_objects[i] & pred_objects[j]).sum())
            union += int((true_objects[i] | pred_objects[j]).sum())
        for i, g in enumerate(true_objects):
            union += 0 if i in {a for a, _ in chosen} else int(g.sum())
        for j, s in enumerate(pred_objects):
            union += 0 if j in {b for _, b in chosen} else int(s.sum())
        options.append((sum(pairs[p] for p in chosen), intersection, union))
    best = max(total for total, _, _ in options)
    return [(c, u) for total, c, u in options if total > best - 1e-9]


def numbers(true, pred, iou_threshold):
    """Most matches that there can be, true objects, predicted objects."""
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects, iou_threshold)
    n_matches = max(len(chosen) for chosen in matchings(list(pairs)))
    return n_matches, len(true_objects), len(pred_objects)


def object_f1(true, pred, iou_threshold):
    n_matches, n_true, n_pred = numbers(true, pred, iou_threshold)
    return 2 * n_matches, n_true + n_pred


def object_precision(true, pred, iou_threshold):
    n_matches, n_true, n_pred = numbers(true, pred, iou_threshold)
    return (n_matches, n_pred) if n_pred else (0, n_true)


def object_recall(true, pred, iou_threshold):
    n_matches, n_true, n_pred = numbers(true, pred, iou_threshold)
    return (n_matches, n_true) if n_true else (0, n_pred)


def object_average_precision(true, pred, iou_threshold):
    n_matches, n_true, n_pred = numbers(true, pred, iou_threshold)
    n_missed, n_false = n_true - n_matches, n_pred - n_matches
    return n_matches, n_matches + n_missed + n_false


def pq(true, pred, iou_threshold):
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects, iou_threshold)
    return sum(pairs.values()), (len(true_objects) + len(pred_objects)) / 2
