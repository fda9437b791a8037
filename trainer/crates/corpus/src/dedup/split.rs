// SPDX-License-Identifier: Apache-2.0

//! Sides of the split.

use crate::document::Side;
use pol_primitives::{Hash, MILLION, Ppm};

/// Separates this use of a hash from all others.
const CONTEXT: &str = "pol-corpus 2026 split into training and held-out text by cluster";

/// Returns the side of a cluster when `held_out` of all clusters are held out.
///
/// Nothing but the cluster's identity decides, so all editions of a text and all pieces of a
/// document are on one side, and a cluster that is held out stays so when the share grows.
pub fn side(cluster: &Hash, held_out: Ppm) -> Side {
    let draw = (u128::from(draw(cluster)) * u128::from(MILLION)) >> 64;
    if draw < u128::from(held_out) { Side::HeldOut } else { Side::Train }
}

/// Returns the place of a cluster in the order in which clusters are held out.
pub fn draw(cluster: &Hash) -> u64 {
    let hash = blake3::derive_key(CONTEXT, cluster);
    u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_share_is_met_and_its_ends_are_exact() {
        let clusters: Vec<Hash> =
            (0..20_000u32).map(|n| *blake3::hash(&n.to_be_bytes()).as_bytes()).collect();
        let held_out =
            |share| clusters.iter().filter(|cluster| side(cluster, share) == Side::HeldOut).count();
        assert_eq!((held_out(0), held_out(MILLION)), (0, 20_000));
        assert!((350..450).contains(&held_out(20_000)), "{}", held_out(20_000));
    }

    proptest! {
        #[test]
        fn held_out_text_stays_so_when_the_share_grows(
            cluster: Hash, a in 0..=MILLION, b in 0..=MILLION,
        ) {
            let (few, more) = (side(&cluster, a.min(b)), side(&cluster, a.max(b)));
            prop_assert!(few == Side::Train || more == Side::HeldOut);
        }
    }
}
