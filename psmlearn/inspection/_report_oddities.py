# SPDX-License-Identifier: BSD-3-Clause
"""The most unusual nuclei of all images of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn.inspection._crops import crop_nucleus, draw_tile
from psmlearn.inspection._report_image import Record
from psmlearn.inspection._report_jpeg import data_uri, encode

_TILE, _TILE_UM = 112, 30.0


@dataclass(frozen=True)
class Oddity:
    """A nucleus at the end of an order."""

    key: float
    value: float
    record: int
    name: str
    label: int
    row: float
    column: float
    tile: str


class Oddities:
    """The most unusual nuclei of all images, with their crops."""

    # Title, column, whether high values are unusual, whether nuclei that the border
    # cuts are left out.
    ORDERS = (
        ("Largest", "area_um2", True, False),
        ("Smallest", "area_um2", False, True),
        ("Most elongated", "eccentricity", True, True),
        ("Least convex", "solidity", False, True),
        ("Least confident", "confidence", False, False),
    )

    def __init__(self, n_kept: int = 10) -> None:
        self.n_kept = n_kept
        self.found: dict[str, list[Oddity]] = {}

    def look(self, record: Record, picture: np.ndarray, ids: np.ndarray) -> None:
        """Take those of an image that go before what was seen so far."""
        for title, column, high, whole in self.ORDERS:
            if column in record.table:
                self._look(title, column, high, whole, record, picture, ids)

    def _look(
        self,
        title: str,
        column: str,
        high: bool,
        whole: bool,
        record: Record,
        picture: np.ndarray,
        ids: np.ndarray,
    ) -> None:
        table = record.table
        values = np.asarray(table[column], dtype=np.float64)
        keys = -values if high else values
        usable = np.isfinite(values) & np.isfinite(table["centroid_row"])
        if whole:
            usable &= ~_is_cut(table, record.shape)
        kept = self.found.setdefault(title, [])
        order = np.argsort(np.where(usable, keys, np.inf), kind="stable")
        side = max(5, round(_TILE_UM / record.pixel_size))
        for place in order[: self.n_kept]:
            worst = kept[-1].key if len(kept) == self.n_kept else np.inf
            if not usable[place] or keys[place] >= worst:
                break
            label = int(table["label"][place])
            centre = (
                float(table["centroid_row"][place]),
                float(table["centroid_column"][place]),
            )
            tile = draw_tile(
                *crop_nucleus(picture, ids, label, centre, side), _TILE, thickness=1
            )
            kept.append(
                Oddity(
                    float(keys[place]),
                    float(values[place]),
                    record.index,
                    record.name,
                    label,
                    *centre,
                    data_uri(encode(tile, 80)),
                )
            )
            kept.sort(key=lambda each: each.key)
            del kept[self.n_kept :]


def _is_cut(table: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Tell nuclei that touch the border of their image."""
    if "bbox_min_row" not in table:
        return np.zeros(len(table["label"]), bool)
    return (
        (np.asarray(table["bbox_min_row"]) <= 0)
        | (np.asarray(table["bbox_min_column"]) <= 0)
        | (np.asarray(table["bbox_max_row"]) >= shape[0])
        | (np.asarray(table["bbox_max_column"]) >= shape[1])
    )
