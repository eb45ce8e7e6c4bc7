# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark of stages measures each of them, on whatever it is given."""

import warnings

import pytest

from psmlearn import NucleiSegmenter
from psmlearn.datasets import make_nuclei

stages = pytest.importorskip(
    "benchmarks.stages", reason="needs benchmarks/ of the repository"
)


def test_each_stage_takes_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_TILE", 32)
    data = make_nuclei(n_images=2, shape=(96, 80), n_nuclei=12, random_state=0)
    images = list(data.images)
    segmenter = NucleiSegmenter(
        max_epochs=1, steps_per_epoch=2, batch_size=2, patch_size=32, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmenter.fit(images, data.masks)
        measured = dict(stages.measure(images, segmenter, tmp_path, repeats=1))
    parts = ("maps", "clusters", "Reinhard", "network, whole", "network, inner")
    for part in (*parts, "predict", "labels", "overlay"):
        assert [value for name, value in measured.items() if name.startswith(part)]
    decoding = measured.pop("decoding")  # a difference, of noise where it is short
    assert min(measured.values()) > 0
    assert measured["predict"] == measured["network, whole image"] + decoding
    written = measured["labels, GeoJSON and table, written"]
    assert measured["predict and write"] == measured["predict"] + written
    assert {path.name for path in tmp_path.iterdir()} >= {"overlay.png", "labels.tif"}
