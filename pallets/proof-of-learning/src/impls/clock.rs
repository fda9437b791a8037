// SPDX-License-Identifier: Apache-2.0

//! Clock of all deadlines, and the room that a block reserves for duties.

use crate::{pallet::*, types::MAX_DUTIES_PER_BLOCK, weights::WeightInfo};
use pol_primitives::round::BlockNumber;
use polkadot_sdk::{
    frame_support::{dispatch::DispatchClass, pallet_prelude::*},
    frame_system,
};

impl<T: Config> Pallet<T> {
    /// Returns the time in this block, on the clock of all deadlines.
    pub(crate) fn now() -> BlockNumber {
        ProtocolClock::<T>::get().now
    }

    /// Moves the clock to this block.
    pub(crate) fn tick() -> Weight {
        ProtocolClock::<T>::mutate(|clock| {
            clock.note_slot(T::CurrentSlot::get());
            clock.tick(T::MaxStandstill::get());
        });
        DutiesInBlock::<T>::kill();
        T::WeightInfo::tick()
    }

    /// Records if this block was congested, so that the clock stands still in the next one.
    pub(crate) fn note_congestion() {
        if Self::is_congested() {
            ProtocolClock::<T>::mutate(|clock| clock.congested = true);
        }
    }

    /// Returns `true` if so much of the block is used that a call might not have found room.
    fn is_congested() -> bool {
        let (share, limits) = (T::CongestedShare::get(), T::BlockWeights::get());
        let used = frame_system::Pallet::<T>::block_weight();
        let most = limits.get(DispatchClass::Normal).max_total.unwrap_or(limits.max_block);
        let bytes = *T::BlockLength::get().max.get(DispatchClass::Normal);
        let is_beyond = |used: Weight, most: Weight| {
            used.ref_time() > share.mul_floor(most.ref_time())
                || used.proof_size() > share.mul_floor(most.proof_size())
        };
        is_beyond(*used.get(DispatchClass::Normal), most)
            || is_beyond(used.total(), limits.max_block)
            || frame_system::Pallet::<T>::block_size() > share.mul_floor(bytes)
    }

    /// Counts a call of `who` in the room that the block reserves for duties. Returns `false` if
    /// the account has had its share of the room in this block.
    ///
    /// Duties are repeated by members that seek to keep others out. Those of honest members that
    /// exceed the share wait for the next block.
    pub(crate) fn take_room(who: T::AccountId) -> bool {
        let mut duties = DutiesInBlock::<T>::get();
        let taken = duties.iter().filter(|account| **account == who).count();
        let fits = taken < MAX_DUTIES_PER_BLOCK && duties.try_push(who).is_ok();
        if fits {
            DutiesInBlock::<T>::put(duties);
        }
        fits
    }
}
