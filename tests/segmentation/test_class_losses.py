# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from torch.nn import functional

from psmlearn.segmentation._classes import (
    class_counts,
    class_jaccard,
    class_places,
    class_weights,
    forget_unsure_classes,
    known_classes,
    mask_points,
)
from psmlearn.segmentation._decoding import decode_nuclei
from psmlearn.segmentation._losses import (
    class_loss,
    heatmap_loss,
    instance_loss,
    pixel_loss,
    region_loss,
    voronoi_loss,
)
from psmlearn.segmentation._pixels import activate
from psmlearn.segmentation._targets import Distance

WEIGHTS = torch.tensor([1.0, 3.0])


def pixels(n_outputs, seed=0):
    """Return outputs, ids, inner distance, places of two classes (0 unknown)."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(2, n_outputs, 5, 6, generator=generator)
    labels = torch.randint(-1, 4, (2, 5, 6), generator=generator)
    distance = torch.rand(2, 5, 6, generator=generator)
    places = torch.randint(0, 3, (2, 5, 6), generator=generator)
    return outputs, labels, distance, places.masked_fill(labels <= 0, 0)


def test_losses_with_classes_equal_their_formulas():
    outputs, labels, distance, places = pixels(4)
    p = outputs[:, :3].softmax(1)
    foreground = p[:, 1:].sum(1)
    known = labels >= 0
    weight = torch.tensor([1.0, 1.0, 3.0])[places] * known
    mask = -torch.where(labels > 0, foreground, p[:, 0]).log()
    mask = (mask * weight).sum() / weight.sum()
    given = p[:, 1:] / foreground[:, None]
    first, second = (-given[:, k].log()[places == k + 1] for k in (0, 1))
    classes = (first.sum() + 3 * second.sum()) / (len(first) + 3 * len(second))
    both = pixel_loss(outputs[:, :3], labels, distance, places, weights=WEIGHTS)
    torch.testing.assert_close(both, mask + classes)
    error = (outputs[:, 3] - distance).abs()[known].mean()
    torch.testing.assert_close(
        instance_loss(outputs, labels, distance, places, weights=WEIGHTS),
        mask + classes + error,
    )


def test_voronoi_and_heat_losses_with_classes_equal_their_formulas():
    logits, labels, distance, places = pixels(3)
    _, voronoi, heat, voronoi_places = pixels(3, seed=1)
    voronoi = voronoi.clamp_max(1)
    first = pixel_loss(logits, labels, distance, places, weights=WEIGHTS)
    second = pixel_loss(logits, voronoi, distance, voronoi_places, weights=WEIGHTS)
    found = voronoi_loss(
        logits,
        labels,
        distance,
        voronoi.float(),
        places,
        voronoi_places,
        weight=1.5,
        weights=WEIGHTS,
    )
    torch.testing.assert_close(found, first + 1.5 * second)
    literal = voronoi_loss(
        logits,
        labels,
        distance,
        voronoi.float(),
        places,
        voronoi_places,
        weight=1.5,
        mask_foreground=False,
        weights=WEIGHTS,
    )
    unknown = torch.zeros_like(places)
    background = pixel_loss(
        logits,
        labels.masked_fill(labels > 0, -1),
        distance,
        unknown,
        weights=WEIGHTS,
    )
    torch.testing.assert_close(literal, background + 1.5 * second)
    p = logits.softmax(1)
    values = -heat * p[:, 1:].sum(1).log() - (1 - heat) * p[:, 0].log()
    share = heat * (labels >= 0)
    weight = torch.where(places == 2, 1 + 2 * heat, 1.0) * (labels >= 0)
    torch.testing.assert_close(
        heatmap_loss(logits, labels, distance, heat, places, weights=WEIGHTS),
        (values * weight).sum() / weight.sum()
        + class_loss(logits[:, 1:], places, WEIGHTS, share),
    )


def test_pixels_of_unknown_class_teach_foreground_only():
    outputs, labels, distance, places = pixels(4)
    outputs.requires_grad_()
    instance_loss(outputs, labels, distance, places, weights=WEIGHTS).backward()
    gradient = outputs.grad.movedim(1, -1)
    assert (gradient[labels < 0] == 0).all()
    # Towards more foreground, without a change of the classes' ratio.
    unknown = (labels > 0) & (places == 0)
    share = functional.softmax(outputs[:, 1:3].detach(), 1).movedim(1, -1)[unknown]
    part = gradient[unknown][:, 1:3]
    torch.testing.assert_close(part / part.sum(1, keepdim=True), share)
    assert (part < 0).all()
    nothing = class_loss(outputs[:, 1:3], torch.zeros_like(places), WEIGHTS)
    assert nothing == 0


def test_weights_follow_how_often_classes_occur():
    planes = [np.array([[1, 1, 1, 0]]), np.array([[1, 2, 0, 0]])]
    assert known_classes([planes[0], -planes[0], planes[1] * 4]).tolist() == [1, 4, 8]
    counts = class_counts(planes, 2)
    assert counts.tolist() == [4, 1]
    classes = np.array([3, 9])
    balanced = class_weights("balanced", classes, counts)
    np.testing.assert_allclose(balanced, [5 / 8, 5 / 2])
    root = class_weights("sqrt", classes, counts)
    np.testing.assert_allclose([root[1] / root[0], root @ counts / 5], [2, 1])
    assert class_weights(None, classes, counts).tolist() == [1, 1]
    assert class_weights({9: 2}, classes, counts).tolist() == [1, 2]
    assert np.isfinite(class_weights("balanced", classes, np.array([4, 0]))).all()
    absent = class_weights("sqrt", classes, np.array([100, 0]))
    assert absent.tolist() == [1, 1]
    for bad in ({9: -1}, {9: np.nan}, {3: 0, 9: 1}):
        with pytest.raises(ValueError, match="finite weights"):
            class_weights(bad, classes, counts)
    with pytest.raises(ValueError, match=r"\[4\].*\[3, 9\]"):
        class_weights({4: 1.0}, classes, counts)


def test_places_are_those_among_the_classes():
    found = class_places(np.array([[9, 3, 4], [0, -1, 10]]), np.array([3, 9]))
    assert found.tolist() == [[2, 1, 0], [0, 0, 0]] and found.dtype == np.int32


def _decode(output):
    return decode_nuclei(
        output,
        Distance(),
        classes=np.array([2, 5]),
        threshold=0.5,
        nucleus_diameter=10,
        min_area=4,
        pixel_size=1,
    )


def test_touching_objects_of_two_classes_are_two():
    output = np.zeros((30, 40, 4), np.float32)
    output[8:22, 6:20, 1] = output[8:22, 20:34, 2] = 0.8
    output[8:22, 6:34, 2] += 0.1  # a nucleus of mixed scores has one class
    output[..., 0] = 1 - output[..., 1:3].sum(axis=-1)
    mask = _decode(output)
    assert mask.dtype == np.int32 and mask.shape == (30, 40, 2)
    assert np.unique(mask[..., 0]).tolist() == [0, 1, 2]
    points = mask_points(mask)
    np.testing.assert_allclose(points, [[14.5, 12.5, 2], [14.5, 26.5, 5]], atol=0.6)
    empty = _decode(np.dstack([np.ones((9, 9)), np.zeros((9, 9, 3))]))
    assert empty.shape == (9, 9, 2) and not empty.any()
    assert mask_points(empty).shape == (0, 3)


def test_prediction_takes_back_what_classes_weighed():
    # Of 100 pixels 60 are background, 30 of the first class, 10 of the second: trained
    # with weights the network answers by the weighted shares.
    shares, weights = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.5, 4.0])
    trained = torch.log(shares * torch.cat([torch.ones(1), weights]))
    outputs = torch.cat([trained, torch.tensor([0.7])])[None, :, None, None]
    found = activate(outputs, 3, weights).flatten()
    torch.testing.assert_close(found, torch.tensor([0.6, 0.3, 0.1, 0.7]))


def test_the_mean_of_classes_leaves_out_those_that_are_nowhere():
    true = np.zeros((4, 6, 2), np.int32)
    true[:2, :2] = 1, 1
    true[2:, 3:] = 2, 2
    found = true.copy()
    found[2:, 3:] = 0
    classes = np.array([1, 2, 3])
    assert class_jaccard([true], [found], classes) == 0.5
    assert class_jaccard([true], [true], classes) == 1
    assert class_jaccard([true], [found], None) == 0.4
    empty = np.zeros_like(true)
    assert class_jaccard([empty], [empty], classes) == 1


def test_unsure_classes_are_forgotten_but_never_all():
    mask = np.zeros((1, 4, 2), np.int32)
    mask[0, :, 0] = 1, 2, 3, 0
    mask[0, :, 1] = 1, 1, 2, 0
    proba = np.array(
        [[[0, 0.9, 0.1], [0, 0.55, 0.45], [0, 0.4, 0.6], [1, 0, 0]]], np.float32
    )
    masks = [mask.copy()]
    forget_unsure_classes(masks, [proba], 0.3)
    # The only object of class 2 is unsure too, but keeps its class.
    assert masks[0][0, :, 1].tolist() == [1, 0, 2, 0]
    np.testing.assert_array_equal(masks[0][..., 0], mask[..., 0])
    plain = [mask[..., 0].copy()]
    forget_unsure_classes(plain, [proba], 0.3)
    np.testing.assert_array_equal(plain[0], mask[..., 0])
    one = [np.minimum(mask, 1)]
    forget_unsure_classes(one, [proba[..., :2]], 0.3)
    assert one[0][0, :, 1].tolist() == [1, 1, 1, 0]


def test_decoding_follows_the_size_of_nuclei():
    rows, columns = np.mgrid[:240, :240]
    near = np.hypot(rows % 48 - 24, columns % 48 - 24)
    output = np.zeros((240, 240, 3), np.float32)
    output[..., 1] = near < 15  # 25 nuclei of 7.5 micrometres
    output[..., 0] = 1 - output[..., 1]
    output[..., 2] = np.clip(1 - near / 15, 0, 1)
    output[2:7, 2:7, 1] = 1  # and a speck of 1.6 square micrometres
    options = {
        "targets": Distance(),
        "classes": None,
        "threshold": 0.5,
        "min_area": 1.5,
        "pixel_size": 0.25,
    }
    fixed, auto = (
        decode_nuclei(output, nucleus_diameter=diameter, **options)
        for diameter in (5.0, "auto")
    )
    assert fixed.max() == 26 and auto.max() == 25


class TestRegionLoss:
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, 2:5, 2:6] = 3
    labels[1, :, :4] = -1

    def logits(self, foreground, strength=4.0):
        signed = torch.where(foreground, strength, -strength)
        return torch.stack([-signed, signed], 1)

    def test_definition(self):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 2, 8, 8, generator=generator)
        found = logits.softmax(1)[:, 1]
        known, true = self.labels >= 0, self.labels > 0

        def dice(part):
            overlap = found[part][true[part]].sum()
            total = found[part][known[part]].sum() + true[part].sum()
            return (2 * overlap + 1) / (total + 1)

        # The second image has no region: it counts in that of the batch alone.
        score = (dice(slice(None)) + dice(slice(0, 1))) / 2
        expected = pixel_loss(logits, self.labels, None) + 1 - score
        torch.testing.assert_close(region_loss(logits, self.labels, None), expected)

    def test_right_and_empty(self):
        sure = self.logits(self.labels > 0, 20.0)
        assert region_loss(sure, self.labels, None) < 1e-5
        nothing = torch.zeros_like(self.labels)
        assert region_loss(self.logits(nothing > 0, 20.0), nothing, None) < 1e-5

    def test_small_regions_count(self):
        labels = torch.zeros(2, 16, 16, dtype=torch.long)
        labels[0, :12], labels[1, :2, :2] = 1, 1
        missed = [labels > 0 for _ in range(2)]
        for place, found in enumerate(missed):
            missed[place] = found.clone()
            missed[place][place] = False
        large, small = (
            region_loss(self.logits(found, 20.0), labels, None)
            - pixel_loss(self.logits(found, 20.0), labels, None)
            for found in missed
        )
        # Of all pixels of regions the small one holds 2 in 100.
        assert large > small > 0.2

    def test_unknown_pixels_do_not_count(self):
        logits = self.logits(self.labels > 0).requires_grad_()
        region_loss(logits, self.labels, None).backward()
        assert (logits.grad[1, :, :, :4] == 0).all()
        assert (logits.grad[1, :, :, 4:] != 0).all()

    def test_a_rare_region_weighs_more_than_by_cross_entropy(self):
        # Half sure of all: the pull towards foreground against that to background.
        logits = torch.zeros(2, 2, 8, 8, requires_grad=True)
        pulls = []
        for loss in (pixel_loss, region_loss):
            (gradient,) = torch.autograd.grad(loss(logits, self.labels, None), logits)
            of_region = -gradient[:, 1][self.labels > 0].sum()
            pulls.append(of_region / gradient[:, 1][self.labels == 0].sum())
        assert pulls[1] > 1.5 * pulls[0]
