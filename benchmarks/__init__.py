# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks: asv modules (time_, peakmem_, track_) and the accuracy runs."""
