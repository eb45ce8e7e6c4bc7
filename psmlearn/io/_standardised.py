# SPDX-License-Identifier: BSD-3-Clause
"""Checked images of any range, each brought to [0, 1] by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from psmlearn._images._checks import scale_image
from psmlearn._images._standardise import foreground, standardise
from psmlearn._images._subject import subject_within
from psmlearn.io._batch import FileCache, ImageBatch

__all__ = ["StandardisedBatch"]


class StandardisedBatch(ImageBatch):
    """An `ImageBatch` whose images come standardised within their subject.

    Channels in `label_channel` stay as they are, and say nothing of the subject. What
    has been standardised is kept in a cache of its own, up to a size.

    Parameters
    ----------
    images : ImageBatch
        Whose arrays, files and cache are shared.
    kept : FileCache, default=None
        Of standardised images by name, from a batch that names the same images
        alike; None starts an empty one.
    """

    def __init__(self, images: ImageBatch, kept: FileCache | None = None) -> None:
        super().__init__(
            images._items,
            shown=images._shown,
            names=images.names,
            shapes=images.shapes,
            n_channels=images.n_channels,
            container=images.container,
            value_range=None,
            label_channel=images.label_channel,
            cache=images._cache,
            lost_alpha=images.lost_alpha,
        )
        self._kept = FileCache() if kept is None else kept
        self._given_range = images._demands()[0]

    def __repr__(self) -> str:
        return super().__repr__().replace("ImageBatch", type(self).__name__)

    def stored(self, index: int) -> np.ndarray:
        """Return image `index`, standardised: float32 (height, width, channels).

        A read-only view.
        """
        name = self.names[index]
        image = self._kept.get(name)
        if image is None:
            # uint8, and floats that are it divided by 255, give the same bit for bit.
            given = scale_image(self._as_came(index), self.label_channel)
            image = standardise(given, self._subject(index, given))
            for channel in self.label_channels():
                image[..., channel] = given[..., channel]
            image.flags.writeable = False
            self._kept.put(name, image)
        return image

    def crop(
        self, index: int, top: int, left: int, height: int, width: int
    ) -> np.ndarray:
        """Return a part of image `index`, standardised by the whole of it."""
        part = self.stored(index)[top : top + height, left : left + width]
        return self._scaled(part)

    def given(self, index: int) -> np.ndarray:
        """Return image `index` as float32, not standardised."""
        return scale_image(self._as_came(index), self.label_channel)

    def foreground(self, index: int) -> np.ndarray:
        """Return where the subject of image `index` is, bool (height, width)."""
        return self._subject(index, self.given(index))

    def _subject(self, index: int, given: np.ndarray) -> np.ndarray:
        key = f"subject of {self.names[index]}"
        subject = self._kept.get(key)
        if subject is None:
            labels = self.label_channels()
            shown = [i for i in range(self.n_channels) if i not in labels]
            subject = np.ones(given.shape[:2], bool)
            if shown:
                planes = given[..., shown] if labels else given
                subject = subject_within(planes, foreground(planes))
            seen = self.shown(index)
            if seen is not None:
                subject = subject & seen
            subject.flags.writeable = False
            self._kept.put(key, subject)
        return subject

    def as_given(self) -> ImageBatch:
        """Return the images as they came, not standardised."""
        return super().checked_for(self._given_range, self.label_channel)

    def subset(self, indices: Iterable[int]) -> StandardisedBatch:
        """Return the images at `indices`; arrays and caches are shared."""
        return StandardisedBatch(self.as_given().subset(indices), self._kept)

    def checked_for(
        self,
        value_range: tuple[float, float] | None,
        label_channel: int | Sequence[int] | None,
    ) -> ImageBatch:
        """Return the images for other demands: standardised if any range will do."""
        given = super().checked_for(value_range, label_channel)
        if value_range is not None:
            return given
        return StandardisedBatch(given)

    def _demands(self) -> tuple:
        return self._given_range, self.label_channels()
