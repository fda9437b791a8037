// SPDX-License-Identifier: Apache-2.0

//! Interfaces to other pallets.

use crate::pallet::*;
use pol_primitives::{
    Hash, RoundNumber,
    round::Phase,
    traits::{DataFormat, Rounds},
};

impl<T: Config> Rounds for Pallet<T> {
    fn number() -> RoundNumber {
        CurrentRound::<T>::get().number
    }

    fn is_attesting() -> bool {
        let round = CurrentRound::<T>::get();
        // Without counted stake there is none to freeze, and validators must be able to bond.
        round.phase == Phase::Attest && round.stake > 0
    }

    fn attest_phases() -> u32 {
        AttestPhases::<T>::get()
    }

    fn max_missed_phases() -> u32 {
        PhaseLengths::<T>::get().missed
    }

    fn escrow_rounds() -> RoundNumber {
        AuditSettings::<T>::get().escrow
    }
}

impl<T: Config> DataFormat for Pallet<T> {
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)> {
        PendingRecipe::<T>::get()
            .or_else(Recipe::<T>::get)
            .map(|recipe| (recipe.shard_tokens, recipe.tokenizer))
    }
}
