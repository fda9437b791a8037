// SPDX-License-Identifier: Apache-2.0

//! Shares in integers.

/// Returns a share in millionths, cut and not rounded. The share of nothing is zero.
pub(super) fn ppm(part: u64, whole: u64) -> u64 {
    part.saturating_mul(u64::from(pol_primitives::MILLION)).checked_div(whole).unwrap_or(0)
}
