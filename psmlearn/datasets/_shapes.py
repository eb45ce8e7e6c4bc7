# SPDX-License-Identifier: BSD-3-Clause
"""Outlines of synthetic nuclei, and where they lie in a label image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MAX_TRIES = 100
_ORDERS = np.array([2.0, 3.0, 4.0])


@dataclass(frozen=True)
class Outline:
    """An ellipse with a little low-order irregularity, about its centre."""

    major: float
    minor: float
    tilt: float
    amplitudes: np.ndarray
    phases: np.ndarray

    @property
    def reach(self) -> float:
        """An upper bound of the radius, in pixels."""
        return self.major * (1.0 + float(np.abs(self.amplitudes).sum()))

    @property
    def area(self) -> float:
        """The area of the ellipse, in pixels."""
        return float(np.pi * self.major * self.minor)

    def radius(self, angle: np.ndarray | float) -> np.ndarray | float:
        """Return the radius in the direction `angle` (radians)."""
        turned = angle - self.tilt
        radius = (
            self.major
            * self.minor
            / np.hypot(self.minor * np.cos(turned), self.major * np.sin(turned))
        )
        waves = 1.0
        terms = zip(_ORDERS, self.amplitudes, self.phases, strict=True)
        for order, amplitude, phase in terms:
            waves = waves + amplitude * np.cos(order * angle + phase)
        return radius * waves


def draw_outline(rng: np.random.Generator, diameter: float) -> Outline:
    """Draw an outline about `diameter` pixels across."""
    radius = 0.5 * diameter * np.exp(rng.normal(0.0, 0.18))
    stretch = np.sqrt(rng.uniform(1.05, 2.0))
    return Outline(
        major=radius * stretch,
        minor=radius / stretch,
        tilt=rng.uniform(0.0, np.pi),
        amplitudes=rng.normal(0.0, [0.06, 0.045, 0.03]),
        phases=rng.uniform(0.0, 2 * np.pi, 3),
    )


class Layout:
    """A label image being filled, nucleus by nucleus, inside bounding boxes."""

    def __init__(self, shape: tuple[int, int], gap: float) -> None:
        self.labels = np.zeros(shape, dtype=np.int32)
        self.gap = gap
        self.placed: list[tuple[float, float, Outline]] = []

    def place_alone(self, rng: np.random.Generator, outline: Outline) -> bool:
        """Place a nucleus that touches no other; tell if there was room."""
        for _ in range(_MAX_TRIES):
            row, column = rng.uniform(0.0, self.labels.shape)
            if self.labels[int(row), int(column)] == 0 and self._stamp(
                row, column, outline, partner=0
            ):
                return True
        return False

    def place_beside(
        self, rng: np.random.Generator, outline: Outline, partner: int
    ) -> bool:
        """Place a nucleus that touches nucleus `partner` (an id) alone."""
        row, column, other = self.placed[partner - 1]
        for angle in rng.uniform(0.0, 2 * np.pi, 12):
            distance = other.radius(angle)
            distance += outline.radius(angle + np.pi) * rng.uniform(0.8, 0.95)
            new_row = row + distance * np.sin(angle)
            new_column = column + distance * np.cos(angle)
            height, width = self.labels.shape
            inside = 0 <= new_row < height and 0 <= new_column < width
            if inside and self._stamp(new_row, new_column, outline, partner):
                return True
        return False

    def _stamp(self, row: float, column: float, outline: Outline, partner: int) -> bool:
        """Draw a nucleus if it fits; an existing partner stays on top."""
        margin = outline.reach + self.gap
        top, left = max(int(row - margin), 0), max(int(column - margin), 0)
        bottom, right = int(row + margin) + 2, int(column + margin) + 2
        box = self.labels[top:bottom, left:right]
        rows = np.arange(top, top + box.shape[0])[:, np.newaxis] - row
        columns = np.arange(left, left + box.shape[1])[np.newaxis, :] - column
        excess = np.hypot(rows, columns) - outline.radius(np.arctan2(rows, columns))
        near = box[excess <= self.gap]
        if ((near != 0) & (near != partner)).any():
            return False
        inside = excess <= 0
        new = inside & (box == 0)
        n_new = int(new.sum())
        if n_new < max(0.3 * outline.area, 4) or n_new < 0.7 * inside.sum():
            return False
        if partner and not (box[excess <= 1.0] == partner).any():
            return False
        self.placed.append((row, column, outline))
        box[new] = len(self.placed)
        return True


def lay_out_nuclei(
    rng: np.random.Generator,
    shape: tuple[int, int],
    n_nuclei: int,
    touching: float,
    diameter: float,
) -> np.ndarray:
    """Return a label image of `n_nuclei`, a share of them touching in pairs."""
    layout = Layout(shape, gap=max(0.1 * diameter, 2.0))
    n_pairs = round(touching * n_nuclei / 2)
    for _ in range(n_nuclei - n_pairs):
        if not layout.place_alone(rng, draw_outline(rng, diameter)):
            break
    partners = rng.permutation(len(layout.placed)) + 1
    n_left = n_pairs
    for partner in partners:
        if n_left == 0:
            break
        n_left -= layout.place_beside(rng, draw_outline(rng, diameter), int(partner))
    return layout.labels
