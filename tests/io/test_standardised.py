# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import tifffile

from psmlearn._images._standardise import MIDDLE, foreground, standardise
from psmlearn.base import BaseImageEstimator
from psmlearn.io import check_images
from psmlearn.io._batch import FileCache
from psmlearn.io._standardised import StandardisedBatch


def bodies(n=3, n_channels=2, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 2, (n, 40, 48, n_channels))
    for i in range(n):
        images[i, 8 + i : 30, 10 : 40 - i] += 80 * (i + 1)
    return images.astype(np.float32)


def make_batch(X, **options):
    return StandardisedBatch(check_images(X, value_range=None, **options))


def test_images_come_standardised_whatever_they_come_in():
    X = bodies()
    batch = make_batch(X)
    assert len(batch) == 3 and batch.n_channels == 2 and batch.value_range is None
    assert "StandardisedBatch(n_images=3" in repr(batch)
    for i, image in enumerate(batch):
        np.testing.assert_array_equal(image, standardise(X[i]))
        np.testing.assert_array_equal(batch.foreground(i), foreground(X[i]))
    assert batch.wrap([np.zeros((40, 48))] * 3).shape == (3, 40, 48)
    assert isinstance(make_batch(list(X)).wrap([0, 1]), list)
    np.testing.assert_array_equal(batch[-1], batch[2])
    with pytest.raises(IndexError):
        batch[3]


def test_what_is_stored_is_read_only_and_what_is_given_out_is_fresh():
    batch = make_batch(bodies())
    assert not batch.stored(0).flags.writeable
    image = batch[0]
    image[:] = 0
    assert batch[0].max() > 0


def test_a_crop_is_a_part_of_the_whole():
    batch = make_batch(bodies())
    np.testing.assert_array_equal(batch.crop(1, 5, 7, 20, 11), batch[1][5:25, 7:18])


def test_subsets_and_slices_know_which_image_is_which():
    batch = make_batch(bodies())
    whole = list(batch)
    part = batch.subset([2, 0])
    assert isinstance(part, StandardisedBatch) and part.names == ["image 2", "image 0"]
    np.testing.assert_array_equal(part[0], whole[2])
    np.testing.assert_array_equal(part[1], whole[0])
    np.testing.assert_array_equal(batch[1:][0], whole[1])
    # Checked anew they have other names, and must not be taken for others.
    again = StandardisedBatch(check_images(part, value_range=None))
    np.testing.assert_array_equal(again[0], whole[2])
    np.testing.assert_array_equal(part.as_given()[0], bodies()[2].astype(np.float32))


def test_an_image_is_standardised_once(monkeypatch):
    seen = []

    def counted(image, subject=None):
        seen.append(image.shape)
        return standardise(image, subject)

    monkeypatch.setattr("psmlearn.io._standardised.standardise", counted)
    batch = make_batch(bodies())
    for _ in range(2):
        batch[0], batch.subset([0])[0], batch.crop(0, 0, 0, 4, 4)
    assert len(seen) == 1


def test_a_full_cache_changes_nothing_but_the_time():
    checked = check_images(bodies(), value_range=None)
    batch = StandardisedBatch(checked, FileCache(max_bytes=0))
    for a, b in zip(batch, StandardisedBatch(checked), strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_and_arrays_agree_and_pickle(tmp_path):
    X = (bodies(n_channels=1)[..., 0] + 50).clip(0, 60000).astype(np.uint16)
    paths = []
    for i, image in enumerate(X):
        paths.append(str(tmp_path / f"{i}.tif"))
        tifffile.imwrite(paths[-1], image)
    from_files, from_arrays = make_batch(paths), make_batch(list(X))
    first = list(from_files)
    back = pickle.loads(pickle.dumps(from_files))
    for i in range(3):
        np.testing.assert_array_equal(first[i], from_arrays[i])
        np.testing.assert_array_equal(back[i], first[i])
    assert back.paths == paths and back.subset([1]).shapes == [(40, 48)]


def test_uint8_and_floats_divided_by_255_agree_bit_for_bit():
    X = bodies(n_channels=3).clip(0, 255).astype(np.uint8)
    scaled = make_batch(X / np.float32(255))
    for i, image in enumerate(make_batch(X)):
        np.testing.assert_array_equal(image, scaled[i])


@pytest.mark.parametrize("label_channel", [-1, 2, (2, 0)])
def test_channels_of_labels_stay_and_say_nothing_of_the_subject(label_channel):
    X = bodies(n_channels=3)
    X[..., 2] = np.arange(48) // 8
    X[..., 0] = np.arange(48) // 4 if isinstance(label_channel, tuple) else X[..., 0]
    batch = make_batch(X, label_channel=label_channel)
    labels = [i % 3 for i in np.atleast_1d(label_channel)]
    shown = [i for i in range(3) if i not in labels]
    for image, given in zip(batch, X, strict=True):
        np.testing.assert_array_equal(image[..., labels], given[..., labels])
        np.testing.assert_array_equal(image[..., shown], standardise(given[..., shown]))


def test_a_stack_of_labels_alone_passes():
    batch = make_batch(np.ones((1, 4, 5, 1)), label_channel=0)
    assert batch.foreground(0).all() and (batch[0] == 1).all()


def test_estimators_get_it_by_value_range_none():
    class Estimator(BaseImageEstimator):
        pass

    estimator = Estimator()
    X = bodies()
    batch = estimator._check_images(X, reset=True, value_range=None)
    assert isinstance(batch, StandardisedBatch) and estimator.n_features_in_ == 2
    assert 0 <= batch[0].min() and batch[0].max() <= 1
    with pytest.raises(ValueError, match="Estimator: .*images are bad"):
        estimator._check_images(X, reset=False)
    with pytest.raises(ValueError, match="NaN"):
        estimator._check_images([X[0] * np.nan], reset=False, value_range=None)
    flat = estimator._check_images(np.ones((1, 8, 8, 2)), reset=False, value_range=None)
    assert (flat[0] == np.float32(MIDDLE)).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_integers_of_scanners(dtype):
    values = np.random.default_rng(0).integers(0, 3000, (2, 12, 13, 2))
    batch = StandardisedBatch(check_images(values.astype(dtype), value_range=None))
    floats = StandardisedBatch(
        check_images(values.astype(np.float32), value_range=None)
    )
    np.testing.assert_array_equal(batch[1], floats[1])
    with pytest.raises(ValueError, match="no known white"):
        check_images(values.astype(dtype))


def test_values_beyond_float32_are_refused():
    with pytest.raises(ValueError, match="image 1: .*too large for float32"):
        check_images([np.ones((4, 4)), np.full((4, 4), 1e300)], value_range=None)
