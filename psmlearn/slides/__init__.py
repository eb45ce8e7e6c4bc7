# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides, segmented in bounded memory."""
