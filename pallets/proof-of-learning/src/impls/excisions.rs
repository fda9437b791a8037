// SPDX-License-Identifier: Apache-2.0

//! Removal of updates from the model by later heads.

use crate::pallet::*;
use alloc::vec::Vec;
use pol_primitives::{
    head::{Excision, MAX_EXCISIONS},
    round::Round,
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Returns the updates that the head of `round` takes out, in ascending order.
    ///
    /// They are the oldest of those settled before its attest phase began, so that all who compute
    /// the head know them. A head that rewrites the model takes out none.
    pub(crate) fn excisable(round: &Round) -> BoundedVec<Excision, ConstU32<MAX_EXCISIONS>> {
        if round.attests_only() {
            return BoundedVec::new();
        }
        let waiting = Excisions::<T>::get();
        let before = waiting
            .iter()
            .take_while(|(_, settled_at)| *settled_at < round.phase_since)
            .map(|(excision, _)| *excision);
        let mut excisable: Vec<_> = before.take(MAX_EXCISIONS as usize).collect();
        excisable.sort_unstable();
        BoundedVec::truncate_from(excisable)
    }

    /// Removes the excisions of the head of `round` from the list, and returns them.
    pub(crate) fn take_excisions(round: &Round) -> BoundedVec<Excision, ConstU32<MAX_EXCISIONS>> {
        let taken = Self::excisable(round);
        if !taken.is_empty() {
            let rest: Vec<_> = Excisions::<T>::get().into_iter().skip(taken.len()).collect();
            if rest.is_empty() {
                Excisions::<T>::kill();
            } else {
                Excisions::<T>::put(BoundedVec::truncate_from(rest));
            }
        }
        taken
    }
}
