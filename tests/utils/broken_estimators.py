# SPDX-License-Identifier: BSD-3-Clause
"""A sound third-party labeler, and estimators that are each broken in one way."""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
from skimage.filters import threshold_otsu
from skimage.measure import label
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from psmlearn import NucleiSegmenter
from psmlearn.base import BaseImageEstimator


class OtsuLabeler(BaseImageEstimator):
    """A labeler as a third party would write it."""

    def __init__(self, offset=0.0, random_state=None):
        self.offset = offset
        self.random_state = random_state

    def fit(self, X, y=None):
        images = self._check_images(X, reset=True)
        rng = check_random_state(self.random_state)
        values = np.concatenate(
            [rng.choice(image[..., 0].ravel(), 200) for image in images]
        )
        self.threshold_ = float(threshold_otsu(values)) + self.offset
        return self

    def predict(self, X):
        check_is_fitted(self)
        images = self._check_images(X, reset=False)
        return images.wrap([self._mask(image) for image in images])

    def _mask(self, image):
        return label(image[..., 0] < self.threshold_).astype(np.int32)


class WritesToInput(OtsuLabeler):
    def predict(self, X):
        X[0][...] = 0
        return super().predict(X)


class LearnsFromMasks(OtsuLabeler):
    def fit(self, X, y=None):
        super().fit(X)
        if y is not None:
            self.threshold_ = float(np.mean([(mask > 0).mean() for mask in y]))
        return self


class GlobalRandomness(OtsuLabeler):
    def fit(self, X, y=None):
        np.random.seed(0)
        return super().fit(X)


class Unseeded(OtsuLabeler):
    n_fits = 0

    def fit(self, X, y=None):
        super().fit(X)
        Unseeded.n_fits += 1
        self.threshold_ = 0.3 + 0.05 * (Unseeded.n_fits % 11)
        return self


class AlwaysLists(OtsuLabeler):
    def predict(self, X):
        return list(super().predict(X))


class WideIds(OtsuLabeler):
    def _mask(self, image):
        return super()._mask(image).astype(np.int64)


class GapsInIds(OtsuLabeler):
    def _mask(self, image):
        return 2 * super()._mask(image)


class ClassOnBackground(OtsuLabeler):
    def _mask(self, image):
        ids = super()._mask(image)
        return np.stack([ids, np.ones_like(ids)], axis=-1)


class ClassesWithinObjects(OtsuLabeler):
    def _mask(self, image):
        ids = super()._mask(image)
        kinds = 1 + np.indices(ids.shape)[1] % 2
        return np.stack([ids, (kinds * (ids > 0)).astype(np.int32)], axis=-1)


class Unchecked(OtsuLabeler):
    def _check_images(self, X, *, reset, **options):
        images = super()._check_images(
            np.clip(np.nan_to_num(np.asarray(X, float) / np.max(X)), 0, 1)[..., :3],
            reset=True,
        )
        return images


class NoFitCheck(OtsuLabeler):
    threshold_ = 0.5

    def predict(self, X):
        images = self._check_images(X, reset=not hasattr(self, "n_features_in_"))
        return images.wrap([self._mask(image) for image in images])


class KeepsImages(OtsuLabeler):
    def fit(self, X, y=None):
        self.images_ = X
        return super().fit(X)


class Prints(OtsuLabeler):
    def predict(self, X):
        sys.stdout.write("predicting\n")
        return super().predict(X)


class GrowsInPredict(OtsuLabeler):
    def predict(self, X):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return super().predict(X)


class ChangesParameters(OtsuLabeler):
    def fit(self, X, y=None):
        self.offset = float(self.offset) + 0.01
        return super().fit(X)


class CannotBePickled(OtsuLabeler):
    def fit(self, X, y=None):
        self.function_ = lambda: None
        return super().fit(X)


class LooksAtWholeBatch(OtsuLabeler):
    def predict(self, X):
        images = self._check_images(X, reset=False)
        level = np.mean([image.mean() for image in images])
        return images.wrap(
            [label(image[..., 0] < level).astype(np.int32) for image in images]
        )


class SeesObjectsEverywhere(OtsuLabeler):
    def _mask(self, image):
        return np.ones(image.shape[:2], np.int32)


class SharesScratch(OtsuLabeler):
    # Two calls in step would look at the same image, and nothing would show.
    _pauses = itertools.cycle([0.002, 0.006])

    def predict(self, X):
        images = self._check_images(X, reset=False)
        masks, pause = [], next(self._pauses)
        for image in images:
            self._scratch = image
            time.sleep(pause)
            masks.append(self._mask(self._scratch))
        return images.wrap(masks)


class KeepsOldFit(OtsuLabeler):
    def fit(self, X, y=None):
        old = getattr(self, "threshold_", None)
        super().fit(X)
        if old is not None:
            self.threshold_ = (old + self.threshold_) / 2
        return self


class NoReturn(OtsuLabeler):
    def fit(self, X, y=None):
        super().fit(X)


class IgnoresStrides(OtsuLabeler):
    def _check_images(self, X, *, reset, **options):
        if isinstance(X, np.ndarray) and not X.flags.c_contiguous:
            X = np.frombuffer(X.tobytes("A"), X.dtype).reshape(X.shape)
        return super()._check_images(X, reset=reset, **options)


BROKEN = {
    WritesToInput: ["check_input_unchanged"],
    LearnsFromMasks: ["check_label_free"],
    GlobalRandomness: ["check_global_state_untouched"],
    Unseeded: ["check_seed_repeats", "check_fit_twice", "check_list_equals_array"],
    AlwaysLists: ["check_container_kept"],
    WideIds: ["check_output_contract"],
    GapsInIds: ["check_output_contract"],
    ClassOnBackground: ["check_output_contract"],
    ClassesWithinObjects: ["check_output_contract"],
    Unchecked: [
        "check_bad_values_refused",
        "check_paths_equal_arrays",
        "check_wrong_channels_refused",
        "check_empty_refused",
    ],
    NoFitCheck: ["check_unfitted"],
    KeepsImages: ["check_images_not_kept"],
    Prints: ["check_nothing_printed"],
    GrowsInPredict: ["check_hash"],
    ChangesParameters: ["check_parameters"],
    CannotBePickled: ["check_pickle"],
    LooksAtWholeBatch: ["check_ragged_sizes"],
    SeesObjectsEverywhere: ["check_all_background"],
    SharesScratch: ["check_threads"],
    KeepsOldFit: ["check_fit_twice"],
    NoReturn: ["check_fit_returns_self"],
    IgnoresStrides: ["check_memory_layouts"],
}


class TinySegmenter(NucleiSegmenter):
    """A sound segmenter that can be spoilt."""


class LeavesHook(TinySegmenter):
    def predict(self, X):
        self.network_.register_forward_hook(lambda *_: None)
        return super().predict(X)


class KeepsTensors(TinySegmenter):
    def predict(self, X):
        kept = self.__dict__.setdefault("_kept", [])
        kept.append([p.clone() for p in self.network_.parameters()])
        return super().predict(X)


class SwallowsInterrupt(TinySegmenter):
    def fit(self, X, y=None):
        try:
            return super().fit(X, y)
        except KeyboardInterrupt:
            return self


class LosesInterrupted(TinySegmenter):
    def fit(self, X, y=None):
        try:
            return super().fit(X, y)
        except KeyboardInterrupt:
            del self.network_
            raise


class FallsBackToCPU(TinySegmenter):
    def _before_work(self):
        from psmlearn._engine._device import resolve_device

        return resolve_device("cpu")


class TrainsGivenNetwork(TinySegmenter):
    def fit(self, X, y=None):
        super().fit(X, y)
        if isinstance(self.network, nn.Module):
            self.network.load_state_dict(self.network_.state_dict())
        return self


class ForgetsEpochs(TinySegmenter):
    def _continues(self):
        return False


class SetsGradMode(TinySegmenter):
    def predict(self, X):
        import torch

        torch.set_grad_enabled(True)
        return super().predict(X)


class SeesTiles(TinySegmenter):
    def predict(self, X):
        if self.tile_size < 100:
            return [1 - (mask > 0).astype(np.int32) for mask in super().predict(X)]
        return super().predict(X)


class TakesAnyMasks(TinySegmenter):
    def fit(self, X, y=None):
        y = [np.zeros(np.shape(image)[:2], np.int32) + 1 for image in X]
        return super().fit(X, y)


BROKEN_NETWORKS = {
    LeavesHook: ["check_hooks_released"],
    KeepsTensors: ["check_memory_released"],
    SwallowsInterrupt: ["check_interrupt"],
    LosesInterrupted: ["check_interrupt"],
    FallsBackToCPU: ["check_absent_device"],
    TrainsGivenNetwork: ["check_template_kept"],
    ForgetsEpochs: ["check_warm_start"],
    SetsGradMode: ["check_grad_modes"],
    SeesTiles: ["check_tiles"],
    TakesAnyMasks: ["check_bad_masks_refused"],
}
