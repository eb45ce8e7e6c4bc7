# SPDX-License-Identifier: BSD-3-Clause
"""Make whole slides, whose every nucleus is known, of real or made fields."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from psmlearn._parameters import check_pixel_size
from psmlearn._typing import Images, Masks, RandomState
from psmlearn.datasets._parameters import (
    check_count,
    check_flag,
    check_number,
    check_path,
    draw_seed,
    show,
)
from psmlearn.datasets._slide_scene import Box, Scene
from psmlearn.datasets._slide_writers import (
    write_ome_tiff,
    write_ome_zarr,
    write_svs,
)
from psmlearn.io import check_mask, read_image

__all__ = ["make_slide"]

_WRITERS: dict[str, Callable[..., None]] = {
    ".svs": write_svs,
    ".ome.tif": write_ome_tiff,
    ".ome.tiff": write_ome_tiff,
    ".ome.zarr": write_ome_zarr,
}
# Rows of tiles are reduced by 4 for each, and hold 256 rows.
_MOST_LEVELS = 5
_MOST_PIXELS = 1 << 34
_MOST_SIDE = 1 << 20


def make_slide(
    path: str | os.PathLike,
    images: Images,
    masks: Masks | None = None,
    *,
    shape: tuple[int, int] = (5000, 5000),
    pixel_size: float = 0.25,
    tissue: float = 0.5,
    pen: bool = True,
    black: bool = True,
    levels: int = 3,
    random_state: RandomState = None,
) -> Bunch:
    """Make a whole slide of fields whose nuclei are known, and write it.

    The fields are laid side by side in cells of one size, each shifted and mirrored by
    chance, and their stain varies smoothly over the slide, in optical density. Tissue
    ends in an irregular outline, beyond which there is white glass with a little
    noise, a stroke of a pen, and along one side a black strip that was not scanned.
    Masks are laid as their images are, so that the truth of the whole slide is known:
    what is left of an object that is cut, by the seam of two fields or by the outline,
    is an object.

    It is written row of tiles by row: 40,000 x 40,000 pixels take less than 1 GB of
    memory beside the fields. What was at `path` is replaced when all is written.

    Parameters
    ----------
    path : str or os.PathLike
        What it ends in tells the format: .svs (Aperio: tiles of JPEG, with thumbnail,
        label and macro; needs imagecodecs), .ome.tif or .ome.tiff (tiles without loss,
        SubIFDs), .ome.zarr (OME-Zarr 0.4, a folder).
    images : list of arrays and paths, or ndarray of shape (n, height, width, 3)
        Fields of tissue, RGB of 8 bits; all are held in memory.
    masks : list of arrays and paths, or ndarray of shape (n, height, width)
        The label images of the fields. A second plane, of classes, is not used. None
        makes a slide of which nothing is known.
    shape : tuple (height, width), default=(5000, 5000)
    pixel_size : float, default=0.25
        Micrometres per pixel, from 0.01 to 20: what the file tells.
    tissue : float in [0, 1], default=0.5
        Share of the slide that is tissue; the black strip is none.
    pen : bool, default=True
        Whether there is a stroke of a pen, on glass.
    black : bool, default=True
        Whether a strip along one side, 5 % of it, is black.
    levels : int, default=3
        Resolutions, 1 to 5, each a quarter of the last along a side; a level of which a
        side would be 0 is left out.
    random_state : int, RandomState instance or None, default=None
        An int gives the same slide each time.

    Returns
    -------
    Bunch
        With

        - `path`, str; `shape`; `pixel_size`;
        - `labels`, a function: ``labels(top, left, bottom, right)`` gives the true ids
          of a box, int32, 0 outside of tissue, -1 where masks say unknown. An object
          has the same id in whatever box. None without masks;
        - `tissue`, a function of the same four numbers: where a box shows tissue,
          bool;
        - `n_objects`, how many ids there are, 1 to n; None without masks.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range, or the path ends in
        something else.
    ImportError
        If imagecodecs is missing, which .svs needs.
    OSError
        If there is no such folder, or it cannot be written to; `path` is named.

    See Also
    --------
    psmlearn.io.Slide : Read slides.
    make_nuclei : Make fields.

    Examples
    --------
    >>> import os, tempfile
    >>> from psmlearn.datasets import make_nuclei, make_slide
    >>> from psmlearn.io import Slide
    >>> data = make_nuclei(2, (96, 96), n_nuclei=8, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "slide.ome.tif")
    ...     made = make_slide(path, data.images, data.masks, shape=(400, 600),
    ...                       random_state=0)
    ...     with Slide(path) as slide:
    ...         print(slide.shape, slide.pixel_size, len(slide.levels))
    (400, 600) 0.25 3
    >>> made.labels(100, 100, 200, 300).shape
    (100, 200)
    """
    target = check_path("path", path)
    write = _choose_writer(target)
    size = _check_shape(shape)
    check_pixel_size(pixel_size)
    check_number("tissue", tissue, 1.0)
    check_flag("pen", pen)
    check_flag("black", black)
    check_count("levels", levels, 1)
    if levels > _MOST_LEVELS:
        raise ValueError(f"levels is {levels}; expected at most {_MOST_LEVELS}.")
    fields = _load_images(images)
    truth = None if masks is None else _load_masks(masks, fields)
    scene = Scene(
        draw_seed(random_state), fields, truth, size, float(tissue), pen, black
    )
    write(target, scene.image, size, int(levels), float(pixel_size))
    looks = _Looks(scene)
    return Bunch(
        path=target,
        shape=size,
        pixel_size=float(pixel_size),
        labels=None if truth is None else looks.labels,
        tissue=looks.tissue,
        n_objects=None if truth is None else scene.n_objects,
    )


class _Looks:
    """Boxes of the truth, for whoever has the Bunch; it can be pickled."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def labels(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Return the true ids of a box, int32."""
        return self._scene.labels(self._check((top, left, bottom, right)))

    def tissue(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Return where a box shows tissue, bool."""
        return self._scene.tissue(self._check((top, left, bottom, right)))

    def _check(self, box: Box) -> Box:
        height, width = self._scene.shape
        top, left, bottom, right = (int(edge) for edge in box)
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"box {box} is not within the slide, {height} x {width} pixels, or is "
                "empty; expected top, left, bottom, right."
            )
        return top, left, bottom, right


def _choose_writer(path: str) -> Callable[..., None]:
    for suffix, write in _WRITERS.items():
        if path.lower().endswith(suffix):
            return write
    raise ValueError(f"path is {show(path)}; expected it to end in {tuple(_WRITERS)}.")


def _check_shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"shape is {show(shape)}; expected (height, width).")
    for name, side in zip(("height", "width"), shape, strict=True):
        check_count(name, side, 1)
        if side > _MOST_SIDE:
            raise ValueError(f"{name} is {side}; expected at most {_MOST_SIDE}.")
    if int(shape[0]) * int(shape[1]) > _MOST_PIXELS:
        raise ValueError(
            f"shape is {show(shape)}; expected at most {_MOST_PIXELS} pixels."
        )
    return int(shape[0]), int(shape[1])


def _load_images(images: Any) -> list[np.ndarray]:
    """Return the fields as 8-bit RGB, in the order given."""
    single = isinstance(images, str | os.PathLike) or (
        isinstance(images, np.ndarray) and images.ndim != 4
    )
    if single or not hasattr(images, "__len__"):
        raise TypeError(
            f"images is {show(images)}; expected a list of arrays and paths, or an "
            "array of shape (n, height, width, 3)."
        )
    if len(images) == 0:
        raise ValueError("images is empty; expected at least one field.")
    fields = []
    for index, image in enumerate(images):
        name = f"images[{index}]"
        if isinstance(image, str | os.PathLike):
            name, image = f"{name} ({image})", read_image(image)
        if not isinstance(image, np.ndarray):
            raise TypeError(f"{name} is {show(image)}; expected an array or a path.")
        known = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
        if not known or image.size == 0:
            raise ValueError(
                f"{name} has shape {image.shape} and dtype {image.dtype}; expected "
                "RGB of 8 bits, (height, width, 3) of uint8."
            )
        fields.append(image)
    return fields


def _load_masks(masks: Any, fields: list[np.ndarray]) -> list[np.ndarray]:
    """Return the ids of each field."""
    if isinstance(masks, str | os.PathLike) or not hasattr(masks, "__len__"):
        raise TypeError(f"masks is {show(masks)}; expected a list, one per image.")
    if len(masks) != len(fields):
        raise ValueError(
            f"masks has {len(masks)} entries for {len(fields)} images; expected one "
            "per image."
        )
    loaded = []
    for index, (mask, field) in enumerate(zip(masks, fields, strict=True)):
        height, width = field.shape[:2]
        ids = check_mask(mask, name=f"masks[{index}]", shape=(height, width))
        loaded.append(ids if ids.ndim == 2 else ids[..., 0])
    return loaded
