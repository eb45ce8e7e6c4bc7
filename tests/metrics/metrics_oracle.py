# SPDX-License-Identifier: BSD-3-Clause
"""The metrics once more, from their definitions, by loops over full-size masks."""

import itertools


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


def object_f1(true, pred, iou_threshold):
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects, iou_threshold)
    n_matches = max(len(chosen) for chosen in matchings(list(pairs)))
    return 2 * n_matches, len(true_objects) + len(pred_objects)


def pq(true, pred, iou_threshold):
    true_objects, pred_objects = objects(true, pred)
    pairs = overlapping(true_objects, pred_objects, iou_threshold)
    return sum(pairs.values()), (len(true_objects) + len(pred_objects)) / 2
