# SPDX-License-Identifier: BSD-3-Clause
"""The torch side: device, seed, state, training loop and tiled inference."""

import os

# Large tensors on huge pages: fresh memory costs a fifth of a network's time
# otherwise. Torch reads it with its first tensor; what the user has set stays.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
