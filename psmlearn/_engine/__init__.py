# SPDX-License-Identifier: BSD-3-Clause
"""The torch side: device, seed, state, training loop and tiled inference."""
