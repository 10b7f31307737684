"""Constants: the numbers of the operations' definitions, as kernels read them."""

from __future__ import annotations

import triton.language as tl

from wsa_kernels import fourier, histogram, quantiles, row_col_norms, spectrum

# histogram.py: bins of z on [-4, 4] and of [min, max], which have 64 counts too, and all fields
Z_BINS = tl.constexpr(histogram.Z_BINS)
Z_PER_UNIT = tl.constexpr(histogram.Z_BINS // 8)
RANGE_BINS = tl.constexpr(histogram.RANGE_BINS)
NEAR_ZERO = tl.constexpr(histogram.NEAR_ZERO)
PLACED_FIELDS = tl.constexpr(sum(histogram.WIDTHS))

# quantiles.py: how many quantiles, and all fields
QUANTILES = tl.constexpr(len(quantiles.THOUSANDTHS))
ORDER_FIELDS = tl.constexpr(sum(quantiles.WIDTHS))

# row_col_norms.py: groups of a profile, and all fields
GROUPS = tl.constexpr(row_col_norms.GROUPS)
NORM_FIELDS = tl.constexpr(sum(row_col_norms.WIDTHS))

# spectrum.py
LEADING = tl.constexpr(spectrum.LEADING)
LOG_OF_ZERO = tl.constexpr(spectrum.LOG_OF_ZERO)
ENERGY_SHARES = tl.constexpr(spectrum.ENERGY_SHARES)

# fourier.py
PEAKS = tl.constexpr(fourier.LEADING)
BANDS = tl.constexpr(fourier.BANDS)
FREQUENCY_FIELDS = tl.constexpr(fourier.FEATURES)
FLOOR = tl.constexpr(fourier.FLOOR)
ROUNDING = tl.constexpr(fourier.ROUNDING)
