# SPDX-License-Identifier: BSD-3-Clause
"""Warnings of psmlearn, one class for each thing that it cannot know or leaves out.

All are subclasses of :class:`PsmlearnWarning`, so that one filter reaches them all:
``warnings.filterwarnings("error", category=psmlearn.exceptions.PsmlearnWarning)``
turns each into an error.
"""

from __future__ import annotations

__all__ = [
    "AnnotationWarning",
    "CountWarning",
    "DeviceWarning",
    "NoDataWarning",
    "OrientationWarning",
    "PixelSizeWarning",
    "PsmlearnWarning",
    "SkippedFileWarning",
    "StainWarning",
    "TrainingWarning",
    "ValueRangeWarning",
]


class PsmlearnWarning(UserWarning):
    """Base class of all warnings of psmlearn."""


class NoDataWarning(PsmlearnWarning):
    """Parts of images show nothing: transparent, not scanned or black padding.

    They are left out everywhere; where that is wrong, give the images without alpha
    and without the black border.
    """


class ValueRangeWarning(PsmlearnWarning):
    """The white of an image is not known: its values fill a part of their range.

    Give `value_range`, such as ``(0, 4095)`` for 12 bits in uint16, or scale the
    images.
    """


class PixelSizeWarning(PsmlearnWarning):
    """A file tells another pixel size than the one that is used.

    Give `pixel_size`, or ``pixel_size="file"`` to take what the files tell.
    """


class StainWarning(PsmlearnWarning):
    """Images do not look like the stains that are asked for.

    Dark ground with bright nuclei (fluorescence) among them: results mean nothing.
    """


class OrientationWarning(PsmlearnWarning):
    """A file says that it is to be turned or mirrored when shown.

    Masks drawn in a viewer that does so would not fit.
    """


class AnnotationWarning(PsmlearnWarning):
    """Annotations are not what they seem: outside the image, covered, or left out."""


class SkippedFileWarning(PsmlearnWarning):
    """Files of a folder were passed over; they are named."""


class CountWarning(PsmlearnWarning):
    """Too few nuclei or cells for what is told of them."""


class TrainingWarning(PsmlearnWarning):
    """Training had little to learn from, or its maps light up nowhere."""


class DeviceWarning(PsmlearnWarning):
    """Another device is used than that of training, or one slow at what is asked."""
