# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import KDTree
from sklearn.base import clone

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_points
from psmlearn.networks import UNet
from psmlearn.segmentation import NucleiDetector
from psmlearn.segmentation._detector import merge_near

SMALL = {
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "patch_size": 32,
    "batch_size": 2,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(n_images=3, shape=(64, 80), n_nuclei=10, random_state=0)


@pytest.mark.parametrize(
    "kind", [pytest.param("masks", marks=pytest.mark.slow), "points"]
)
def test_it_learns_where_nuclei_are(kind):
    data = make_nuclei(n_images=6, shape=(128, 128), n_nuclei=25, random_state=1)
    y = data.masks[:4] if kind == "masks" else data.points[:4]
    detector = NucleiDetector(
        network=lambda i, o: UNet(i, o, base_channels=8, depth=3),
        max_epochs=8,
        steps_per_epoch=25,
        learning_rate=5e-3,
        patch_size=64,
        batch_size=4,
        random_state=0,
        device="cpu",
    ).fit(data.images[:4], y)
    hits = n_found = n_true = 0
    for found, true in zip(
        detector.predict(data.images[4:]), data.points[4:], strict=True
    ):
        assert found.dtype == float and found.shape[1] == 2
        distance, _ = KDTree(found).query(true)
        hits += (distance < 8).sum()
        n_found += len(found)
        n_true += len(true)
    assert hits / n_true > 0.7 and hits / n_found > 0.6


def test_points_are_rows_and_columns_in_a_list(data):
    detector = NucleiDetector(**SMALL).fit(data.images, data.masks)
    points = detector.predict(data.images)
    assert isinstance(points, list) and len(points) == 3
    for found in points:
        assert (found >= 0).all() and (found < [64, 80]).all()


def test_masks_teach_what_their_centres_do(data):
    centres = [
        ndimage.center_of_mass(mask > 0, mask, range(1, mask.max() + 1))
        for mask in data.masks
    ]
    # Which pixels are pale in training only masks tell.
    detector = NucleiDetector(**SMALL, appearance_randomisation=0)
    a = clone(detector).fit(data.images, data.masks)
    b = clone(detector).fit(data.images, [np.array(points) for points in centres])
    assert a.loss_curve_ == b.loss_curve_


def test_partial_fit_goes_on(data):
    detector = NucleiDetector(**SMALL)
    detector.partial_fit(data.images, data.points)
    detector.partial_fit(data.images, data.points)
    assert detector.n_epochs_ == 2 and len(detector.loss_curve_) == 2


def test_chains_of_near_points_become_their_mean():
    points = np.array([[0, 0], [0, 3], [0, 6], [20, 20]], float)
    merged = merge_near(points, 4)
    assert sorted(map(tuple, merged)) == [(0, 3), (20, 20)]
    np.testing.assert_array_equal(merge_near(points, 0), points)
    # The distance is the city block's: 3 + 3 is more than 4.
    assert len(merge_near(np.array([[0, 0], [3, 3]], float), 4)) == 2


def test_an_image_without_nuclei_is_a_lesson_too(data):
    points = [data.points[0], np.empty((0, 2)), data.points[2]]
    NucleiDetector(**SMALL).fit(data.images, points)


def test_bad_points_are_refused(data):
    detector = NucleiDetector(**SMALL)
    with pytest.raises(ValueError, match="image 2.*leave the image"):
        detector.fit(data.images, [*data.points[:2], np.array([[5.0, 200.0]])])
    with pytest.raises(ValueError, match="2 arrays of points.*3 images"):
        detector.fit(data.images, data.points[:2])
    with pytest.raises(ValueError, match="masks|shape"):
        detector.set_params(targets="mask").fit(data.images, data.points)


def test_points_of_whole_numbers_are_points(data):
    points = [np.round(p).astype(int) for p in data.points]
    floats = [p.astype(float) for p in points]
    a = NucleiDetector(**SMALL).fit(data.images, points)
    b = NucleiDetector(**SMALL).fit(data.images, floats)
    assert a.loss_curve_ == b.loss_curve_


def test_points_may_be_tables_in_files(data, tmp_path):
    paths = [tmp_path / f"{i}.csv" for i in range(3)]
    for path, points in zip(paths, data.points, strict=True):
        write_points(path, points)
    a = NucleiDetector(**SMALL).fit(data.images, data.points)
    b = NucleiDetector(**SMALL).fit(data.images, paths)
    assert a.loss_curve_ == b.loss_curve_
    one = NucleiDetector(**SMALL).fit(data.images[:1], paths[0])
    two = NucleiDetector(**SMALL).fit(data.images[:1], data.points[0])
    assert one.loss_curve_ == two.loss_curve_
