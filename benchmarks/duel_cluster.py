# SPDX-License-Identifier: BSD-3-Clause
"""K-means of the pixels of one image: psmlearn against scikit-learn, in one run.

    python -m benchmarks.duel_cluster [IMAGE]

Prints the seconds of fit and assignment together (the best of some repeats), their
ratio, and both inertias, on the features that SemanticClusterer clusters.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from psmlearn._images._kmeans import assign, fit_kmeans
from psmlearn.cluster._features import fit_scale, pixel_features
from psmlearn.datasets import make_nuclei
from psmlearn.io import read_image

N_CLUSTERS = 3


def image_with_map(path: str | None = None, side: int = 1000) -> np.ndarray:
    """Return an image with a stand-in for its map: the blurred darkness."""
    from scipy.ndimage import gaussian_filter

    if path is None:
        n_nuclei = max(1, side * side // 1600)
        shape = (side, side)
        images = make_nuclei(1, shape, n_nuclei=n_nuclei, random_state=0).images
        image = images[0].astype(np.float32) / 255
    else:
        stored = read_image(path)[..., :3]
        image = stored.astype(np.float32) / np.iinfo(stored.dtype).max
    heat = gaussian_filter(1 - image.mean(axis=-1), 4)
    return np.concatenate([image, heat[..., np.newaxis]], axis=-1)


def duel(image: np.ndarray, fusion: str, n_repeats: int = 3) -> dict[str, float]:
    """Time both on the features of one image.

    Returns
    -------
    result : dict
        "ours" and "sklearn" in seconds, "ratio" (how many times faster ours is) and
        "excess" (our inertia above scikit-learn's, as a fraction of it).
    """
    planes = pixel_features(
        image,
        fusion=fusion,
        smoothing=1.5,
        background_sigma=16.0,
        background_weight=0.75,
        image_weight=1.0,
    ).planes
    if fusion == "concat":
        planes = fit_scale(planes, 0.5).apply(planes)
    ours = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        centers, _ = fit_kmeans(planes, N_CLUSTERS, 20_000, np.random.default_rng(0))
        _, inertia = assign(planes, centers, return_inertia=True)
        ours.append(time.perf_counter() - start)
    table = np.ascontiguousarray(planes.T)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer = KMeans(N_CLUSTERS, n_init=10, max_iter=20, random_state=0).fit(table)
    peer_time = time.perf_counter() - start
    return {
        "ours": min(ours),
        "sklearn": peer_time,
        "ratio": peer_time / min(ours),
        "inertia": inertia,
        "inertia_sklearn": float(peer.inertia_),
        "excess": inertia / float(peer.inertia_) - 1,
    }


def main() -> None:
    """Print one line per fusion."""
    image = image_with_map(sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"{image.shape[0]}x{image.shape[1]} pixels, {N_CLUSTERS} clusters")
    for fusion in ("concat", "jet"):
        result = duel(image, fusion)
        print(
            f"{fusion:7} ours {result['ours']:.4f} s, sklearn.cluster.KMeans(n_init=10,"
            f" max_iter=20) {result['sklearn']:.3f} s: {result['ratio']:.1f} times "
            f"faster, inertia {result['inertia']:.6g} against "
            f"{result['inertia_sklearn']:.6g} ({100 * result['excess']:+.3f} %)"
        )


if __name__ == "__main__":
    main()
