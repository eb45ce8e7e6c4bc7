# SPDX-License-Identifier: BSD-3-Clause
"""A tiny folder of brain slices, in the layout of LGG."""

import numpy as np

from psmlearn.io import write_image

PATIENTS = [f"TCGA_AA_{number:04d}" for number in range(4)]
N_SLICES = 6


def draw_slice(rng, has_lesion, size=64):
    """Draw a head in three sequences; lesions are bright in the second."""
    row, column = np.indices((size, size)) - size / 2
    head = row**2 + column**2 < (0.42 * size) ** 2
    image = np.where(head[..., None], 90, 0) + rng.normal(0, 4, (size, size, 3))
    mask = np.zeros((size, size), bool)
    if has_lesion:
        top, left = rng.integers(20, 32, 2)
        mask[top : top + 11, left : left + 11] = True
        image[mask, 1] += 90
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_patients(root, lesions, name="lgg_mri", patients=PATIENTS):
    """Write a folder of LGG: for each patient, whether each slice has a lesion."""
    rng = np.random.default_rng(0)
    for patient, shown in zip(patients, lesions, strict=True):
        folder = root / name / f"{patient}_19990101"
        folder.mkdir(parents=True)
        for number, has_lesion in enumerate(shown):
            image, mask = draw_slice(rng, has_lesion)
            stem = folder / f"{patient}_19990101_{number:02d}"
            write_image(f"{stem}.png", image)
            write_image(f"{stem}_mask.png", mask.astype(np.uint8))
    return root


def write_lgg(root):
    """Write four patients, every other slice of each with a lesion."""
    shown = [number % 2 == 1 for number in range(N_SLICES)]
    return write_patients(root, [shown] * len(PATIENTS))


def write_volumes(root):
    """Write two other patients beside, all their slices, few with a lesion."""
    shown = [[False, True, False, False], [False, False, True, True]]
    return write_patients(root, shown, "lgg_volumes", ["TCGA_BB_0000", "TCGA_BB_0001"])
