# SPDX-License-Identifier: BSD-3-Clause
"""README's picture, from the results of `make demo`: image, map, outlines.

python .ci/picture.py demo docs/_static/first_segmentation.jpg
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from psmlearn.datasets import load_sample_image
from psmlearn.io import read_image

NAME = "he_1"
SIZE = (640, 512)
GAP = 8


def main(demo: str, target: str) -> None:
    image = load_sample_image(NAME)
    overlay = read_image(f"{demo}/{NAME}_overlay.png")[..., :3]
    activation_map = read_image(f"{demo}/{NAME}_map.png")[..., :3]
    outlined = np.array(_enlarge(image))
    drawn = np.array(_enlarge((overlay != image).any(axis=-1), smooth=False))
    outlined[drawn] = np.array(_enlarge(overlay, smooth=False))[drawn]
    picture = Image.new("RGB", (3 * SIZE[0] + 2 * GAP, SIZE[1]), "white")
    panels = (_enlarge(image), _enlarge(activation_map), Image.fromarray(outlined))
    for column, panel in enumerate(panels):
        picture.paste(panel, (column * (SIZE[0] + GAP), 0))
    picture.save(target, quality=88)


def _enlarge(pixels: np.ndarray, *, smooth: bool = True) -> Image.Image:
    resampling = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize(SIZE, resampling)


if __name__ == "__main__":
    main(*sys.argv[1:])
