# SPDX-License-Identifier: BSD-3-Clause
"""Networks of peers: they are of the size that is published, and the table is told."""

import pytest
import torch

from benchmarks import _peer_networks as peers
from benchmarks import duel_network as duel
from psmlearn import NucleiSegmenter
from psmlearn.datasets import make_nuclei

# What the peers' own packages count: tiatoolbox 2.1.3, stardist 0.9.2 with Keras,
# cellpose 3.1.0 (less its two diameters) and 4.2.1.1 (less its two and its fixed
# matrix of pixels).
PUBLISHED = {
    "HoVerNet": 37_639_626,
    "StarDistNet": 1_425_761,
    "CellposeNet": 6_600_843,
    "CellposeSAM": 304_592_064,
}
# Sides of tiles, and GFLOP counted in the same packages.
GFLOP = {
    "HoVerNet": (256, 297.96),
    "StarDistNet": (256, 6.895),
    "CellposeNet": (224, 31.005),
    "CellposeSAM": (256, 727.10),
}
TINY = {
    "HoVer-Net fast": (128, 36),
    "StarDist 2D_versatile_he": (32, 32),
    "Cellpose 3 CPnet": (32, 32),
    "psmlearn U-Net, tile of a slide": (256, 32),
    "psmlearn U-Net, whole image": (32, 32),
    "psmlearn U-Net, tile, bfloat16": (256, 32),
}


def tiny_transformer():
    return peers.CellposeSAM(n_layers=2, width=32, n_heads=4, side=32)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PUBLISHED)
def test_peers_have_the_parameters_and_the_cost_of_their_own_packages(name):
    side, gflop = GFLOP[name]
    with torch.device("meta"):
        network = getattr(peers, name)().eval()
        tile = torch.zeros(1, network.in_channels, side, side)
    assert duel.count_parameters(network) == PUBLISHED[name]
    with duel.FlopCounterMode(display=False) as counter:
        duel._answer(network, tile)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=1e-3)


def test_ours_is_the_network_of_the_segmenter():
    data = make_nuclei(n_images=2, shape=(32, 32), n_nuclei=3, random_state=0)
    options = {"max_epochs": 1, "steps_per_epoch": 1, "patch_size": 32, "batch_size": 1}
    segmenter = NucleiSegmenter(random_state=0, **options).fit(data.images, data.masks)
    ours, whole, half = (case for case in duel.CASES if case.margin is not None)
    for case in (ours, whole, half):
        assert repr(case.build()) == repr(segmenter.network_)
    for case in (ours, half):
        assert case.margin == segmenter.network_.halo
        assert case.useful == segmenter.tile_size
        assert case.given == case.useful + 2 * case.margin


def test_answers_are_as_large_as_what_counts_of_them():
    shapes = {}
    for case in duel.CASES:
        if case.margin is not None or case.build is peers.CellposeSAM:
            continue
        given, _ = TINY[case.name]
        network = case.build().eval()
        tile = torch.rand(1, network.in_channels, given, given)
        for run in duel._passes(case._replace(given=given), network):
            assert torch.isfinite(run()).all()
        shapes[case.name] = tuple(duel._answer(network, tile).shape[1:])
    assert shapes == {
        "StarDist 2D_versatile_he": (33, 16, 16),
        "Cellpose 3 CPnet": (3, 32, 32),
        "HoVer-Net fast": (10, 36, 36),
    }


def test_attention_adds_what_lies_between_two_tokens():
    torch.manual_seed(0)
    attention = peers._Attention(8, 2, 5)
    torch.nn.init.normal_(attention.by_row)
    torch.nn.init.normal_(attention.by_column)
    tokens = torch.randn(1, 3, 3, 8)
    query, key, value = attention.query_key_value(tokens[0]).view(9, 3, 2, 4).unbind(1)
    answer = torch.empty(9, 2, 4)
    for head in range(2):
        for i in range(9):
            scores = torch.empty(9)
            for j in range(9):
                row = attention.by_row[i // 3 - j // 3 + 2]
                column = attention.by_column[i % 3 - j % 3 + 2]
                scores[j] = query[i, head] @ (key[j, head] / 2 + row + column)
            answer[i, head] = scores.softmax(0) @ value[:, head]
    expected = attention.mix(answer.view(1, 3, 3, 8))
    torch.testing.assert_close(attention(tokens), expected)


def test_table_is_told_of_small_tiles(monkeypatch, capsys, threads):
    cases = []
    for case in duel.CASES:
        if case.build is peers.CellposeSAM:
            case = case._replace(build=tiny_transformer, given=32, useful=32)
        else:
            given, useful = TINY[case.name]
            case = case._replace(given=given, useful=useful)
        cases.append(case)
    monkeypatch.setattr(duel, "CASES", cases)
    duel.main(["--rounds", "1"])
    heading, names, *rows = capsys.readouterr().out.splitlines()
    assert heading.startswith("Cost of networks for each megapixel")
    assert names.split()[0] == "network"
    assert len(rows) == len(cases)
    for case, row in zip(cases, rows, strict=True):
        assert row.startswith(case.name)
        assert len(row) == len(names)
        values = [float(value) for value in row[len(case.name) :].split()]
        assert len(values) == len(duel._COLUMNS)
        assert min(values[:4]) > 0
    # Ratios are to the first.
    assert [rows[0].split()[i] for i in (-3, -1)] == ["1.0", "1.0"]
