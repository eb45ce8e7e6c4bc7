# SPDX-License-Identifier: BSD-3-Clause
"""What a made slide shows at any place: a mosaic of fields, glass, pen, black.

All is a function of the place, so that boxes agree, whatever their size; what decides
between tissue and glass is reckoned in integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Pixels between places where the outline and the stain are set.
_OUTLINE_STEP = 32
_STAIN_STEP = 256
_SCALE = 1 << 14
# Places along a side at which the share of tissue is measured.
_SAMPLES = 512
# Part of a side that the unscanned strip takes.
_STRIP = 0.05
_GROUND = (243, 242, 245)
_DYES = ((52, 74, 158), (36, 112, 74), (38, 36, 42))
_NOISE_SIDE = 512

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Strip:
    """A rectangle at one side of the slide that was not scanned; may be empty."""

    top: int
    left: int
    bottom: int
    right: int

    def mask(self, box: Box) -> np.ndarray:
        top, left, bottom, right = box
        out = np.zeros((bottom - top, right - left), dtype=bool)
        out[
            max(0, self.top - top) : max(0, self.bottom - top),
            max(0, self.left - left) : max(0, self.right - left),
        ] = True
        return out


def draw_strip(rng: np.random.Generator, shape: tuple[int, int]) -> Strip:
    """Lay the unscanned strip along one side."""
    height, width = shape
    side = int(rng.integers(4))
    if side < 2 and height >= width // 4:
        tall = max(1, round(_STRIP * height))
        return Strip(0, 0, tall, width) if side else Strip(height - tall, 0, *shape)
    wide = max(1, round(_STRIP * width))
    return Strip(0, 0, height, wide) if side % 2 else Strip(0, width - wide, *shape)


class Outline:
    """Where tissue is: one piece with an irregular border, or all, or nothing.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    share : float
        Of the slide that is tissue; what was not scanned is none.
    strip : Strip
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int],
        share: float,
        strip: Strip,
    ) -> None:
        self._strip = strip
        self._step = min(_OUTLINE_STEP, max(1, min(shape) // 16))
        rows, columns = (np.arange(side // self._step + 2) for side in shape)
        values = _draw_bumps(rng, rows * self._step, columns * self._step, shape)
        level = _level_of(values, self._step, shape, share, strip)
        lattice = np.rint((values - level).clip(-2, 2) * _SCALE)
        # No place is just on the border.
        self._lattice = np.where(lattice == 0, 1, lattice).astype(np.int32)

    def mask(self, box: Box) -> np.ndarray:
        """Return where a box shows tissue."""
        top, left, bottom, right = box
        down, y = np.divmod(np.arange(top, bottom, dtype=np.int32), self._step)
        across, x = np.divmod(np.arange(left, right, dtype=np.int32), self._step)
        first, last = int(across[0]), int(across[-1]) + 2
        near = self._lattice[:, first:last]
        if (near[down[0] : down[-1] + 2] > 0).all():
            out = np.ones((len(y), len(x)), dtype=bool)
        elif (near[down[0] : down[-1] + 2] < 0).all():
            return np.zeros((len(y), len(x)), dtype=bool)
        else:
            y = y[:, np.newaxis].astype(np.int32)
            rows = near[down] * (self._step - y) + near[down + 1] * y
            low = rows[:, across - first] * (self._step - x).astype(np.int32)
            low += rows[:, across - first + 1] * x.astype(np.int32)
            out = low > 0
        out &= ~self._strip.mask(box)
        return out

    def densest_glass(self) -> float:
        """Return the column, as a part of the width, that most glass lies on."""
        n_tissue = (self._lattice > 0).sum(axis=0).astype(float)
        width = len(n_tissue)
        # Strokes keep off the ends, where a strip may be.
        edge = max(1, width // 10)
        middle = n_tissue[edge:-edge] if width > 3 * edge else n_tissue
        offset = edge if width > 3 * edge else 0
        return (offset + int(np.argmin(middle))) / width


def _level_of(
    values: np.ndarray,
    step: int,
    shape: tuple[int, int],
    share: float,
    strip: Strip,
) -> float:
    """Return the height above which lies a share of the slide, outside of the strip."""
    places = []
    for side in shape:
        count = min(side, _SAMPLES)
        places.append(np.floor((np.arange(count) + 0.5) * side / count))
    down, y = np.divmod(places[0] / step, 1)
    across, x = np.divmod(places[1] / step, 1)
    rows, columns = down.astype(int), across.astype(int)
    y = y[:, np.newaxis]
    near = values[rows] * (1 - y) + values[rows + 1] * y
    near = near[:, columns] * (1 - x) + near[:, columns + 1] * x
    in_rows = (places[0] >= strip.top) & (places[0] < strip.bottom)
    in_columns = (places[1] >= strip.left) & (places[1] < strip.right)
    inside = near[~(in_rows[:, np.newaxis] & in_columns)]
    part = share * near.size / max(1, inside.size)
    if part >= 1 or part <= 0:
        return -np.inf if part >= 1 else np.inf
    return float(np.quantile(inside, 1 - part))


def _draw_bumps(
    rng: np.random.Generator,
    rows: np.ndarray,
    columns: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """Draw a hill with waves of falling height on it, at the places of a lattice."""
    y = (rows / shape[0] * 2 - 1)[:, np.newaxis]
    x = (columns / shape[1] * 2 - 1)[np.newaxis]
    values = 1.0 - np.abs(y) ** 2.5 - np.abs(x) ** 2.5
    for wave in range(1, 13):
        for _ in range(2):
            angle, phase = rng.uniform(0, 2 * math.pi, 2)
            along = wave * math.pi / 2 * (math.cos(angle) * y + math.sin(angle) * x)
            values = values + 0.3 / wave * np.cos(along + phase)
    return values


class Mosaic:
    """Fields in cells of one size, each cut and mirrored in its own way.

    Parameters
    ----------
    rng : numpy.random.Generator
    images : list of ndarray of shape (height, width, 3), uint8
    masks : list of ndarray of shape (height, width), int32, or None
    shape : tuple of int
    """

    def __init__(
        self,
        rng: np.random.Generator,
        images: list[np.ndarray],
        masks: list[np.ndarray] | None,
        shape: tuple[int, int],
    ) -> None:
        self._images, self._masks = images, masks
        sides = [min(image.shape[axis] for image in images) for axis in (0, 1)]
        # An eighth is left for shifts.
        self.cell = tuple(max(1, side - side // 8) for side in sides)
        self.grid = tuple(
            -(-side // cell) for side, cell in zip(shape, self.cell, strict=True)
        )
        self._field = rng.integers(len(images), size=self.grid)
        self._flips = rng.integers(2, size=(*self.grid, 2))
        self._shifts = rng.random((*self.grid, 2))

    def cells(self, box: Box):
        """Yield each cell that a box touches: its number, the part, its place there."""
        top, left, bottom, right = box
        tall, wide = self.cell
        for row in range(top // tall, -(-bottom // tall)):
            for column in range(left // wide, -(-right // wide)):
                part = (
                    max(top, row * tall),
                    max(left, column * wide),
                    min(bottom, (row + 1) * tall),
                    min(right, (column + 1) * wide),
                )
                yield (row, column), part

    def image(self, cell: tuple[int, int], part: Box) -> np.ndarray:
        return self._look(self._images, cell, part)

    def labels(self, cell: tuple[int, int], part: Box) -> np.ndarray:
        """Return the ids of the field, a view."""
        if self._masks is None:
            raise ValueError("the mosaic has no masks")
        return self._look(self._masks, cell, part)

    def _look(
        self, fields: list[np.ndarray], cell: tuple[int, int], part: Box
    ) -> np.ndarray:
        """Return a part of a cell, given by its place in the slide."""
        field = fields[self._field[cell]]
        tall, wide = self.cell
        room = field.shape[0] - tall, field.shape[1] - wide
        top, left = (
            int(shift * (free + 1))
            for shift, free in zip(self._shifts[cell], room, strict=True)
        )
        view = field[top : top + tall, left : left + wide]
        if self._flips[cell][0]:
            view = view[::-1]
        if self._flips[cell][1]:
            view = view[:, ::-1]
        y, x = cell[0] * tall, cell[1] * wide
        return view[part[0] - y : part[2] - y, part[1] - x : part[3] - x]


class Stain:
    """How much stronger or weaker the stain is, smoothly over the slide."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        sides = [side // _STAIN_STEP + 2 for side in shape]
        common = _smooth(rng, sides) * 0.2
        each = [_smooth(rng, sides) * 0.05 for _ in range(3)]
        self._lattice = np.exp(np.stack([common + own for own in each], axis=-1))
        self._lattice = self._lattice.astype(np.float32)
        levels = np.maximum(np.arange(256, dtype=np.float32), 0.5) / 255
        self._logs = np.log(levels)

    def vary(self, image: np.ndarray, part: Box) -> np.ndarray:
        """Multiply the optical density of a part of the slide."""
        top, left, bottom, right = part
        rows = np.arange(top, bottom) / np.float32(_STAIN_STEP)
        columns = np.arange(left, right) / np.float32(_STAIN_STEP)
        down, across = rows.astype(np.int64), columns.astype(np.int64)
        y = (rows - down).astype(np.float32)[:, np.newaxis, np.newaxis]
        x = (columns - across).astype(np.float32)[:, np.newaxis]
        first = int(across[0])
        near = self._lattice[:, first : int(across[-1]) + 2]
        near = near[down] * (1 - y) + near[down + 1] * y
        gain = near[:, across - first] * (1 - x) + near[:, across - first + 1] * x
        gain *= self._logs[image]
        np.exp(gain, out=gain)
        gain *= 255
        return np.rint(gain, out=gain).astype(np.uint8)


def _smooth(rng: np.random.Generator, sides: list[int]) -> np.ndarray:
    """Draw values within [-1, 1] that change slowly over a lattice."""
    y = np.arange(sides[0])[:, np.newaxis]
    x = np.arange(sides[1])[np.newaxis]
    out = np.zeros((sides[0], sides[1]))
    for _ in range(4):
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        # From some 1,500 to 12,000 pixels from crest to crest.
        rate = 2 * math.pi / rng.uniform(6, 48)
        out += np.cos(rate * (math.cos(angle) * y + math.sin(angle) * x) + phase)
    return out / 4


class Scene:
    """A slide of given fields, pixel by pixel.

    Parameters
    ----------
    seed : int
    images, masks : lists of ndarray
        Masks may be None.
    shape : tuple of int
    tissue : float
    pen, black : bool
    """

    def __init__(
        self,
        seed: int,
        images: list[np.ndarray],
        masks: list[np.ndarray] | None,
        shape: tuple[int, int],
        tissue: float,
        pen: bool,
        black: bool,
    ) -> None:
        self.shape = shape
        # Each thing has a stream of its own, so that none depends on another.
        streams = [np.random.default_rng([seed, which]) for which in range(6)]
        strip = draw_strip(streams[0], shape) if black else Strip(0, 0, 0, 0)
        self.strip = strip
        self.outline = Outline(streams[1], shape, tissue, strip)
        self.mosaic = Mosaic(streams[2], images, masks, shape)
        self.stain = Stain(streams[3], shape)
        noise = streams[4].normal(0, 1.5, (_NOISE_SIDE, _NOISE_SIDE, 3))
        self._ground = np.rint(np.array(_GROUND) + noise).clip(0, 255).astype(np.uint8)
        self._stroke = self._draw_stroke(streams[5]) if pen else None
        self.n_objects = 0
        self._ids: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
        if masks is not None:
            self._count()

    def _draw_stroke(
        self, rng: np.random.Generator
    ) -> tuple[np.ndarray, int, tuple[int, int, int]]:
        """Return the middle of the pen's stroke by row, its half width and colour."""
        height, width = self.shape
        half = max(1, min(height, width) // 80)
        rows = np.arange(height)
        wave = rng.uniform(0.5, 1.5) * 2 * math.pi / max(height, 2)
        sway = 0.03 * width * np.sin(wave * rows + rng.uniform(0, 2 * math.pi))
        middle = np.rint(self.outline.densest_glass() * width + sway).astype(np.int64)
        ends = rows < height * 0.08, rows >= max(1.0, height * 0.92)
        middle[ends[0] | ends[1]] = -(10**6) if height > 12 else middle[0]
        return middle, half, _DYES[int(rng.integers(len(_DYES)))]

    def tissue(self, box: Box) -> np.ndarray:
        """Return where a box shows tissue, bool."""
        return self.outline.mask(box)

    def pen(self, box: Box) -> np.ndarray:
        """Return where a box shows the pen: on glass alone."""
        top, left, bottom, right = box
        if self._stroke is None:
            return np.zeros((bottom - top, right - left), dtype=bool)
        middle, half, _ = self._stroke
        columns = np.arange(left, right)
        drawn = np.abs(columns - middle[top:bottom, np.newaxis]) <= half
        return drawn & ~self.tissue(box) & ~self.strip.mask(box)

    def image(self, box: Box) -> np.ndarray:
        """Return a box as it is seen, uint8 of shape (h, w, 3)."""
        top, left, bottom, right = box
        out = np.empty((bottom - top, right - left, 3), np.uint8)
        for cell, part in self.mosaic.cells(box):
            where = (
                slice(part[0] - top, part[2] - top),
                slice(part[1] - left, part[3] - left),
            )
            out[where] = self._paint(cell, part)
        return out

    def _paint(self, cell: tuple[int, int], part: Box) -> np.ndarray:
        tissue = self.tissue(part)
        if tissue.all():
            return self.stain.vary(self.mosaic.image(cell, part), part)
        rows = np.arange(part[0], part[2]) % _NOISE_SIDE
        columns = np.arange(part[1], part[3]) % _NOISE_SIDE
        out = self._ground.take(rows, axis=0).take(columns, axis=1)
        if self._stroke is not None:
            drawn = self.pen(part)
            dye = np.array(self._stroke[2], dtype=np.uint16)
            out[drawn] = (out[drawn] * dye // 255).astype(np.uint8)
        out[self.strip.mask(part)] = 0
        if tissue.any():
            stained = self.stain.vary(self.mosaic.image(cell, part), part)
            np.copyto(out, stained, where=tissue[..., np.newaxis])
        return out

    def labels(self, box: Box) -> np.ndarray:
        """Return the true ids of a box, int32."""
        top, left, bottom, right = box
        out = np.zeros((bottom - top, right - left), np.int32)
        for cell, part in self.mosaic.cells(box):
            ids, base = self._ids[cell]
            if base < 0:
                continue
            own = self.mosaic.labels(cell, part)
            table = np.zeros(int(max(own.max(), ids[-1] if len(ids) else 0)) + 2, "i4")
            table[ids] = np.arange(base + 1, base + 1 + len(ids))
            table[-1] = -1  # unknown
            seen = np.where(self.tissue(part), own, 0)
            out[part[0] - top : part[2] - top, part[1] - left : part[3] - left] = table[
                seen
            ]
        return out

    def _count(self) -> None:
        """Number what is seen of objects, cell by cell."""
        for cell, part in self.mosaic.cells((0, 0, *self.shape)):
            tissue = self.tissue(part)
            if not tissue.any():
                self._ids[cell] = np.zeros(0, np.int32), -1
                continue
            own = self.mosaic.labels(cell, part)
            seen = own if tissue.all() else own[tissue]
            there = np.zeros(max(0, int(own.max())) + 2, dtype=bool)
            there[seen] = True
            there[0] = there[-1] = False
            ids = np.flatnonzero(there).astype(np.int32)
            self._ids[cell] = ids, self.n_objects
            self.n_objects += len(ids)
