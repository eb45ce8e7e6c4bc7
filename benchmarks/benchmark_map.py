# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of the activation maps beside a hook-based Grad-CAM, for asv."""

import time
import warnings

import numpy as np
import torch

from psmlearn import SelfActivationMapper
from psmlearn.datasets import make_nuclei


def plain_gradcam(network, layer, batch):
    """Map as most tutorials do: module hooks, gradients of all parameters."""
    kept = {}
    hooks = [
        layer.register_forward_hook(lambda *a: kept.update(activation=a[2])),
        layer.register_full_backward_hook(lambda *a: kept.update(gradient=a[2][0])),
    ]
    try:
        network.zero_grad()
        network(batch)[:, 0].sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
    weights = kept["gradient"].mean(dim=(2, 3), keepdim=True)
    return (weights * kept["activation"]).sum(dim=1).detach()


def full_size_gradcam(network, layer, batch):
    """Bring these maps to the size of the images, as the mapper does: its peer."""
    return torch.nn.functional.interpolate(
        plain_gradcam(network, layer, batch)[:, None],
        size=batch.shape[2:],
        mode="bilinear",
        align_corners=False,
    )


def best_time(function, repeats=3):
    """Shortest of a few runs, in seconds."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


class Maps:
    """Maps of images of 512x512 by a network that has barely been trained."""

    params = [["resnet18", "resnet50"]]
    param_names = ["network"]
    timeout = 600

    def setup(self, network):
        warnings.simplefilter("ignore")
        self.images = make_nuclei(n_images=2, shape=(512, 512), random_state=0).images
        self.mapper = SelfActivationMapper(
            network=network,
            layers="layer1",
            max_epochs=1,
            steps_per_epoch=1,
            batch_size=2,
            patch_size=64,
            device="cpu",
            random_state=0,
        ).fit(self.images)
        self.network = self.mapper.network_
        pixels = self.images.astype(np.float32) / 255
        self.batch = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)

    def time_transform(self, network):
        self.mapper.transform(self.images)

    def time_hook_gradcam(self, network):
        full_size_gradcam(self.network, self.network.backbone.layer1, self.batch)

    def peakmem_setup(self, network):
        """Give the memory that is there before the maps, to be subtracted."""

    def peakmem_transform(self, network):
        self.mapper.transform(self.images)

    def peakmem_hook_gradcam(self, network):
        full_size_gradcam(self.network, self.network.backbone.layer1, self.batch)

    def track_speedup(self, network):
        """Time of the hook-based Grad-CAM by that of the mapper's `transform`.

        The mapper's channel weights come from `fit`, so it needs no backward pass;
        ``duel_map.py`` compares equal maps.
        """
        peer = best_time(
            lambda: full_size_gradcam(
                self.network, self.network.backbone.layer1, self.batch
            )
        )
        return peer / best_time(lambda: self.mapper.transform(self.images))

    track_speedup.unit = "ratio"
