# SPDX-License-Identifier: BSD-3-Clause
"""Masks from image labels in the benchmark: scores, gains, and plain baselines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny_lgg import N_SLICES, PATIENTS, write_lgg, write_patients, write_volumes

from benchmarks.accuracy import datasets, flair, report_weak, rows_weak, weak
from psmlearn.metrics import dice_score


@pytest.fixture
def lgg_folder(tmp_path):
    return write_lgg(tmp_path / "data")


@given(seed=st.integers(0, 2**32 - 1))
def test_dice_is_that_of_the_metrics(seed):
    rng = np.random.default_rng(seed)
    shape = (4, *rng.integers(1, 9, 2))
    true, pred = ((rng.random(shape) < rng.random()).astype(int) for _ in "ab")
    true[0] = pred[1] = 0
    counts = weak.count(list(true), list(pred))
    expected = dice_score(list(true), list(pred), average=None)
    np.testing.assert_allclose(weak.dice(counts), expected)


def make_outcome(rng, shift=0.0, n_patients=6):
    """Make counts of patients with three slices each, one of them empty."""
    groups = np.repeat(np.arange(n_patients), 3)
    counts = np.zeros((len(groups), 3))
    counts[:, 1] = np.where(np.arange(len(groups)) % 3, 100, 0)
    counts[:, 2] = counts[:, 1]
    share = np.clip(rng.uniform(0.2, 0.6, len(groups)) + shift, 0, 1)
    counts[:, 0] = share * counts[:, 1]
    labels = counts[:, 1] > 0
    folds_of = groups % weak.N_FOLDS
    return weak.Outcome(
        {"plain": counts}, groups, folds_of, labels * 1.0, labels, labels
    )


def test_bootstrap_draws_the_same_patients_for_both():
    one, other = (make_outcome(np.random.default_rng(0), s) for s in (0.25, 0.0))
    pairs = [(one, "plain")] * 2, [(other, "plain")] * 2
    for part in ("report", "development", "all"):
        gains = weak.compare(*pairs, "lgg", part, n_draws=200)
        for name in weak.DICE:
            # The same gain in every slice: so in every draw.
            np.testing.assert_allclose(gains[name], [0.25] * 3)


def test_bootstrap_interval_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    one, other = make_outcome(rng, 0.1), make_outcome(rng)
    gains = weak.compare([(one, "plain")], [(other, "plain")], "brats", "all", 2000)
    loop = np.random.default_rng(7)
    found = {name: [] for name in weak.DICE}
    for _ in range(2000):
        means = []
        for outcome in (one, other):
            by_slice = weak.dice(outcome.counts["plain"]).reshape(-1, 3)[:, 1:]
            stacked = outcome.counts["plain"].reshape(-1, 3, 3).sum(axis=1)
            means.append((by_slice, weak.dice(stacked)))
        drawn = loop.integers(0, 6, 6)
        for i, name in enumerate(weak.DICE):
            found[name].append(means[0][i][drawn].mean() - means[1][i][drawn].mean())
    for name, values in found.items():
        expected = np.quantile(values, (0.025, 0.975))
        np.testing.assert_allclose(gains[name][1:], expected, atol=0.01)


def test_auc_is_the_mean_over_folds():
    outcome = make_outcome(np.random.default_rng(0))
    scores = np.random.default_rng(2).random(len(outcome.groups))
    outcome = weak.Outcome(
        outcome.counts,
        outcome.groups,
        outcome.folds,
        scores,
        scores > 0.5,
        outcome.labels,
    )
    everything = np.ones(len(scores), bool)
    told = weak.summarise(outcome, "plain", everything)
    by_fold = [
        roc_auc_score(outcome.labels[outcome.folds == f], scores[outcome.folds == f])
        for f in range(weak.N_FOLDS)
    ]
    assert told["image_auc"] == pytest.approx(np.mean(by_fold))
    agree = (scores > 0.5) == outcome.labels
    assert told["image_accuracy"] == pytest.approx(agree.mean())
    assert set(weak.parts("brats", outcome)) == {"all"}


def test_folds_share_no_patient_and_cover_all(lgg_folder):
    dataset = datasets.load("lgg", lgg_folder)
    predicted = [i for _, test in weak.split(dataset) for i in test]
    assert sorted(predicted) == list(range(len(dataset.images)))
    for train, test in weak.split(dataset):
        assert not set(dataset.groups[train]) & set(dataset.groups[test])


def test_transfer_trains_on_slices_and_scores_other_patients(lgg_folder):
    dataset = datasets.load("lgg-volumes", write_volumes(lgg_folder))
    ((train, test),) = weak.split(dataset)
    assert len(train) == len(PATIENTS) * N_SLICES and len(test) == 8
    assert set(dataset.groups[test]) == {"TCGA_BB_0000", "TCGA_BB_0001"}
    folds = np.where(dataset.trains, -1, 0)
    outcome = weak.make_outcome(dataset, {"plain": dataset.masks}, folds)
    parts = weak.parts("lgg-volumes", outcome)
    assert {name: list(test[part[test]]) for name, part in parts.items()} == {
        "report": list(test[4:]),
        "development": list(test[:4]),
        "all": list(test),
    }
    assert not parts["all"][train].any()
    few = datasets.quick(dataset)
    assert few.trains.any() and not few.trains.all()


def test_transfer_needs_both_folders_and_other_patients(tmp_path):
    write_volumes(tmp_path)
    assert datasets.available(tmp_path) == []
    write_lgg(tmp_path)
    assert datasets.available(tmp_path) == ["lgg", "lgg-volumes"]
    write_patients(tmp_path, [[True]], "lgg_volumes", PATIENTS[:1])
    with pytest.raises(ValueError, match=PATIENTS[0]):
        datasets.load("lgg-volumes", tmp_path)


def test_halved_images_and_masks():
    image = np.array([[1, 2, 9], [3, 4, 9], [10, 10, 9], [10, 11, 9]], np.uint8)
    np.testing.assert_array_equal(datasets.halved(image), [[2], [10]])
    assert datasets.halved(image).dtype == np.uint8
    constant = np.full((6, 6, 2), np.float32(-0.7234567))
    np.testing.assert_array_equal(datasets.halved(constant), constant[:3, :3])
    stairs = np.array([[1, 0, 1, 1], [0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(datasets.halved(stairs) >= 0.5, [[False, True]])


def test_flair_threshold_tells_lesions_from_ground(lgg_folder):
    dataset = datasets.load("lgg", lgg_folder)
    for taught in ({"masks": dataset.masks}, {"image_labels": dataset.image_labels}):
        model = flair.FlairThreshold(channel=1).fit(dataset.images, **taught)
        found = model.predict(dataset.images)
        scores = weak.dice(weak.count(dataset.masks, found))
        # Smoothing at this small size blurs the lesions' rims.
        assert scores.mean() > 0.75
    shown = rows_weak.judge_flair(model, dataset.images)[1]
    np.testing.assert_array_equal(shown, dataset.image_labels == 1)
    wrong = flair.FlairThreshold(channel=0).fit(dataset.images, dataset.masks)
    missed = weak.count(dataset.masks, wrong.predict(dataset.images))
    assert weak.dice(missed).mean() < 0.75


def test_spread_is_over_seeds():
    runs = []
    for seed in range(3):
        outcome = make_outcome(np.random.default_rng(0), 0.1 * seed)
        runs.append({"dataset": "lgg", "row": "x", "seed": seed, "outcome": outcome})
    told = report_weak.mean_and_spread(runs, "plain", "all")
    single = report_weak.mean_and_spread(runs[:1], "plain", "all")
    assert told["slice_dice"][0] == pytest.approx(single["slice_dice"][0] + 0.1)
    assert told["slice_dice"][1] == pytest.approx(0.1)
    assert np.isnan(single["slice_dice"][1])
