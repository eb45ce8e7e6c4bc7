# SPDX-License-Identifier: BSD-3-Clause
"""Confidence intervals of a share: over nuclei, or over fields."""

from __future__ import annotations

import numpy as np
from scipy import special

# Resampling fewer fields never leaves the range of their own indices often enough:
# in simulations (see `labelling_index`) 4 fields cover 81 to 89 % in place of 95 %.
MIN_FIELDS = 5
# Entries of the table of resampling weights held at once.
_CHUNK = 1 << 22


def wilson_interval(
    n_positive: np.ndarray | float, n_cells: np.ndarray | float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of shares; NaN where there are no cells.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22, 1927.
    """
    total = np.asarray(n_cells, dtype=float)
    total = np.where(total > 0, total, np.nan)
    share = n_positive / total
    z = special.ndtri(0.5 + level / 2)
    middle = share + z * z / (2 * total)
    half = z * np.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    # Rounding must not carry a bound past 0 or 1.
    low = np.clip((middle - half) / scale, 0, 1)
    high = np.clip((middle + half) / scale, 0, 1)
    return np.where(n_positive == 0, 0 * total, low), np.where(
        n_positive == total, 0 * total + 1, high
    )


def expanded_level(level: float, n_fields: int) -> float:
    """Level at which percentiles of a bootstrap over few fields hold ``level``.

    Percentiles are too narrow by the factor sqrt((n - 1) / n), and by taking normal
    quantiles for Student's; this makes up for both.

    References
    ----------
    T. C. Hesterberg, "What teachers should know about the bootstrap", The American
    Statistician 69(4), 2015, section 5.3 (expanded percentile interval).
    """
    t = special.stdtrit(n_fields - 1, 0.5 + level / 2)
    return float(2 * special.ndtr(t * np.sqrt(n_fields / (n_fields - 1))) - 1)


def bootstrap_fields(
    n_positive: np.ndarray,
    n_cells: np.ndarray,
    level: float,
    n_bootstrap: int,
    random_state: np.random.RandomState,
) -> tuple[float, float]:
    """Percentile interval of the pooled share when fields are resampled."""
    n_fields = len(n_cells)
    counts = np.stack([n_positive, n_cells], axis=1).astype(float)
    step = max(1, _CHUNK // n_fields)
    sums = []
    for start in range(0, n_bootstrap, step):
        # How often each field is drawn says all that the sums need.
        drawn = random_state.multinomial(
            n_fields,
            np.full(n_fields, 1 / n_fields),
            size=min(step, n_bootstrap - start),
        )
        sums.append(drawn @ counts)
    positive, total = np.concatenate(sums).T
    tail = (1 - level) / 2
    low, high = np.quantile(positive / total, [tail, 1 - tail])
    return float(low), float(high)
