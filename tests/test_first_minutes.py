# SPDX-License-Identifier: BSD-3-Clause
"""What a newcomer sees first: the demo's result on real tissue is a good one."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu
from sklearn.metrics import roc_auc_score

from psmlearn import _cli, load_model
from psmlearn.datasets import load_sample_images
from psmlearn.io import read_labels
from psmlearn.metrics import aggregated_jaccard_score, object_f1_score


@pytest.mark.slow
def test_the_demo_finds_the_nuclei_of_the_sample(tmp_path):
    data = load_sample_images()
    model = tmp_path / "model.psm"
    arguments = ["segment", "--sample", "--quick", "--quiet", "--device", "cpu"]
    places = ["--output", str(tmp_path / "out"), "--model", str(model)]
    done = CliRunner().invoke(_cli.main, [*arguments, *places])
    assert done.exit_code == 0, done.output
    found = [read_labels(tmp_path / "out" / f"{n}_labels.tif") for n in data.names]
    # Better than plain thresholds of haematoxylin, by objects.
    otsu = []
    for image in data.images:
        smooth = ndi.gaussian_filter(rgb2hed(image)[..., 0], 1.5)
        otsu.append(ndi.label(smooth > threshold_otsu(smooth))[0].astype(np.int32))
    for score in (aggregated_jaccard_score, object_f1_score):
        assert score(data.masks, found) > score(data.masks, otsu)
    assert object_f1_score(data.masks, found) > 0.5
    # The map is bright on nuclei.
    maps = load_model(model).labeler_["maps"].transform(data.images)
    for stack, mask in zip(maps, data.masks, strict=True):
        assert roc_auc_score((mask > 0).ravel(), stack[..., -1].ravel()) > 0.8
    # And the model is one that can be applied.
    again = ["apply", str(data.filenames[0]), "--model", str(model), "--quiet"]
    done = CliRunner().invoke(_cli.main, [*again, "--output", str(tmp_path / "more")])
    assert done.exit_code == 0, done.output
    more = read_labels(tmp_path / "more" / "he_1_labels.tif")
    np.testing.assert_array_equal(more, found[0])
