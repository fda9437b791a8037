// SPDX-License-Identifier: Apache-2.0

//! Interfaces to other pallets.

use crate::pallet::*;
use pol_primitives::{
    Hash, RoundNumber,
    traits::{DataFormat, Rounds},
};

impl<T: Config> Rounds for Pallet<T> {
    fn number() -> RoundNumber {
        CurrentRound::<T>::get().number
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
