# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch

from psmlearn._engine._augment import (
    appearance_randomisation,
    dihedral,
    noise_and_blur,
    random_affine,
    random_dihedral,
    stain_jitter,
)
from psmlearn._engine._crops import PatchSampler
from psmlearn.io import check_images


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patches_and_masks_are_cut_at_the_same_place():
    rng = np.random.default_rng(0)
    shapes = [(40, 50), (9, 7)]
    masks = [rng.integers(0, 256, shape).astype(np.int32) for shape in shapes]
    images = check_images([np.stack([m] * 3, -1).astype(np.uint8) for m in masks])
    patches, crops = PatchSampler(images, 16, masks).draw(rng, 20)
    assert patches.shape == (20, 16, 16, 3) and patches.dtype == np.float32
    known = crops >= 0
    np.testing.assert_array_equal(np.round(patches[..., 0] * 255)[known], crops[known])
    # The small image is continued, and what is continued is unknown.
    assert (~known).any() and known.any(axis=(1, 2)).all()


def test_every_place_is_drawn():
    image = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5, 1) + np.uint8(200)
    patches, masks = PatchSampler(check_images([image]), 4).draw(
        np.random.default_rng(0), 300
    )
    assert masks is None
    corners = np.unique(np.round(patches[:, 0, 0, 0] * 255)) - 200
    assert corners.tolist() == [0, 1, 5, 6, 10, 11]


def test_the_eight_views_differ_and_are_undone():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = {tuple(dihedral(x, e).flatten().tolist()) for e in range(8)}
    assert len(views) == 8


def test_random_views_turn_all_tensors_alike():
    x = torch.rand(6, 1, 4, 4)
    a, b = random_dihedral([x, x[:, 0]], generator())
    assert torch.equal(a[:, 0], b) and not torch.equal(a, x)


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_stain_jitter_varies_within_range(n_channels):
    x = torch.rand(4, n_channels, 8, 8)
    y = stain_jitter(x, 1.0, generator())
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert 0.001 < (y - x).abs().mean() < 0.2
    assert torch.equal(stain_jitter(x, 0, generator()), x)
    assert torch.equal(y, stain_jitter(x, 1.0, generator()))


def test_stain_jitter_without_strength_of_shift_is_a_mixing_of_densities():
    # A grey wedge stays ordered: the change is monotone in density.
    wedge = torch.linspace(0.05, 1, 20).reshape(1, 1, 1, 20).expand(1, 3, 1, 20)
    y = stain_jitter(wedge, 1.0, generator(1))
    assert (y.diff(dim=-1) >= -1e-6).all()


def test_noise_and_blur_stays_in_range():
    x = torch.rand(8, 3, 16, 16)
    y = noise_and_blur(x, 1.0, generator())
    assert y.min() >= 0 and y.max() <= 1 and not torch.equal(x, y)


def disc_scene():
    rows, columns = np.mgrid[:64, :64]
    radius = np.hypot(rows - 32, columns - 32)
    labels = torch.from_numpy((radius < 14).astype(np.int64))[None]
    distance = torch.from_numpy((1 - radius / 14).clip(0)).float()[None]
    image = torch.where(labels[:, None] > 0, 0.2, 0.8).float().expand(1, 3, 64, 64)
    return image, labels, distance


def test_appearance_pales_the_inside_and_keeps_the_outline():
    image, labels, distance = disc_scene()
    changed = [
        appearance_randomisation(image, labels, distance, 1.0, generator(s))
        for s in range(10)
    ]
    centre = torch.stack([c[0, 0, 32, 32] for c in changed])
    assert centre.min() >= 0.2 and centre.max() > 0.5
    for c in changed:
        assert torch.equal(c[0, :, labels[0] == 0], image[0, :, labels[0] == 0])
        rim = (labels[0] > 0) & (distance[0] < 0.01)
        torch.testing.assert_close(c[0, :, rim], image[0, :, rim], atol=0.02, rtol=0)
        assert c.max() <= 0.8 + 1e-6


def test_appearance_leaves_unchosen_and_unknown_alone():
    image, labels, distance = disc_scene()
    same = appearance_randomisation(image, labels, distance, 0.0, generator())
    assert torch.equal(same, image)
    unknown = torch.where(labels > 0, -1, labels)
    same = appearance_randomisation(image, unknown, distance, 1.0, generator())
    assert torch.equal(same, image)


class TestAffine:
    def test_images_and_planes_move_together(self):
        rows, columns = torch.meshgrid(*[torch.arange(48.0)] * 2, indexing="ij")
        disc = ((rows - 20) ** 2 + (columns - 26) ** 2 < 64).long()
        planes = [disc.expand(6, -1, -1), 3 * disc.expand(6, -1, -1)]
        images = torch.stack([disc.float(), 1 + rows / 48], 0).expand(6, -1, -1, -1)
        moved, [ids, classes] = random_affine(images, planes, generator())
        assert moved.shape == images.shape and ids.dtype == torch.int64
        inside = ids >= 0
        assert torch.equal(classes[inside], 3 * ids[inside])
        assert torch.equal(classes < 0, ~inside)
        # Along the rim values are between 0 and 1.
        assert ((moved[:, 0] > 0.5) == (ids > 0))[inside].float().mean() > 0.995
        areas = (ids == 1).sum((1, 2)) / disc.sum()
        assert 0.7 < areas.min() < areas.max() < 1.35 and areas.std() > 0.02
        # Nothing but the rows of the border comes in from outside.
        assert moved[:, 1].min() > 0.999 and moved[:, 1].max() < 1.98
        assert 0 < (~inside).float().mean() < 0.3

    def test_seeds_and_images_alone(self):
        images = torch.rand(2, 1, 16, 16, generator=generator())
        moved, planes = random_affine(images, [], generator(1))
        assert planes == [] and not torch.equal(moved, images)
        assert torch.equal(moved, random_affine(images, [], generator(1))[0])

    def test_large_ids(self):
        ids = torch.full((1, 8, 8), 1_000_001)
        _, [found] = random_affine(torch.zeros(1, 1, 8, 8), [ids], generator())
        assert set(found.unique().tolist()) - {-1} == {1_000_001}

    def test_places_have_all_bits_in_mixed_precision(self):
        images = torch.rand(2, 1, 64, 64, generator=generator())
        planes = [torch.arange(64 * 64).view(1, 64, 64).expand(2, -1, -1)]
        expected = random_affine(images, planes, generator())
        with torch.autocast("cpu", torch.bfloat16):
            found = random_affine(images, planes, generator())
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1][0], expected[1][0])
