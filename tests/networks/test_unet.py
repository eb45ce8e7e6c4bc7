# SPDX-License-Identifier: BSD-3-Clause
"""The U-Net: shapes, exact tiling, gradients, errors."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from psmlearn.networks import ResUNet34, UNet


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw the statistics of batch norms and all biases, as after training."""
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                fill(module.running_mean, -0.5, 0.5)
                fill(module.running_var, 0.5, 2.0)
                fill(module.weight, 0.5, 1.5)
                fill(module.bias, -0.5, 0.5)
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                if module.bias is not None:
                    fill(module.bias, -0.5, 0.5)
    return network.eval()


def predict_tiled(network, image, tile_size, halo):
    """Assemble the output from cores of `tile_size` with context of `halo`."""
    height, width = image.shape[2:]
    output = image.new_empty(1, network.out_channels, height, width)
    for top in range(0, height, tile_size):
        for left in range(0, width, tile_size):
            bottom = min(top + tile_size, height)
            right = min(left + tile_size, width)
            row, column = max(top - halo, 0), max(left - halo, 0)
            tile = image[
                :,
                :,
                row : min(bottom + halo, height),
                column : min(right + halo, width),
            ]
            output[:, :, top:bottom, left:right] = network(tile)[
                :, :, top - row : bottom - row, left - column : right - column
            ]
    return output


def make_all_positive(network: nn.Module) -> nn.Module:
    """Make every path from input to output carry a positive gradient."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                # Small enough that sums neither vanish nor overflow.
                module.weight.fill_(1.0 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.fill_(0.1)
            elif isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(0.1)
    return network.double().eval()


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return randomise(UNet(3, 3))


@pytest.fixture(scope="module")
def whole(unet):
    image = torch.rand(1, 3, 464, 352, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return image, unet(image)


def test_default_size_and_attributes():
    network = UNet(3, 2)
    assert sum(weight.numel() for weight in network.parameters()) == 1_942_594
    assert (network.stride, network.halo, network.exact_tiling) == (16, 112, True)
    assert network.halo % network.stride == 0
    assert network.receptive_radius <= network.halo


@pytest.mark.parametrize(
    "tile_size",
    [16, 96, 208, *(pytest.param(n, marks=pytest.mark.slow) for n in (48, 144, 256))],
)
def test_tiles_equal_the_whole_image(unet, whole, tile_size):
    image, expected = whole
    with torch.inference_mode():
        if tile_size < 64:  # many tiles: a strip of the image will do
            image = image[:, :, :224, :64]
            expected = unet(image)
        tiled = predict_tiled(unet, image, tile_size, unet.halo)
    assert expected.std() > 0.1
    # Logits may be large, so their rounding is judged by their spread.
    tolerance = 2e-5 * max(1.0, expected.std().item())
    torch.testing.assert_close(tiled, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(tiled.softmax(1), expected.softmax(1), rtol=0, atol=1e-5)


def test_tiles_equal_the_whole_image_in_double_precision():
    torch.manual_seed(4)
    network = randomise(UNet(1, 2, base_channels=4)).double()
    image = torch.rand(1, 1, 432, 208, dtype=torch.double)
    with torch.inference_mode():
        tiled = predict_tiled(network, image, 80, network.halo)
        torch.testing.assert_close(tiled, network(image), rtol=0, atol=1e-12)


def test_a_halo_that_is_too_small_shows(unet, whole):
    image, expected = whole
    with torch.inference_mode():
        tiled = predict_tiled(unet, image, 96, 16)
    assert (tiled - expected).abs().max() > 1e-4


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tiles_equal_the_whole_image_at_other_depths(depth):
    torch.manual_seed(depth)
    network = randomise(UNet(2, 1, base_channels=4, depth=depth), depth)
    image = torch.rand(1, 2, 160, 112)
    with torch.inference_mode():
        tiled = predict_tiled(network, image, 3 * network.stride, network.halo)
        torch.testing.assert_close(tiled, network(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_receptive_radius_is_what_gradients_reach(depth):
    network = make_all_positive(UNet(1, 1, base_channels=1, depth=depth))
    radius, stride = network.receptive_radius, network.stride
    side = 2 * radius + 3 * stride
    side += -side % stride
    # Pooling passes gradients to the largest of a window only: average instead.
    reach = 0
    original = nn.functional.max_pool2d
    nn.functional.max_pool2d = nn.functional.avg_pool2d
    try:
        middle = (radius + stride) // stride * stride
        for offset in range(stride):
            image = torch.ones(1, 1, side, stride, dtype=torch.double)
            image.requires_grad_()
            network(image)[0, 0, middle + offset].sum().backward()
            rows = image.grad[0, 0].sum(dim=1).nonzero()[:, 0]
            reach = max(reach, middle + offset - int(rows[0]))
            reach = max(reach, int(rows[-1]) - middle - offset)
    finally:
        nn.functional.max_pool2d = original
    assert reach == radius


def test_seed_decides_the_weights():
    torch.manual_seed(3)
    first = UNet(3, 2, base_channels=4)
    torch.manual_seed(3)
    second = UNet(3, 2, base_channels=4)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])


@pytest.mark.parametrize("build", [UNet, ResUNet34])
@pytest.mark.parametrize("in_channels", [1, 5])
def test_output_has_the_size_of_the_input(build, in_channels):
    network = build(in_channels, 4).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, in_channels, 32, 64))
    assert output.shape == (2, 4, 32, 64)


@pytest.mark.parametrize("build", [UNet, ResUNet34])
def test_gradients_reach_every_weight(build):
    torch.manual_seed(0)
    network = build(3, 2).train()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    idle = [n for n, w in network.named_parameters() if not w.grad.any()]
    # A bias before batch norm may be left without: none of ours is.
    assert idle == []


@pytest.mark.parametrize("build", [UNet, ResUNet34])
def test_pickle_and_state_dict_round_trips(build):
    torch.manual_seed(0)
    network = randomise(build(3, 2))
    image = torch.rand(1, 3, 32, 32)
    other = build(3, 2).eval()
    other.load_state_dict(network.state_dict())
    copied = pickle.loads(pickle.dumps(network))
    with torch.inference_mode():
        expected = network(image)
        assert torch.equal(other(image), expected)
        assert torch.equal(copied(image), expected)
    assert (copied.stride, copied.halo) == (network.stride, network.halo)


@pytest.mark.parametrize("build", [UNet, ResUNet34])
def test_channels_last_gives_the_same(build):
    torch.manual_seed(0)
    network = randomise(build(3, 2))
    image = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        expected = network(image)
        network = network.to(memory_format=torch.channels_last)
        output = network(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 40, 32), "multiples of 16.*40 x 32"),
        ((1, 3, 0, 32), "multiples of 16"),
        ((1, 4, 32, 32), r"\(n, 3, height, width\)"),
        ((3, 32, 32), r"\(n, 3, height, width\)"),
    ],
)
def test_wrong_batches_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        UNet(3, 2, base_channels=2)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1"),
        ({"out_channels": 1.5}, TypeError, "out_channels must be an integer"),
        ({"base_channels": -1}, ValueError, "base_channels"),
        ({"depth": True}, TypeError, "depth"),
    ],
)
def test_wrong_sizes_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        UNet(**{"in_channels": 3, "out_channels": 2, **options})


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(2, 2, base_channels=6, depth=2, norm="instance").eval()


class TestInstanceNormalisation:
    def test_no_batch_is_pooled(self, network):
        assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
        assert not network.exact_tiling and UNet(1, 1, 2, 1).exact_tiling

    def test_it_is_instance_normalisation(self, network):
        norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
        assert len(norms) == 10
        features = torch.rand(2, norms[0].num_channels, 5, 7) * 3 + 1
        expected = functional.instance_norm(features)
        torch.testing.assert_close(norms[0](features), expected)

    def test_other_images_do_not_matter(self, network):
        images = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            together = network.train()(images)
            alone = network.eval()(images[1:2])
        torch.testing.assert_close(together[1:2], alone)

    def test_contrast_hardly_matters(self, network):
        image = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            torch.testing.assert_close(
                network(9 * image), network(image), atol=0.05, rtol=0.05
            )

    def test_one_pixel_at_the_deepest_level(self, network):
        with torch.inference_mode():
            assert torch.isfinite(network(torch.rand(1, 2, 4, 4))).all()

    def test_an_unknown_normalisation(self):
        with pytest.raises(ValueError, match="norm must be one of.*got 'layer'"):
            UNet(1, 1, norm="layer")


@pytest.mark.parametrize(
    ("margins", "depth"),
    [((112, 112, 112, 112), 4), ((0, 16, 48, 0), 4), ((8, 0, 4, 24), 2), ((0,) * 4, 3)],
)
def test_context_is_left_out_bit_by_bit(margins, depth):
    torch.manual_seed(0)
    network = UNet(3, 2, base_channels=4, depth=depth).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    images = torch.rand(2, 3, 256, 272)
    top, left, bottom, right = margins
    with torch.inference_mode():
        whole = network(images)[:, :, top : 256 - bottom, left : 272 - right]
        assert torch.equal(network(images, margins), whole)


def test_instance_norms_need_the_context():
    assert UNet(1, 2, norm="instance").takes_margins is False
    assert UNet(1, 2).takes_margins is True
