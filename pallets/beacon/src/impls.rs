// SPDX-License-Identifier: Apache-2.0

//! The beacon as other pallets see it.

use crate::{AwaitedPulse, Beacon, Config, Event, Pallet};
use pol_primitives::{
    beacon::{self, BeaconConfig, Pulse},
    round::BlockNumber,
    traits,
};
use polkadot_sdk::{frame_support::traits::Time, frame_system, sp_runtime::SaturatedConversion};

/// Number of milliseconds in a second.
const MILLISECONDS: u64 = 1_000;

impl<T: Config> Pallet<T> {
    /// Returns the beacon.
    pub fn beacon() -> Option<BeaconConfig> {
        Beacon::<T>::get()
    }

    /// Returns the pulse that draws wait for or use.
    pub fn awaited_pulse() -> Option<beacon::AwaitedPulse> {
        AwaitedPulse::<T>::get()
    }

    /// Returns the height of the block.
    pub(crate) fn now() -> BlockNumber {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }
}

impl<T: Config> traits::Beacon for Pallet<T> {
    fn await_pulse() -> bool {
        let Some(beacon) = Beacon::<T>::get() else { return false };
        // While a block begins, this is the time of its parent.
        let now = T::Time::now().checked_div(MILLISECONDS).unwrap_or(0);
        let round = beacon.round_from(now);
        let until = Self::now().saturating_add(beacon.patience);
        AwaitedPulse::<T>::put(beacon::AwaitedPulse { round, until, randomness: None });
        Self::deposit_event(Event::PulseAwaited { round, due: beacon.due(round), until });
        true
    }

    fn pulse() -> Pulse {
        match AwaitedPulse::<T>::get() {
            Some(beacon::AwaitedPulse { randomness: Some(randomness), .. }) => {
                Pulse::Arrived(randomness)
            }
            Some(awaited) if Self::now() <= awaited.until => Pulse::Awaited,
            _ => Pulse::Missed,
        }
    }

    fn release() {
        let awaited = AwaitedPulse::<T>::take();
        if let Some(beacon::AwaitedPulse { round, randomness: None, .. }) = awaited {
            Self::deposit_event(Event::PulseMissed { round });
        }
    }
}
