# SPDX-License-Identifier: BSD-3-Clause
"""ClassActivationMapper: labels in, maps and regions out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn
from scipy import ndimage as ndi
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from torch import nn

from psmlearn import ClassActivationMapper
from psmlearn.base import EarlyStopping
from psmlearn.exceptions import TrainingWarning
from psmlearn.metrics import dice_scorer
from psmlearn.weak import ClusterRefinement, ClusterResupervision, Reconstruction
from psmlearn.weak._maps import passing, surely_above

TINY = {
    "base_channels": 4,
    "patch_size": 32,
    "batch_size": 8,
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "device": "cpu",
    "random_state": 0,
}


def make_slices(n=16, side=32, n_channels=2, seed=0):
    """Images of a disc in noise, a bright square in every other one."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(rows, columns) < 0.45 * side
    images = rng.normal(0, 3, (n, side, side, n_channels)).astype(np.float32)
    images[:, disc] += 100
    masks = np.zeros((n, side, side), np.int32)
    for index in range(1, n, 2):
        top, left = rng.integers(side // 4, side // 2, 2)
        part = np.s_[index, top : top + side // 4, left : left + side // 4]
        images[part] += 60
        masks[part] = 1
    return images, masks, np.arange(n) % 2


def pd_series(values):
    """A series whose index does not begin at 0."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.Series(values, index=np.arange(len(values)) + 100)


@pytest.fixture(scope="module")
def slices():
    return make_slices()


@pytest.fixture(scope="module")
def fitted(slices):
    images, _, labels = slices
    return ClassActivationMapper(**TINY, threshold=0.3).fit(images, labels)


class TestOutputs:
    def test_maps_and_masks(self, fitted, slices):
        images, _, _ = slices
        maps = fitted.transform(images)
        assert maps.shape == (16, 32, 32, 1) and maps.dtype == np.float32
        assert maps.min() >= 0 and maps.max() <= 1
        masks = fitted.predict(images)
        assert masks.shape == (16, 32, 32) and masks.dtype == np.int32
        np.testing.assert_array_equal(masks > 0, maps[..., 0] > 0.3)
        assert 0.01 < (masks > 0).mean() < 0.9

    def test_attributes(self, fitted):
        assert fitted.classes_.tolist() == [0, 1]
        assert fitted.map_classes_.tolist() == [1]
        assert fitted.n_features_in_ == 2 and fitted.n_epochs_ == 1
        assert fitted.device_ == "cpu" and np.isfinite(fitted.best_loss_)

    def test_a_list_of_sizes(self, fitted, slices):
        images, _, _ = slices
        ragged = [images[0], images[1][:20], images[2][:, :17], images[3][:9, :9]]
        for image, maps in zip(ragged, fitted.transform(ragged), strict=True):
            assert maps.shape == (*image.shape[:2], 1)

    def test_probabilities_of_images(self, fitted, slices):
        images, _, _ = slices
        found = fitted.predict_image_proba(images)
        assert found.shape == (16, 2)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(fitted.predict_image(images), found.argmax(1))

    def test_absent_classes_have_no_object(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=0.01)
        masks = mapper.fit_predict(images, labels)
        assert not masks[labels == 0].any()
        assert mapper.predict(images)[labels == 0].any()

    def test_present_classes_have_one(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=0.95)
        masks = mapper.fit_predict(images, labels)
        maps = mapper.transform(images)[..., 0]
        peaks = maps.max(axis=(1, 2))
        assert peaks.max() < 0.95 and not mapper.predict(images).any()
        for mask, found, peak, label in zip(masks, maps, peaks, labels, strict=True):
            high, _ = ndi.label((found > 0.75 * peak) & bool(label))
            sure = np.unique(high[(found > 0.9 * peak) & (high > 0)])
            np.testing.assert_array_equal(mask > 0, np.isin(high, sure) & (high > 0))
            assert mask.any() == label

    def test_what_is_far_from_the_peak_is_left_out(self):
        maps = np.zeros((6, 6, 2), np.float32)
        maps[0, :2, 0] = 1.0, 0.7  # the peak and what touches it
        maps[1, 2, 0] = 0.8  # touches it at a corner
        maps[4, 4:, 0] = 0.85, 0.7
        maps[5, :3, 1] = 0.4, 0.31, 0.29  # all below the threshold
        above = surely_above(maps, 0.6)
        assert np.argwhere(above[..., 0]).tolist() == [[0, 0], [0, 1]]
        assert np.argwhere(above[..., 1]).tolist() == [[5, 0], [5, 1]]
        assert not surely_above(np.zeros((3, 3, 1), np.float32), 0.6).any()

    def test_a_region_must_pass_the_second_threshold(self, slices):
        maps = np.zeros((5, 6, 2), np.float32)
        maps[0, :3, 0] = 0.8, 0.61, 0.59
        maps[1, 3, 0] = 0.7  # touches nothing by a side
        maps[3, :3, 0] = 0.7, 0.75, 0.7  # reaches the second, and does not pass it
        maps[:, 5, 1] = 0.7
        above = passing(maps, 0.6, 0.75)
        assert np.argwhere(above[..., 0]).tolist() == [[0, 0], [0, 1]]
        assert not above[..., 1].any()
        np.testing.assert_array_equal(passing(maps, 0.6, 0.6), maps > np.float32(0.6))
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=0.3).fit(images, labels)
        found = mapper.predict(images) > 0
        high = mapper.set_params(threshold=(0.5, 0.5)).predict(images) > 0
        both = mapper.set_params(threshold=np.array([0.3, 0.5])).predict(images) > 0
        assert (both >= high).all() and (both <= found).all()
        assert high.sum() < both.sum()

    @pytest.mark.parametrize(
        "threshold", [(0.6,), (0.7, 0.6), (0.6, 1.0), ("a", "b"), (0.1, 0.2, 0.3)]
    )
    def test_bad_thresholds_are_refused(self, slices, threshold):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=threshold)
        with pytest.raises(ValueError, match="threshold"):
            mapper.fit(images, labels)

    def test_presence_on_request(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=0.01).fit(images, labels)
        denied = mapper.predict_image(images) == 0
        assert mapper.predict(images).any(axis=(1, 2)).all()
        mapper.set_params(require_presence=True)
        np.testing.assert_array_equal(mapper.predict(images).any(axis=(1, 2)), ~denied)

    def test_regions_are_not_split_and_small_ones_dropped(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, threshold=0.3).fit(images, labels)
        for maps, mask in zip(
            mapper.transform(images), mapper.predict(images), strict=True
        ):
            regions, n_regions = ndi.label(maps[..., 0] > 0.3, np.ones((3, 3)))
            assert mask.max() == n_regions
            np.testing.assert_array_equal(mask > 0, regions > 0)
        every = [np.bincount(m.ravel())[1:] for m in mapper.predict(images)]
        least = int(np.median(np.concatenate(every))) + 1
        mapper.set_params(pixel_size=0.5, min_area=least / 4)
        large = [np.bincount(m.ravel())[1:] for m in mapper.predict(images)]
        assert sum(map(len, large)) < sum(map(len, every))
        for sizes, kept in zip(every, large, strict=True):
            np.testing.assert_array_equal(kept, sizes[sizes >= least])

    def test_it_finds_what_the_labels_tell(self):
        images, masks, labels = make_slices(40, 64, seed=1)
        mapper = ClassActivationMapper(
            **{**TINY, "max_epochs": 5, "steps_per_epoch": 16, "base_channels": 8},
            learning_rate=5e-3,
        )
        mapper.set_params(patch_size=64).fit(images[:30], labels[:30])
        assert mapper.score(images[30:], labels[30:]) >= 0.9
        maps = mapper.transform(images[31::2])[..., 0]
        inside = masks[31::2] > 0
        assert maps[inside].mean() > 2 * maps[~inside].mean()

    def test_maps_that_light_too_few_images_are_told(self, slices):
        images, _, labels = slices
        names = np.array(["none", "glioma"])[labels]
        mapper = ClassActivationMapper(**TINY, negative_label="none", threshold=0.999)
        told = r"of class glioma pass threshold=0.999 in 0 of 8 training images"
        with pytest.warns(TrainingWarning, match=told) as caught:
            mapper.fit(images, names)
        assert caught[0].filename == __file__
        with pytest.warns(TrainingWarning, match=told) as caught:
            mapper.fit_predict(images, names)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mapper.set_params(threshold=0.01).fit(images, names)

    def test_each_class_is_told_by_itself(self, slices, monkeypatch):
        images, _, labels = slices
        several = np.column_stack([labels, np.arange(16) == 1])
        mapper = ClassActivationMapper(**TINY)
        dark = np.zeros((32, 32, 2), np.float32)
        dark[0, 0, 0] = 1
        monkeypatch.setattr(mapper, "_map", lambda x: ((dark, None) for _ in x))
        with pytest.warns(TrainingWarning, match="of class 1 .* 0 of 1 ") as caught:
            mapper.fit(images, several)
        assert len(caught) == 1


class TestLabels:
    @pytest.mark.slow
    def test_strings(self, slices):
        images, _, labels = slices
        names = np.where(labels, "lesion", "normal")
        with pytest.raises(ValueError, match="negative_label"):
            ClassActivationMapper(**TINY).fit(images, names)
        mapper = ClassActivationMapper(**TINY, negative_label="normal")
        mapper.fit(images, names)
        assert mapper.classes_.tolist() == ["lesion", "normal"]
        assert mapper.map_classes_.tolist() == ["lesion"]
        same = ClassActivationMapper(**TINY).fit(images, labels)
        np.testing.assert_array_equal(mapper.transform(images), same.transform(images))
        np.testing.assert_allclose(
            mapper.predict_image_proba(images),
            same.predict_image_proba(images)[:, ::-1],
            rtol=1e-6,
        )
        assert mapper.score(images, names) == same.score(images, labels)

    def test_several_classes(self, slices):
        images, _, labels = slices
        three = np.where(labels, 1 + np.arange(16) // 8, 0)
        mapper = ClassActivationMapper(**TINY, threshold=0.05).fit(images, three)
        assert mapper.map_classes_.tolist() == [1, 2]
        assert mapper.transform(images).shape[-1] == 2
        masks = mapper.predict(images)
        assert masks.shape == (16, 32, 32, 2)
        assert set(np.unique(masks[..., 1])) <= {0, 1, 2}
        np.testing.assert_array_equal(masks[..., 0] > 0, masks[..., 1] > 0)
        assert mapper.predict_image_proba(images).shape == (16, 3)

    def test_classes_without_a_negative(self, slices):
        images, _, labels = slices
        kinds = np.arange(16) % 3 + 1
        mapper = ClassActivationMapper(**TINY).fit(images, kinds)
        assert mapper.map_classes_.tolist() == [1, 2, 3]
        found = mapper.predict_image_proba(images)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("kind", ["table", "array"])
    def test_names_of_columns_are_those_of_classes(self, slices, kind):
        images, masks, labels = slices
        second = np.arange(16) < 5
        if kind == "table":
            pandas = pytest.importorskip("pandas", reason="pandas is not installed")
            named = pandas.DataFrame({"square": labels, "early": second.astype(int)})
        else:
            named = np.zeros(16, [("square", int), ("early", bool)])
            named["square"], named["early"] = labels, second
        mapper = ClassActivationMapper(**TINY, threshold=0.3).fit(images, named)
        assert mapper.classes_.tolist() == ["square", "early"]
        assert mapper.map_classes_.tolist() == ["square", "early"]
        plain = clone(mapper).fit(images, np.column_stack([labels, second]))
        assert plain.classes_.tolist() == [0, 1]
        np.testing.assert_array_equal(
            mapper.predict_image_proba(images), plain.predict_image_proba(images)
        )
        found = mapper.predict_image(images)
        right = np.mean(found == np.column_stack([labels, second]))
        assert mapper.score(images, named) == pytest.approx(right)
        assert mapper.score(images, masks) == plain.score(images, masks)
        with pytest.raises(ValueError, match="class early is shown by all"):
            named["early"] = 1
            clone(mapper).fit(images, named)
        with pytest.raises(ValueError, match=r"square.*are \[0, 1\]"):
            mapper.set_params(warm_start=True).fit(
                images, np.column_stack([labels, second])
            )

    @pytest.mark.slow
    def test_several_at_once(self, slices):
        images, _, labels = slices
        both = np.stack([labels, np.arange(16) % 4 == 0], axis=1)
        mapper = ClassActivationMapper(**TINY).fit(images, both)
        assert mapper.transform(images).shape[-1] == 2
        assert mapper.predict_image_proba(images).shape == (16, 2)
        assert mapper.predict_image(images).shape == (16, 2)
        masks = mapper.fit_predict(images, both)
        for mask, shown in zip(masks, both, strict=True):
            assert set(np.unique(mask[..., 1])) <= {0, *(np.flatnonzero(shown) + 1)}
            assert mask.any() == shown.any()

    @pytest.mark.parametrize(
        "labels, message",
        [
            ([1] * 16, "all 16 images have the label 1"),
            ([0, 1], "2 image labels were given for 16 images"),
            (None, "image labels are needed"),
            ([0.5] * 16, "0.5"),
            ([0, 1] * 7 + [0, np.nan], "label of image 15 is nan"),
            (np.zeros((16, 32, 32), int), "image_labels="),
            (np.eye(16, 2, dtype=int) * 3, "only 0 and 1"),
            (np.c_[np.arange(16) % 2, np.ones(16, int)], "class 1 is shown by all"),
        ],
    )
    def test_bad_labels(self, slices, labels, message):
        with pytest.raises(ValueError, match=message.replace("+", r"\+")):
            ClassActivationMapper(**TINY).fit(slices[0], labels)

    def test_an_unknown_negative_label(self, slices):
        mapper = ClassActivationMapper(**TINY, negative_label=7)
        with pytest.raises(ValueError, match=r"negative_label=7 .* \[0, 1\]"):
            mapper.fit(slices[0], slices[2])

    def test_missing_and_mixed_objects(self, slices):
        images, _, labels = slices
        for missing in (None, np.nan):
            names = ["a", "b"] * 7 + ["a", missing]
            with pytest.raises(ValueError, match="label of image 15 is missing"):
                ClassActivationMapper(**TINY).fit(images, names)
        objects = np.array([int(i) for i in labels], object)
        mapper = ClassActivationMapper(**TINY).fit(images, objects)
        assert mapper.classes_.tolist() == [0, 1]

    def test_presence_is_that_of_the_label(self, slices):
        images, _, _ = slices
        kinds = np.arange(16) % 3 + 1
        mapper = ClassActivationMapper(**TINY, threshold=0.01, require_presence=True)
        mapper.fit(images, kinds)
        likeliest = mapper.predict_image(images)
        for mask, kind in zip(mapper.predict(images), likeliest, strict=True):
            assert set(np.unique(mask[..., 1])) <= {0, kind}

    def test_score_with_labels_of_other_kinds(self, fitted, slices):
        images, _, labels = slices
        by_name = pd_series(labels)
        assert fitted.score(images, by_name) == fitted.score(images, labels)
        with pytest.raises(ValueError, match="y is needed"):
            fitted.score(images, None)
        with pytest.raises(ValueError, match=r"labels among \[0, 1\]"):
            fitted.score(images, labels + 5)


class TestImages:
    @pytest.mark.slow
    def test_any_range_and_channels(self, slices):
        images, _, labels = slices
        for n_channels in (1, 3, 5):
            stack = make_slices(n_channels=n_channels)[0] * 50 - 1000
            mapper = ClassActivationMapper(**TINY).fit(stack, labels)
            assert np.isfinite(mapper.transform(stack)).all()

    def test_scale_does_not_matter(self, fitted, slices):
        images, _, _ = slices
        np.testing.assert_allclose(
            fitted.transform(images * 8 + 50), fitted.transform(images), atol=1e-3
        )

    def test_images_as_they_are(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, value_range=(0.0, 1.0))
        with pytest.raises(ValueError, match="image 0"):
            mapper.fit(images, labels)
        mapper.fit(np.clip(images / 200, 0, 1), labels)

    def test_dead_channels_and_constant_images(self, slices):
        images, _, labels = slices
        images = images.copy()
        images[..., 1] = 0
        images[2] = 7
        images[3] = 0
        mapper = ClassActivationMapper(**TINY).fit(images, labels)
        assert np.isfinite(mapper.transform(images)).all()
        assert np.isfinite(mapper.loss_curve_).all()

    @pytest.mark.slow
    def test_batches_of_one_kind(self, slices):
        images, _, labels = slices
        for size in (1, 2):
            mapper = ClassActivationMapper(
                **{**TINY, "batch_size": size, "steps_per_epoch": 8}
            )
            mapper.fit(images, labels)
            assert np.isfinite(mapper.loss_curve_).all()

    def test_few_images(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY).fit(images[:2], labels[:2])
        assert mapper.transform(images[:1]).shape == (1, 32, 32, 1)


class TestState:
    def test_seeds(self, fitted, slices):
        images, _, labels = slices
        again = ClassActivationMapper(**TINY).fit(images, labels)
        np.testing.assert_array_equal(again.transform(images), fitted.transform(images))
        other = clone(again).set_params(random_state=1).fit(images, labels)
        assert (other.transform(images) != fitted.transform(images)).any()

    def test_warm_start(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, warm_start=True).fit(images, labels)
        mapper.fit(images, labels)
        assert mapper.n_epochs_ == 2
        before = mapper.transform(images)
        with pytest.raises(ValueError, match="other labels"):
            mapper.fit(images, labels + 1)
        for changes, message in (
            ({"negative_label": 1}, "other labels"),
            ({"value_range": (0.0, 1.0)}, "value_range"),
            ({"patch_size": 40}, "multiple of 16"),
            ({"base_channels": 8}, "another network"),
        ):
            other = clone(mapper).fit(images, labels).set_params(**changes)
            given = np.clip(images / 200, 0, 1)
            with pytest.raises(ValueError, match=message):
                other.fit(given, labels)
        np.testing.assert_array_equal(mapper.transform(images), before)

    def test_a_failed_fit_leaves_the_earlier_one(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY).fit(images, labels)
        before = mapper.transform(images)
        with pytest.raises(ValueError, match="all 16 images"):
            mapper.fit(images[..., [0, 1, 1]], [0] * 16)
        assert mapper.n_features_in_ == 2
        mapper.set_params(value_range=(0.0, 1.0))  # of training, not of now
        np.testing.assert_array_equal(mapper.transform(images), before)

    def test_validation_without_a_label_is_of_all_images(self, slices):
        images, _, _ = slices
        rare = np.arange(16) == 3
        mapper = ClassActivationMapper(**TINY, early_stopping=True).fit(images, rare)
        assert mapper.best_loss_ > 0

    def test_single_values_are_not_normalised(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**{**TINY, "batch_size": 1, "patch_size": 16})
        with pytest.raises(ValueError, match="batch_size=1"):
            mapper.fit(images, labels)

    def test_early_stopping(self, slices):
        images, _, labels = slices
        stopping = EarlyStopping(validation_fraction=0.25)
        mapper = ClassActivationMapper(**TINY, early_stopping=stopping)
        mapper.fit(images, labels)
        assert len(mapper.validation_loss_curve_) == 1

    @pytest.mark.parametrize(
        "options",
        [
            {"resupervision": None, "reconstruction": None},
            {"resupervision": None},
            {"reconstruction": None},
            {
                "resupervision": ClusterResupervision(
                    voting="any", target="one", area="image"
                )
            },
            {
                "resupervision": ClusterResupervision(voting="share"),
                "reconstruction": Reconstruction(target_channel=1),
            },
            {
                "augment": False,
                "cam_levels": (2,),
                "reconstruction": Reconstruction(mask_patch_size=5),
            },
            pytest.param(
                {"precision": "bfloat16"},
                marks=pytest.mark.filterwarnings(
                    "ignore::psmlearn.exceptions.DeviceWarning"
                ),
            ),
        ],
    )
    def test_settings(self, slices, options):
        images, _, labels = slices
        mapper = ClassActivationMapper(**{**TINY, **options}).fit(images, labels)
        assert np.isfinite(mapper.loss_curve_).all()
        assert np.isfinite(mapper.transform(images)).all()

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"patch_size": 40}, "multiple of 16"),
            ({"reconstruction": Reconstruction(target_channel=2)}, "target_channel=2"),
            ({"cam_levels": (6,)}, "cam_levels"),
            ({"value_range": (0, 255)}, "value_range"),
            (
                {"resupervision": ClusterResupervision(voting="most")},
                "'voting' parameter of ClusterResupervision",
            ),
            (
                {"reconstruction": Reconstruction(mask_fraction=1)},
                "'mask_fraction' parameter of Reconstruction",
            ),
            (
                {"refinement": ClusterRefinement(n_clusters=0)},
                "'n_clusters' parameter of ClusterRefinement",
            ),
            ({"resupervision": "channel"}, "'resupervision' parameter"),
            ({"reconstruction": ClusterRefinement()}, "'reconstruction' parameter"),
        ],
    )
    def test_bad_settings(self, slices, options, message):
        mapper = ClassActivationMapper(**{**TINY, **options})
        with pytest.raises(ValueError, match=message):
            mapper.fit(slices[0], slices[2])

    def test_a_network_of_ones_own(self, slices):
        class Own(nn.Module):
            stride, feature_channels = 1, 3

            def __init__(self, in_channels, n_maps):
                super().__init__()
                self.features = nn.Conv2d(in_channels, 3, 3, padding=1)
                self.maps = nn.Conv2d(3, n_maps, 1, bias=False)

            def forward(self, images, decode=False):
                features = self.features(images).relu()
                return [self.maps(features)], features if decode else None

        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, network=Own).fit(images, labels)
        assert mapper.transform(images).shape == (16, 32, 32, 1)
        wrong = ClassActivationMapper(**TINY, network="unet")
        with pytest.raises(TypeError, match="feature_channels"):
            wrong.fit(images, labels)


class TestOptions:
    def fit(self, slices, **options):
        images, _, labels = slices
        settings = {**TINY, "max_epochs": 2, "steps_per_epoch": 4}
        return ClassActivationMapper(**settings, **options).fit(images, labels)

    @pytest.mark.slow
    def test_names_stand_for_defaults(self, slices):
        by_name = self.fit(slices)
        by_object = self.fit(
            slices,
            resupervision=ClusterResupervision(),
            reconstruction=Reconstruction(),
            refinement=ClusterRefinement(),
        )
        np.testing.assert_array_equal(
            by_name.transform(slices[0]), by_object.transform(slices[0])
        )

    @pytest.mark.parametrize(
        "name, off",
        [
            ("resupervision", ClusterResupervision(weight=0, n_clusters=3)),
            ("reconstruction", Reconstruction(weight=0, mask_patch_size=7)),
            ("refinement", ClusterRefinement(sigma=0)),
        ],
    )
    @pytest.mark.slow
    def test_none_is_a_weight_of_0(self, slices, name, off):
        none, zero = self.fit(slices, **{name: None}), self.fit(slices, **{name: off})
        maps = none.transform(slices[0])
        np.testing.assert_array_equal(maps, zero.transform(slices[0]))
        assert (maps != self.fit(slices).transform(slices[0])).any()
        assert (none.refine_centers_ is None) == (name == "reconstruction")

    @pytest.mark.slow
    def test_refinement_is_that_of_the_present_parameter(self, slices):
        refined, plain = self.fit(slices), self.fit(slices, refinement=None)
        maps = refined.transform(slices[0])
        unrefined = plain.transform(slices[0])
        refined.set_params(refinement=None)
        np.testing.assert_array_equal(refined.transform(slices[0]), unrefined)
        plain.set_params(refinement="cluster")
        np.testing.assert_array_equal(plain.transform(slices[0]), maps)

    def test_options_are_not_changed_by_fit(self, slices):
        option = ClusterResupervision(n_clusters=4)
        mapper = self.fit(slices, resupervision=option)
        assert mapper.resupervision is option
        assert vars(option) == vars(ClusterResupervision(n_clusters=4))

    @pytest.mark.slow
    def test_options_are_searched(self, slices):
        images, _, labels = slices
        mapper = ClassActivationMapper(**TINY, resupervision=ClusterResupervision())
        search = GridSearchCV(
            mapper,
            {"resupervision__n_clusters": [2, 3]},
            cv=KFold(2),
            error_score="raise",
        )
        search.fit(images, labels)
        assert search.best_estimator_.resupervision.n_clusters in (2, 3)
        assert mapper.resupervision.n_clusters == 10

    def test_no_more_parameters_than_can_be_read(self):
        names = ClassActivationMapper().get_params(deep=False)
        assert len(names) == 28
        objects = {
            "resupervision": ClusterResupervision(),
            "reconstruction": Reconstruction(),
            "refinement": ClusterRefinement(),
        }
        for name, option in objects.items():
            assert set(option.get_params()) == set(option._parameter_constraints)
            assert isinstance(names[name], str)


class TestScikitLearn:
    def test_image_labels_beside_masks(self, fitted, slices):
        images, masks, labels = slices
        mapper = ClassActivationMapper(**TINY).fit(images, masks, image_labels=labels)
        np.testing.assert_array_equal(
            mapper.transform(images), fitted.transform(images)
        )
        found = dice_scorer(mapper, images, masks)
        assert mapper.score(images, masks) == pytest.approx(found)

    def test_labels_are_sliced_in_folds(self, slices):
        images, masks, labels = slices
        seen = []

        class Watching(ClassActivationMapper):
            def fit(self, X, y=None, *, image_labels=None):
                seen.append((np.asarray(X), np.asarray(image_labels)))
                return super().fit(X, y, image_labels=image_labels)

        with sklearn.config_context(enable_metadata_routing=True):
            mapper = Watching(**TINY).set_fit_request(image_labels=True)
            result = cross_validate(
                mapper,
                images,
                masks,
                params={"image_labels": labels, "groups": np.arange(16) // 4},
                cv=GroupKFold(2),
                scoring=dice_scorer,
            )
        assert np.isfinite(result["test_score"]).all()
        bright = [(X > 130).sum(axis=(1, 2, 3)) > 20 for X, _ in seen]
        assert [len(y) for _, y in seen] == [8, 8]
        for shown, (_, given) in zip(bright, seen, strict=True):
            np.testing.assert_array_equal(shown, given)
