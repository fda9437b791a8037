// SPDX-License-Identifier: Apache-2.0

//! Recipe, lengths of phases and parameters of audits.

use crate::pallet::*;
use pol_primitives::{
    audit::AuditConfig,
    recipe::Recipe as Spec,
    round::RoundConfig,
    traits::{DataFormat, ShardPool},
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Body of [`Pallet::set_recipe`].
    pub(crate) fn do_set_recipe(recipe: Spec) -> DispatchResult {
        recipe.validate().map_err(Error::<T>::from)?;
        Self::ensure_successor(&recipe)?;
        let round = CurrentRound::<T>::get();
        if round.attests_only() {
            // The attestations so far are of another recipe's model.
            Self::end_without_head(round);
        }
        Self::deposit_event(Event::RecipeSet { hash: recipe.hash() });
        PendingRecipe::<T>::put(recipe);
        Ok(())
    }

    /// Checks that `recipe` continues from the head's model, or without a head, that it fits the
    /// data in the pool.
    fn ensure_successor(recipe: &Spec) -> DispatchResult {
        let Some(head) = CurrentHead::<T>::get() else {
            ensure!(recipe.rewrite.is_none(), Error::<T>::RewriteUnused);
            let format = (recipe.shard_tokens, recipe.tokenizer);
            let fits = Self::shard_tokens_and_tokenizer().is_none_or(|other| other == format);
            ensure!(fits || T::Pool::free_shards() == 0, Error::<T>::DataOfAnotherFormat);
            return Ok(());
        };
        let before = Recipes::<T>::get(head.recipe_hash).ok_or(DispatchError::Corruption)?;
        let rewrites = recipe.rewrite_from(&before).map_err(Error::<T>::from)?.is_some();
        let kept = recipe.rewrite.is_none() || recipe.rewrite == before.rewrite;
        ensure!(rewrites || kept, Error::<T>::RewriteUnused);
        Ok(())
    }

    /// Body of [`Pallet::set_lengths`].
    pub(crate) fn do_set_lengths(lengths: RoundConfig) -> DispatchResult {
        ensure!(lengths.is_valid(), Error::<T>::InvalidLengths);
        PhaseLengths::<T>::put(lengths);
        Self::deposit_event(Event::LengthsSet { lengths });
        Ok(())
    }

    /// Body of [`Pallet::set_audits`].
    pub(crate) fn do_set_audits(config: AuditConfig) -> DispatchResult {
        ensure!(config.is_valid(), Error::<T>::InvalidAudits);
        // Otherwise stages would end in the past, and convict everybody who had yet to act.
        let shortens = config.shortens(&AuditSettings::<T>::get());
        ensure!(!shortens || Audits::<T>::iter_keys().next().is_none(), Error::<T>::AuditsUnderWay);
        AuditSettings::<T>::put(config);
        Self::deposit_event(Event::AuditsSet { config });
        Ok(())
    }
}
