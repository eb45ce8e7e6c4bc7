# SPDX-License-Identifier: BSD-3-Clause
"""What was found in a slide."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from psmlearn.measure import Hotspot, LabellingIndex

__all__ = ["SlideResult"]


@dataclass(frozen=True)
class SlideResult:
    """What :func:`segment_slide` found; files are read when they are asked for.

    Attributes
    ----------
    name : str
        Of the slide.
    n_nuclei : int
    shape : tuple of two int
        Height and width of what was segmented, in pixels.
    pixel_size : float
        Of it, in micrometres.
    downsample : float
        Pixels of full resolution along one of its pixels.
    tissue_mm2 : float
        Area that was looked at, in square millimetres.
    files : dict of str to str
        What was written: "labels", "zarr", "geojson", "table", "parquet", "tissue".
    problems : list of str
        Tiles of the slide that could not be read, and were taken for white.
    n_of_class : dict of str to int
        Nuclei of each class, by its name; empty where there are no classes. Of
        ``classes="ki67"`` these are "positive" and "negative".
    """

    name: str
    n_nuclei: int
    shape: tuple[int, int]
    pixel_size: float
    downsample: float
    tissue_mm2: float
    files: dict[str, str]
    problems: list[str] = field(default_factory=list)
    n_of_class: dict[str, int] = field(default_factory=dict)

    @property
    def nuclei_per_mm2(self) -> float:
        """Nuclei per square millimetre of tissue; NaN where there is none."""
        return self.n_nuclei / self.tissue_mm2 if self.tissue_mm2 else float("nan")

    @property
    def labels_path(self) -> str:
        """The label image, OME-Zarr where there is one, else OME-TIFF.

        Raises
        ------
        ValueError, FileNotFoundError
            If none was written, or it is gone.
        """
        return self._file("zarr" if "zarr" in self.files else "labels")

    def read_labels(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Return a box of the label image, in pixels of what was segmented.

        Returns
        -------
        labels : ndarray of shape (bottom - top, right - left), int32
        """
        from psmlearn.io import Slide

        with Slide(self.labels_path, pixel_size=self.pixel_size) as slide:
            box = slide.view().read(top, left, bottom, right)
        return box[..., 0].astype(np.int32)

    def table(self) -> dict[str, np.ndarray]:
        """Return the table of all nuclei, a column each; see ``nuclei_table``.

        ``pandas.DataFrame(result.table())`` is a pandas table.
        """
        from psmlearn.slides._tables import read_parquet, read_table

        if "parquet" in self.files:
            return read_parquet(self._file("parquet"))
        return read_table(self._file("table"))

    def points(self) -> np.ndarray:
        """Return row, column and class of all nuclei, in pixels of what was segmented.

        Returns
        -------
        points : ndarray of shape (n_nuclei, 2 or 3), float64
            With classes, the third column is the class.
        """
        table = self.table()
        names = ("centroid_row", "centroid_column", "class")
        return np.column_stack([table[name] for name in names if name in table])

    def labelling_index(self, **options: Any) -> LabellingIndex:
        """Return the share of positive nuclei.

        As :func:`psmlearn.measure.labelling_index`, whose `options` it takes.

        Raises
        ------
        ValueError
            If there are no classes.
        """
        from psmlearn.measure import labelling_index

        return labelling_index(self._classed(), **{"names": [self.name], **options})

    def find_hotspot(self, *, area: float, **options: Any) -> Hotspot:
        """Return the field with the highest share of positive nuclei.

        As :func:`psmlearn.measure.find_hotspot`, whose `options` it takes.

        Parameters
        ----------
        area : float
            Of the field, in square millimetres.

        Raises
        ------
        ValueError
            If there are no classes.
        """
        from psmlearn.measure import find_hotspot

        known = {
            "pixel_size": self.pixel_size,
            "shape": self.shape,
            "names": [self.name],
        }
        return find_hotspot(self._classed(), area=area, **{**known, **options})

    def _classed(self) -> np.ndarray:
        points = self.points()
        if points.shape[1] < 3:
            raise ValueError(
                f"{self.name}: its nuclei have no classes, which an index counts; "
                "segment it with a model of classes, such as classes='ki67'."
            )
        return points

    def _file(self, kind: str) -> str:
        path = self.files.get(kind)
        if path is None:
            raise ValueError(
                f"{self.name}: no {kind} was written; ask for it by formats={kind!r}."
            )
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path!r}, the {kind} of {self.name}, is gone.")
        return path

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, for JSON."""
        return {
            "name": self.name,
            "n_nuclei": self.n_nuclei,
            "shape": list(self.shape),
            "pixel_size": self.pixel_size,
            "downsample": self.downsample,
            "tissue_mm2": self.tissue_mm2,
            "nuclei_per_mm2": self.nuclei_per_mm2 if self.tissue_mm2 else None,
            "files": self.files,
            "problems": self.problems,
            "n_of_class": self.n_of_class,
        }
