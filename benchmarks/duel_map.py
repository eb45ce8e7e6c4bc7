# SPDX-License-Identifier: BSD-3-Clause
"""Maps against a plain Grad-CAM by hooks: python -m benchmarks.duel_map."""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch

from benchmarks.benchmark_map import plain_gradcam
from psmlearn import SelfActivationMapper
from psmlearn.activation import activation_maps
from psmlearn.datasets import make_nuclei


def fast_gradcam(network, batch):
    """The package's: no parameter gradients, none before the layer, channels last."""
    batch = batch.contiguous(memory_format=torch.channels_last)
    return activation_maps(network, batch, ["layer1"])[0]


def main():
    """Time both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = make_nuclei(n_images=2, shape=(512, 512), random_state=0).images
    mapper = SelfActivationMapper(
        network="resnet50",
        max_epochs=1,
        steps_per_epoch=10,
        patch_size=64,
        device="cpu",
        random_state=0,
    ).fit(images)
    network = mapper.network_
    with torch.no_grad():
        pixels = torch.from_numpy(images[:1] / np.float32(255)).permute(0, 3, 1, 2)
        batch = network.scale(pixels, "standard").contiguous()
    batch = batch[..., : arguments.side, : arguments.side]
    peer = copy.deepcopy(network.backbone).to(memory_format=torch.contiguous_format)
    peer.requires_grad_(True)
    ours = copy.deepcopy(network.backbone).to(memory_format=torch.channels_last)
    times = {"peer": [], "ours": []}
    for turn in range(arguments.rounds + 1):
        start = time.perf_counter()
        expected = plain_gradcam(peer, peer.layer1, batch)
        middle = time.perf_counter()
        maps = fast_gradcam(ours, batch)
        end = time.perf_counter()
        if turn:  # the first round warms up
            times["peer"].append(middle - start)
            times["ours"].append(end - middle)
    scale = expected.abs().max()
    difference = float((maps - expected).abs().max() / scale)
    medians = {name: np.median(values) for name, values in times.items()}
    ratio = np.median(np.divide(times["peer"], times["ours"]))
    print(f"ResNet-50, {arguments.side}x{arguments.side}, {arguments.threads} threads")
    print(f"plain hooks {medians['peer']:.3f} s, psmlearn {medians['ours']:.3f} s")
    print(f"ratio {ratio:.2f}, largest difference {difference:.1e} of the maximum")
    if difference > 1e-4:
        raise SystemExit("the maps differ")


if __name__ == "__main__":
    main()
