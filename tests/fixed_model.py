# SPDX-License-Identifier: BSD-3-Clause
"""A stand-in for a fitted model, so that tests of the command line train nothing.

Run as a script it is the command line with that model; it then waits for a while before
each image, so that something can happen to it.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from psmlearn.io import check_images


class SelfActivationMapper:
    """Stands for the mapper of a chain, which is known by its name."""

    def transform(self, images):
        batch = check_images(images)
        return [np.concatenate([i, i[..., :1]], axis=2) for i in batch]


class FixedModel:
    """Stands for a fitted model: pixels of the upper left corner are one nucleus."""

    labeler_ = SelfActivationMapper()

    def __init__(self, classes=None, wait=0.0):
        self.classes = classes
        self.wait = wait

    def predict(self, images):
        time.sleep(self.wait)
        masks = []
        for image in check_images(images):
            mask = np.zeros(image.shape[:2], dtype=np.int32)
            mask[:4, :5] = 1
            masks.append(np.dstack([mask, mask]) if self.classes else mask)
        return masks


def classes_of(chain):
    """Return the classes that an unfitted chain of the command line tells apart."""
    return getattr(chain.labeler, "classes", None)


if __name__ == "__main__":
    from psmlearn import _cli
    from psmlearn._cli import _chain

    def train(chain, batch):
        return FixedModel(classes_of(chain), float(os.environ.get("WAIT", "0")))

    _chain.train = train
    _cli.main(sys.argv[1:])
