// SPDX-License-Identifier: Apache-2.0

//! Checks of the pallet's invariants.

use crate::{AwaitedPulse, Beacon, Config, Pallet, scheme::is_valid_key};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    sp_runtime::TryRuntimeError,
};

impl<T: Config> Pallet<T> {
    /// Checks the invariants listed in the README, in its order.
    ///
    /// # Errors
    ///
    /// Fails with the first invariant that does not hold.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let beacon = Beacon::<T>::get();
        if let Some(beacon) = &beacon {
            ensure!(beacon.has_rounds(), "the beacon has no rounds");
            ensure!(beacon.is_patient(T::BlockTime::get()), "the beacon's patience is wrong");
            ensure!(is_valid_key(&beacon.key), "the beacon's key is invalid");
        }
        let Some(awaited) = AwaitedPulse::<T>::get() else { return Ok(()) };
        let beacon = beacon.ok_or("a pulse is awaited without a beacon")?;
        ensure!(awaited.round > 0, "the awaited round does not exist");
        let latest = Self::now().saturating_add(beacon.patience);
        ensure!(awaited.until <= latest, "a pulse is awaited for longer than the patience");
        Ok(())
    }
}
