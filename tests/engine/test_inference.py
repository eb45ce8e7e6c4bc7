# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch

from psmlearn._engine._inference import predict_images
from psmlearn.networks import build_network

CPU = torch.device("cpu")


def default_network():
    torch.manual_seed(0)
    network = build_network("unet", 3, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def predict(network, images, **options):
    options = {"tile_size": 4096, "batch_pixels": 1 << 16, "device": CPU} | options
    return list(predict_images(network, images, lambda x: x.softmax(1), **options))


@pytest.fixture(scope="module")
def whole():
    """A network, an image and what comes of the image in one piece."""
    network = default_network()
    image = np.random.default_rng(0).random((417, 350, 3), dtype=np.float32)
    answer = predict(network, [image])[0]
    assert answer.shape == (417, 350, 3)
    return network, image, answer


@pytest.mark.parametrize(
    "tile_size",
    [16, 100, 256, *(pytest.param(n, marks=pytest.mark.slow) for n in (128, 200, 333))],
)
def test_tiles_equal_the_whole_image(whole, tile_size):
    network, image, answer = whole
    if tile_size < 64:  # many tiles, all halo: a corner of the image will do
        image = image[:70, :50]
        answer = predict(network, [image])[0]
    tiled = predict(network, [image], tile_size=tile_size)[0]
    np.testing.assert_allclose(tiled, answer, atol=1e-5)


def test_images_of_many_sizes_share_batches_in_order():
    network = default_network()
    rng = np.random.default_rng(0)
    shapes = [(40, 56), (16, 16), (40, 56), (1, 1), (33, 70)]
    images = [rng.random((*shape, 3), dtype=np.float32) for shape in shapes]
    together = predict(network, images)
    for image, output in zip(images, together, strict=True):
        assert output.shape[:2] == image.shape[:2]
        np.testing.assert_allclose(output, predict(network, [image])[0], atol=1e-5)


def test_the_network_is_left_as_it_was():
    network = default_network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    flags = [p.requires_grad for p in network.parameters()]
    predict(network, [np.zeros((32, 32, 3), np.float32)])
    assert flags == [p.requires_grad for p in network.parameters()]
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_bfloat16_stays_close():
    network = default_network()
    image = [np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)]
    half = predict(network, image, precision="bfloat16")[0]
    assert np.abs(half - predict(network, image)[0]).max() < 0.05
    assert half.dtype == np.float32
