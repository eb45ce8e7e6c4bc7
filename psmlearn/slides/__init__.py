# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides, segmented in bounded memory."""

from psmlearn.preprocessing._slide_fields import sample_fields
from psmlearn.slides._result import SlideResult
from psmlearn.slides._segment import segment_slide

__all__ = ["SlideResult", "sample_fields", "segment_slide"]
