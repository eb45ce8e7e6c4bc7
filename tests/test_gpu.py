# SPDX-License-Identifier: BSD-3-Clause
"""The estimators on a CUDA device; their networks come back to the CPU."""

import pickle

import numpy as np
import pytest
import torch

from psmlearn import NucleiDetector, NucleiSegmenter, SelfActivationMapper
from psmlearn.datasets import make_nuclei

pytestmark = pytest.mark.gpu

SMALL = {
    "max_epochs": 1,
    "steps_per_epoch": 4,
    "patch_size": 64,
    "batch_size": 2,
    "random_state": 0,
    "device": "cuda",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(n_images=2, shape=(96, 96), n_nuclei=15, random_state=0)


def on_cpu(estimator):
    return all(p.device.type == "cpu" for p in estimator.network_.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_segmenter_trains_on_the_gpu_and_predicts_on_both(data, precision):
    segmenter = NucleiSegmenter(precision=precision, **SMALL)
    segmenter.fit(data.images, data.masks)
    assert segmenter.device_.startswith("cuda") and on_cpu(segmenter)
    on_gpu = segmenter.predict_proba(data.images)
    copy = pickle.loads(pickle.dumps(segmenter)).set_params(device="cpu")
    tolerance = 1e-3 if precision == "float32" else 0.05
    np.testing.assert_allclose(copy.predict_proba(data.images), on_gpu, atol=tolerance)


def test_detector_trains_on_the_gpu(data):
    detector = NucleiDetector(**SMALL).fit(data.images, data.masks)
    assert on_cpu(detector) and len(detector.predict(data.images)) == 2


@pytest.mark.parametrize("method", ["gradcam", "layercam", "gradcam++", "eigencam"])
@pytest.mark.parametrize("channel_weights", ["fit", "image"])
def test_maps_of_gpu_and_cpu_agree(data, method, channel_weights):
    if method == "layercam" and channel_weights == "fit":
        pytest.skip("layercam has no channel weights")
    mapper = SelfActivationMapper(
        method=method, channel_weights=channel_weights, output="maps", **SMALL
    ).fit(data.images)
    assert on_cpu(mapper)
    maps = mapper.transform(data.images)
    on_the_cpu = mapper.set_params(device="cpu").transform(data.images)
    apart = np.abs(maps - on_the_cpu)
    if method == "layercam":  # 9 of 18,432 pixels by up to 0.02, on an H200
        assert np.quantile(apart, 0.999) < 0.01 and apart.max() < 0.05
    else:
        assert apart.max() < 0.01


def test_no_memory_stays_on_the_gpu_and_its_stream_is_left_alone(data):
    segmenter = NucleiSegmenter(**SMALL)
    before = torch.cuda.get_rng_state()
    segmenter.fit(data.images, data.masks).predict(data.images)
    assert torch.equal(before, torch.cuda.get_rng_state())
    torch.cuda.synchronize()
    # What cuBLAS works in stays for the process: 64 MiB on an H200.
    torch._C._cuda_clearCublasWorkspaces()
    assert torch.cuda.memory_allocated() < 1 << 20
