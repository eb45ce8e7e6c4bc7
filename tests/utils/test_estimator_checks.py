# SPDX-License-Identifier: BSD-3-Clause
"""The image checks pass a sound estimator and catch each kind of broken one."""

from __future__ import annotations

import subprocess
import sys

import pytest
from broken_estimators import BROKEN, BROKEN_NETWORKS, OtsuLabeler, Prints
from small_estimators import PIXEL_TRAINING

from psmlearn.utils import estimator_checks
from psmlearn.utils.estimator_checks import (
    check_image_estimator,
    image_checks,
    parametrize_with_image_checks,
)


def cases(broken):
    return [
        pytest.param(cls, name, id=f"{cls.__name__}-{name}")
        for cls, names in broken.items()
        for name in names
    ]


def assert_caught(estimator, name):
    check = {found.__name__: found for found in image_checks(estimator)}[name]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        check(type(estimator).__name__, estimator)
    assert str(caught.value)


def test_a_sound_labeler_passes():
    passed = check_image_estimator(OtsuLabeler())
    assert "check_label_free" in passed and "check_tiles" not in passed


@pytest.mark.parametrize("broken, name", cases(BROKEN))
def test_broken_labelers_are_caught(broken, name):
    assert_caught(broken(), name)


@pytest.mark.parametrize("broken, name", cases(BROKEN_NETWORKS))
def test_broken_networks_are_caught(broken, name):
    assert_caught(broken(**PIXEL_TRAINING), name)


def test_expected_failures_are_strict():
    with pytest.raises(AssertionError, match="was expected to fail"):
        check_image_estimator(
            OtsuLabeler(), expected_failed_checks={"check_parameters": "a reason"}
        )
    with pytest.raises(ValueError, match="check_nonsense"):
        check_image_estimator(
            OtsuLabeler(), expected_failed_checks={"check_nonsense": "a reason"}
        )
    reasons = {"check_nothing_printed": "it prints"}
    passed = check_image_estimator(Prints(), expected_failed_checks=reasons)
    assert "check_nothing_printed" not in passed


def test_parametrize_marks_and_names_cases():
    decorator = parametrize_with_image_checks(
        [OtsuLabeler()], expected_failed_checks=lambda _: {"check_hash": "a reason"}
    )
    found = {case.id: case for case in decorator.args[1]}
    case = found["OtsuLabeler-check_hash"]
    assert case.marks[0].kwargs == {"reason": "a reason", "strict": True}
    assert not found["OtsuLabeler-check_pickle"].marks


def test_a_class_is_refused():
    with pytest.raises(TypeError, match="instance"):
        image_checks(OtsuLabeler)


def test_every_check_is_public_and_described():
    for name in estimator_checks.__all__:
        assert getattr(estimator_checks, name).__doc__


def test_checks_need_no_torch_where_there_is_no_network():
    code = (
        "import sys\n"
        "from test_estimator_checks_light import Plain\n"
        "from psmlearn.utils.estimator_checks import check_image_estimator\n"
        "check_image_estimator(Plain())\n"
        "assert 'torch' not in sys.modules\n"
    )
    module = (
        "import types, sys\n"
        "import numpy as np\n"
        "from psmlearn.base import BaseImageEstimator\n"
        "from sklearn.utils.validation import check_is_fitted\n"
        "class Plain(BaseImageEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        self._check_images(X, reset=True)\n"
        "        return self\n"
        "    def predict(self, X):\n"
        "        check_is_fitted(self)\n"
        "        images = self._check_images(X, reset=False)\n"
        "        return images.wrap([np.zeros(s, np.int32) for s in images.shapes])\n"
        "Plain.__module__ = 'test_estimator_checks_light'\n"
        "light = types.ModuleType('test_estimator_checks_light')\n"
        "light.Plain = Plain\n"
        "sys.modules['test_estimator_checks_light'] = light\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", module + code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
