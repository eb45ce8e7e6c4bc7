# SPDX-License-Identifier: BSD-3-Clause
"""Workers of Dask: one may die in the middle, and nothing changes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import torch

from psmlearn.io import Slide
from psmlearn.slides import segment_slide
from tests.slides import overwrite, segments

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.fixture(scope="module")
def cluster():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def one_thread():
    """What workers have: the last bits of a network's answer hang on it."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def _bytes(result, kind):
    with open(result.files[kind], "rb") as file:
        return file.read()


def test_a_worker_that_is_killed_costs_its_part_only(
    segmenter, slide_path, tmp_path, cluster, one_thread
):
    alone = segment_slide(
        segmenter, slide_path, tmp_path / "alone", tissue=None, block_size=200
    )
    victims = list(cluster.run(os.getpid).values())
    killed = []

    def kill():
        # Once some parts are done.
        folder = tmp_path / "two" / ".made.svs.psmlearn"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if len(list(folder.glob("answers/*.npy"))) >= 2:
                os.kill(victims[0], signal.SIGKILL)
                killed.append(victims[0])
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    two = segment_slide(
        segmenter,
        slide_path,
        tmp_path / "two",
        tissue=None,
        block_size=200,
        workers=cluster,
    )
    thread.join()
    assert killed and killed[0] not in cluster.run(os.getpid).values()
    for kind in ("labels", "table"):
        assert _bytes(two, kind) == _bytes(alone, kind)


def test_workers_need_a_path(segmenter, tmp_path):
    picture = np.full((200, 200, 3), 200, np.uint8)
    with pytest.raises(ValueError, match="give the path of a slide"):
        segment_slide(segmenter, Slide(picture, pixel_size=0.25), tmp_path, workers=2)


@pytest.mark.slow
def test_a_part_that_cannot_be_done_is_told(segmenter, slide_path, tmp_path, cluster):
    with pytest.raises(Exception, match="stains must be haematoxylin"):
        segment_slide(
            segmenter,
            slide_path,
            tmp_path,
            tissue=None,
            stains=("violet",),
            workers=cluster,
        )


def test_what_workers_could_not_read_is_told(
    segmenter, slide_path, tmp_path, cluster, one_thread
):
    damaged = shutil.copy(slide_path, tmp_path / "damaged.svs")
    for offset, count in segments(damaged)[:2]:
        overwrite(damaged, offset, b"\0" * count)
    found = [
        segment_slide(
            segmenter,
            damaged,
            tmp_path / str(workers is None),
            tissue=None,
            block_size=200,
            workers=workers,
        )
        for workers in (None, cluster)
    ]
    assert len(found[0].problems) == 2
    assert found[0].problems == found[1].problems
    assert _bytes(found[0], "labels") == _bytes(found[1], "labels")
