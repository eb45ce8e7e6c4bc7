# SPDX-License-Identifier: BSD-3-Clause
"""What the papers' released codes do, built from the estimators by parameters alone.

Each is written out once, here, with the code's own values; the rows ``psm-paper`` and
``crs-paper`` run them. Lengths of training are the codes' where there is a GPU. On a
CPU they would take days and are cut, and the quick mode cuts networks too.

What no parameter reaches: learning rates go up and down in one cycle (but for the
mapper's), crops are flipped and turned, values are standardised in the estimators' own
way, and PSM's objects are split by their outline where the code takes what hangs
together. No ImageNet weights are at hand: PSM's ResUNet-34 starts at random.

References
----------
P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior Self-activation
Maps", MICCAI 2023 (PSM). Kuang et al., "Cluster-Re-Supervision: Bridging the Gap
Between Image-Level and Pixel-Wise Labels for Weakly Supervised Medical Image
Segmentation", IEEE JBHI 27(10), 2023 (CRS).
"""

from __future__ import annotations

import torch
from sklearn.pipeline import Pipeline

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.activation import Similarity
from psmlearn.segmentation import Voronoi
from psmlearn.weak import ClusterResupervision, Reconstruction

# PSM crops the middle 512 x 512 pixels of every image, CRS takes slices of 240 x 240.
PSM_SIZE = 512
CRS_SIZE = 240
CRS_BATCH_SIZE = 16
PSM_LENGTHS = {
    "paper": {"mapper": 100, "networks": 100},
    "cpu": {"mapper": 3, "networks": 15},
    "quick": {"mapper": 1, "networks": 1},
}
# The clusters of one image: mean heat-blue and red, heat-green and green are lowest in
# the one that is nuclei. The code drops no object, and fills holes below 64 pixels.
PSM_CLUSTERS = {
    "n_clusters": 3,
    "fusion": "jet",
    "foreground": "paper",
    "min_contrast": 0,
    "min_area": 0,
    "max_hole_area": 4,
    "opening_radius": 0,
    "instances": False,
    "n_init": 10,
    "max_iter": 20,
}


def choose_length(quick: bool) -> str:
    """Name the length of training: "quick", else "paper" with a GPU, "cpu" without."""
    if quick:
        return "quick"
    return "paper" if torch.cuda.is_available() else "cpu"


def make_psm(
    n_images: int = 30,
    size: int = PSM_SIZE,
    *,
    length: str = "paper",
    polarity: str | None = None,
) -> PseudoLabelSegmenter:
    """Build PSM: similarity pretext, clusters of heat and colour, two Voronoi stages.

    Parameters
    ----------
    n_images : int
        Images that it will be fitted to. The code holds a tenth of them out, another
        one in each epoch.
    size : int
        Side of the images, a multiple of 32.
    length : {"paper", "cpu", "quick"}
        How long it trains.
    polarity : str or None
        What chooses the sign of the maps. The code leaves it to chance (None).
    """
    n_train = max(1, n_images - (n_images // 10 + 1))
    lengths, is_quick = PSM_LENGTHS[length], length == "quick"
    mapper = SelfActivationMapper(
        network="resnet18" if is_quick else "res2net101_26w_4s",
        pretext=Similarity(loss_function="l1", augment=False),
        layers="layer1" if is_quick else ["layer1.0", "layer1.1", "layer1.2"],
        crop="center",
        patch_size=size,
        batch_size=1,
        input_scale="byte",
        map_input_scale="unit",
        output_unit=0,
        channel_weights="image",
        scale="image",
        polarity=polarity,
        learning_rate=1e-4,
        weight_decay=0,
        schedule="constant",
        max_gradient_norm=None,
        max_epochs=lengths["mapper"],
        steps_per_epoch=n_train,
    )
    clusterer = SemanticClusterer(n_samples=size * size, **PSM_CLUSTERS)
    training = {
        "network": "resunet34",
        "stain_jitter": 0,
        "appearance_randomisation": 0,
        "max_epochs": lengths["networks"],
        "steps_per_epoch": -(-n_train // 4),
        "batch_size": 4,
        "patch_size": size,
        "learning_rate": 1e-4,
        "weight_decay": 0,
        "early_stopping": False,
    }
    # 20, 6 and 2.3 pixels at 40x.
    detector = NucleiDetector(
        targets="mask",
        merge_distance=5.0,
        min_distance=1.5,
        smoothing=0.575,
        threshold=0.5,
        **training,
    )
    segmenter = NucleiSegmenter(
        targets=Voronoi(detector=detector, weight=1.5, mask_foreground=False),
        min_area=0,
        threshold=0.5,
        **training,
    )
    labeler = Pipeline([("maps", mapper), ("clusters", clusterer)])
    return PseudoLabelSegmenter(labeler, segmenter)


def make_crs(n_images: int = 3000, *, length: str = "paper") -> ClassActivationMapper:
    """Build CRS: maps of image labels, its clusters and its reconstruction.

    Parameters
    ----------
    n_images : int
        Images that it will be fitted to; an epoch sees each once.
    length : {"paper", "cpu", "quick"}
        How long it trains.
    """
    lengths = {
        "paper": {
            "max_epochs": 40,
            "steps_per_epoch": -(-n_images // CRS_BATCH_SIZE),
        },
        "cpu": {"max_epochs": 2, "steps_per_epoch": 10},
        "quick": {
            "max_epochs": 1,
            "steps_per_epoch": 2,
            "batch_size": 4,
            "base_channels": 8,
            "patch_size": 64,
        },
    }
    literal = {
        "base_channels": 64,
        "cam_levels": (3, 5),
        "map_scale": "raw",
        "suppression_weight": 1.0,
        "resupervision": ClusterResupervision(
            weight=0.1,
            n_clusters=10,
            voting="any",
            target="one",
            area="image",
            warm_up=0.0,
        ),
        "reconstruction": Reconstruction(
            weight=0.1, mask_patch_size=4, mask_fraction=0.01, target_channel=0
        ),
        "refinement": None,
        "value_range": None,
        "threshold": 0.5,
        "batch_size": CRS_BATCH_SIZE,
        "patch_size": CRS_SIZE,
        "learning_rate": 1e-5,
        "weight_decay": 0.0,
        "early_stopping": False,
    }
    return ClassActivationMapper(**literal | lengths[length])
