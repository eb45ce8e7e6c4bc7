# SPDX-License-Identifier: BSD-3-Clause
"""Stages are told in order, bars only of what takes long."""

from __future__ import annotations

import logging
import time

import pytest
from sklearn.pipeline import make_pipeline
from small_estimators import SMALL, make_small

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn._progress import announce, progress_bar, stages, track
from psmlearn.datasets import make_nuclei
from psmlearn.segmentation._pseudo_label import chain_stages

NUCLEI = make_nuclei(n_images=2, shape=(64, 64), random_state=0)


def _chain(**parameters):
    labeler = make_pipeline(
        make_small(SelfActivationMapper), SemanticClusterer(pixel_size=0.5)
    )
    return PseudoLabelSegmenter(
        labeler, make_small(NucleiSegmenter), random_state=0, **parameters
    )


def test_stages_of_a_chain_are_numbered(caplog):
    with caplog.at_level(logging.INFO, "psmlearn"):
        _chain().fit(NUCLEI.images)
    told = [each.getMessage() for each in caplog.records]
    assert told == [
        "1 of 3: training maps",
        "2 of 3: pseudo masks",
        "3 of 3: training the segmenter",
    ]


def test_rounds_are_stages():
    chain = _chain()
    assert chain_stages(chain.labeler, chain.segmenter, 3) == [
        "training maps",
        "pseudo masks",
        "training the segmenter",
        *["own masks", "training the segmenter"] * 2,
    ]


def test_a_part_alone_is_no_stage(caplog):
    with caplog.at_level(logging.INFO, "psmlearn"):
        make_small(NucleiSegmenter).fit(NUCLEI.images, NUCLEI.masks)
    assert caplog.records == []


def test_stages_within_others_are_theirs(caplog):
    with caplog.at_level(logging.INFO, "psmlearn"), stages(["a", "b", "a", "c"]):
        announce("a")
        with stages(["x"]):
            announce("x")
            announce("b")
        announce("b")  # behind
        announce("c")
    told = [each.getMessage() for each in caplog.records]
    assert told == ["1 of 4: a", "2 of 4: b", "4 of 4: c"]


def test_verbose_reaches_given_parts():
    chain = _chain(verbose=1).fit(NUCLEI.images)
    assert [step.verbose for _, step in chain.labeler_.steps] == [1, 1]
    assert chain.segmenter_.verbose == 1
    assert chain.segmenter.verbose == 0
    assert "verbose" not in SMALL[NucleiSegmenter]


@pytest.mark.parametrize(("verbose", "slow"), [(0, True), (1, False), (1, True)])
def test_bar_is_shown_of_what_takes_long(verbose, slow, capfd, monkeypatch):
    monkeypatch.setattr("psmlearn._progress._DELAY", 0.1)
    for _ in track(range(3), 3, "counting", verbose=verbose):
        time.sleep(0.15 if slow else 0)
    assert ("counting" in capfd.readouterr().err) == (verbose == 1 and slow)


def test_bar_begins_where_it_was_left(capfd, monkeypatch):
    monkeypatch.setattr("psmlearn._progress._DELAY", 0)
    with progress_bar(10, "steps", verbose=1, done=7) as bar:
        bar.update()
    assert "8/10" in capfd.readouterr().err
