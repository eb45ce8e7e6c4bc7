# SPDX-License-Identifier: BSD-3-Clause
import pytest


def test_the_suite_runs_beside_a_broken_torchvision():
    with pytest.raises(RuntimeError, match="nms does not exist"):
        import torchvision  # noqa: F401
