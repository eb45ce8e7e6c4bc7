# SPDX-License-Identifier: BSD-3-Clause
"""Random pairs of label images for hypothesis, tame and wild."""

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

TRUTHS = ("discs", "mosaic", "specks", "stripes", "noise", "empty", "one", "pixel")
CHANGES = ("same", "shift", "merge", "split", "grow", "lose", "rename", "new", "empty")


@st.composite
def scenes(draw, max_side=64, n_max=40, unknown=False, classes=False):
    """Draw the true and the predicted label image of one scene.

    Parameters
    ----------
    max_side : int
        Largest height and width; the smallest is 1.
    n_max : int
        The most objects a side starts with; splitting may double it.
    unknown : bool
        Whether pixels may be -1.
    classes : bool
        Whether masks get a second plane, with the classes 1 and 2 (and -1 where
        `unknown`), and 0 on most of the background.
    """
    shape = draw(st.tuples(st.integers(1, max_side), st.integers(1, max_side)))
    n_objects = draw(st.integers(1, n_max))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(TRUTHS))
    true = pred = draw_objects(kind, shape, n_objects, rng)
    if draw(st.booleans()):
        # Not a flawed copy but another of its kind.
        pred = draw_objects(kind, shape, n_objects, rng)
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        pred = change_objects(change, pred, n_objects, rng)
    if draw(st.booleans()):
        true, pred = pred, true
    if classes:
        true, pred = draw_classes(true, pred, rng, unknown)
    if unknown:
        true, pred = (hide_some(mask, rng) for mask in (true, pred))
    if draw(st.booleans()):
        true, pred = (spread_ids(mask, rng) for mask in (true, pred))
    return np.ascontiguousarray(true), np.ascontiguousarray(pred)


def draw_objects(kind, shape, n_objects, rng):
    """Draw the objects of one kind of truth."""
    if kind == "discs":
        return draw_discs(shape, n_objects, rng)
    if kind == "mosaic":
        seeds = np.zeros(shape, dtype=bool)
        seeds[rng.integers(0, shape[0], n_objects), rng.integers(shape[1])] = True
        seeds[rng.integers(0, shape[0]), rng.integers(0, shape[1], n_objects)] = True
        cells, _ = ndimage.label(seeds, structure=np.zeros((3, 3)) + np.eye(3)[1])
        index = ndimage.distance_transform_edt(
            ~seeds, return_distances=False, return_indices=True
        )
        return cells[tuple(index)].astype(np.int32)
    if kind == "specks":
        mask = np.zeros(shape, dtype=np.int32)
        places = rng.choice(mask.size, min(n_objects, mask.size), replace=False)
        mask.flat[places] = 1 + np.arange(places.size)
        return mask
    if kind == "stripes":
        return draw_stripes(shape, n_objects, rng)
    if kind == "noise":
        return rng.integers(0, n_objects + 1, shape, dtype=np.int32)
    mask = np.zeros(shape, dtype=np.int32)
    if kind == "one":
        mask[rng.integers(shape[0]) :, : 1 + rng.integers(shape[1])] = 1
    if kind == "pixel":
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = 1
    return mask


def draw_discs(shape, n_objects, rng):
    """Draw discs, each over those before it: they touch, and some become crescents."""
    mask = np.zeros(shape, dtype=np.int32)
    rows, columns = np.indices(shape)
    for number in range(1, n_objects + 1):
        row, column = rng.integers(shape[0]), rng.integers(shape[1])
        radius = rng.uniform(0.5, 8)
        mask[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return mask


def draw_stripes(shape, n_objects, rng):
    """Draw stripes of random widths: those of two masks overlap in long chains."""
    cuts = np.zeros(shape[1], dtype=np.int32)
    cuts[rng.integers(0, shape[1], n_objects)] = 1
    columns = 1 + np.cumsum(cuts)
    columns *= rng.random(columns.max() + 1)[columns] < 0.9
    return np.tile(columns.astype(np.int32), (shape[0], 1))


def change_objects(kind, mask, n_objects, rng):
    """Make a prediction out of the truth, with one kind of error."""
    if kind == "shift":
        moved = np.roll(mask, tuple(rng.integers(-2, 3, 2)), axis=(0, 1))
        return np.where(rng.random(mask.shape) < 0.02, 0, moved).astype(np.int32)
    if kind == "merge":
        return (mask + 1) // 2
    if kind == "split":
        side = np.indices(mask.shape)[rng.integers(2)] // rng.integers(1, 5) % 2
        return np.where(mask > 0, 2 * mask - side, 0).astype(np.int32)
    if kind == "grow":
        return ndimage.grey_dilation(mask, size=(rng.integers(1, 4), 3))
    if kind == "lose":
        kept = rng.random(mask.max() + 1) < 0.7
        return np.where(kept[mask], mask, 0).astype(np.int32)
    if kind == "rename":
        return np.append(0, 1 + rng.permutation(mask.max()))[mask].astype(np.int32)
    if kind == "new":
        fresh = draw_discs(mask.shape, n_objects, rng)
        return np.where(mask > 0, mask, fresh * (rng.random() < 0.8))
    return mask if kind == "same" else np.zeros_like(mask)


def draw_classes(true, pred, rng, unknown):
    """Give each object a class, but some pixels another one, or none."""
    masks = []
    for mask in (true, pred):
        classes = np.append(0, 1 + np.arange(mask.max()) % 2)[mask]
        wrong = rng.random(mask.shape) < 0.05
        classes = np.where(wrong, rng.integers(-1 if unknown else 0, 3), classes)
        masks.append(np.stack([mask, classes.astype(np.int32)], axis=2))
    return masks


def hide_some(mask, rng):
    """Make a few rows and columns and a few single pixels unknown."""
    hidden = rng.random(mask.shape[:2]) < 0.02
    if rng.random() < 0.5:
        hidden[:, : rng.integers(mask.shape[1])] = True
    ids = mask if mask.ndim == 2 else mask[..., 0]
    ids = np.where(hidden, -1, ids).astype(np.int32)
    return ids if mask.ndim == 2 else np.stack([ids, mask[..., 1]], axis=2)


def spread_ids(mask, rng):
    """Give the objects ids with gaps, in another order."""
    ids = mask if mask.ndim == 2 else mask[..., 0]
    table = np.append(0, 1 + rng.permutation(3 * ids.max() + 1))
    # A mask whose only id is 255 is taken for a stencil.
    table[table == 255] = table.max() + 1
    ids = np.where(ids > 0, table[np.maximum(ids, 0)], ids).astype(np.int32)
    return ids if mask.ndim == 2 else np.stack([ids, mask[..., 1]], axis=2)
