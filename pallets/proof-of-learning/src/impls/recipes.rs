// SPDX-License-Identifier: Apache-2.0

//! The genesis state, and the recipe in force.

use crate::pallet::*;
use pol_primitives::{Hash, audit::AuditConfig, recipe::Recipe as Spec, round::RoundConfig};
use polkadot_sdk::{
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::traits::Zero,
};

impl<T: Config> Pallet<T> {
    /// Stores the genesis state.
    ///
    /// # Panics
    ///
    /// If a part of it is invalid, since no chain may start from it.
    pub(crate) fn build_genesis(lengths: RoundConfig, audits: AuditConfig, recipe: Option<&Spec>) {
        assert!(lengths.is_valid(), "lengths of phases must be positive, and join < train");
        PhaseLengths::<T>::put(lengths);
        assert!(
            audits.is_valid(),
            "numbers of audits must be positive and within limits, with more_seats above seats"
        );
        AuditSettings::<T>::put(audits);
        let Some(recipe) = recipe else { return };
        if let Err(invalid) = recipe.validate() {
            panic!("the recipe of the genesis state is invalid: {invalid}");
        }
        assert!(
            recipe.rewrite.is_none(),
            "the recipe of the genesis state has no model to rewrite"
        );
        Self::put_in_force(recipe);
    }

    /// Puts a recipe in force, and keeps it for everything that will name it.
    pub(crate) fn put_in_force(recipe: &Spec) {
        Recipes::<T>::insert(recipe.hash(), recipe);
        Recipe::<T>::put(recipe);
    }

    /// Returns the hash of the recipe in force.
    pub(crate) fn recipe_hash() -> Option<Hash> {
        Recipe::<T>::get().map(|recipe| recipe.hash())
    }

    /// Returns the hash of the genesis block, which names the chain in commitments.
    pub(crate) fn genesis_hash() -> Hash {
        // The system pallet prunes old block hashes except this one.
        frame_system::BlockHash::<T>::get(BlockNumberFor::<T>::zero()).into()
    }
}
