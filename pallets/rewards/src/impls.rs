//! Emission into escrow, and what the learning pallet calls.

use crate::{Config, Emission, Escrow, EscrowTotal, Event, Pallet};
use pol_primitives::{RoundNumber, traits::Payouts};
use polkadot_sdk::{
    frame_support::traits::{Get, fungible::Mutate},
    sp_runtime::traits::AccountIdConversion,
};

const LOG_TARGET: &str = "runtime::pol-rewards";

impl<T: Config> Pallet<T> {
    /// The account that holds the escrow. Nobody has its key.
    pub fn pot() -> T::AccountId {
        T::PotId::get().into_account_truncating()
    }

    /// The pallet's accounting as equations.
    #[cfg(any(feature = "try-runtime", feature = "std"))]
    pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use polkadot_sdk::frame_support::{ensure, traits::fungible::Inspect};
        let sum = Escrow::<T>::iter_values().fold(0u128, |sum, shares| sum.saturating_add(shares.total()));
        ensure!(sum == EscrowTotal::<T>::get(), "the escrow does not add up to its total");
        // Anybody may send the pot more.
        ensure!(T::Currency::balance(&Self::pot()) >= sum, "the pot does not cover the escrow");
        ensure!(Emission::<T>::get().is_valid(), "the emission is invalid");
        Ok(())
    }
}

impl<T: Config> Payouts for Pallet<T> {
    fn round_concluded(round: RoundNumber) {
        let shares = Emission::<T>::get().of(round);
        let total = shares.total();
        if total == 0 {
            return;
        }
        if Escrow::<T>::contains_key(round) {
            log::error!(target: LOG_TARGET, "round {round} was concluded before; nothing is emitted twice");
            return;
        }
        if let Err(error) = T::Currency::mint_into(&Self::pot(), total) {
            log::error!(target: LOG_TARGET, "cannot mint {total} for round {round}: {error:?}");
            return;
        }
        Escrow::<T>::insert(round, shares);
        EscrowTotal::<T>::mutate(|sum| *sum = sum.saturating_add(total));
        Self::deposit_event(Event::Escrowed { round, shares });
    }
}
