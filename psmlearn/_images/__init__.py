# SPDX-License-Identifier: BSD-3-Clause
"""Work on image arrays alone: checks, stains, tiles and instances (private)."""
