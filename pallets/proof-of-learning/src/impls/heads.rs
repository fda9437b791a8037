// SPDX-License-Identifier: Apache-2.0

//! Adoption of the next head.

use crate::pallet::*;
use alloc::vec::Vec;
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    head::{Head, IncludedUpdate},
    round::Round,
    submission::{RevealSet, Submission},
    traits::Payouts,
};
use polkadot_sdk::{frame_support::pallet_prelude::*, sp_runtime::SaturatedConversion};

impl<T: Config> Pallet<T> {
    /// Makes the model with parameters `root` the head after `round`.
    pub(crate) fn adopt(round: Round, previous: Option<Head>, root: Hash) -> DispatchResult {
        let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
        let number = round.number;
        if let Some(rewrite) = recipe.rewrite.filter(|_| previous.is_some() && round.attests_only())
        {
            ModelSince::<T>::put(number);
            Self::deposit_event(Event::ModelRewritten { round: number, rewrite });
        }
        if let Some(previous) = &previous {
            Self::decide_metrics(previous.round);
        }
        let excised = Self::take_excisions(&round);
        let (revealed, included) = (Revealed::<T>::get(), round.included.clone());
        Self::include(number, &recipe, &revealed, &included)?;
        let updates = Self::updates_of(number, &revealed, &included);
        let head = Head::next(previous.as_ref(), number, root, recipe.hash(), &updates, &excised);
        CurrentHead::<T>::put(head);
        // The time of void rounds is nobody's: it would make the next round worth waiting for.
        let since = number.checked_sub(1).and_then(Records::<T>::get);
        let time = since.map_or(round.opened_at, |before| before.concluded_at)..Self::now();
        Self::close(round, Some(head), included, excised);
        if previous.is_some() {
            T::Payouts::emit_round(number, time, updates.len().saturated_into());
        }
        Self::deposit_event(Event::HeadAdvanced { head });
        Ok(())
    }

    /// Returns the `included` ones of a round's reveals, in account order.
    pub(crate) fn updates_of(
        round: RoundNumber,
        revealed: &[T::AccountId],
        included: &RevealSet,
    ) -> Vec<IncludedUpdate<T::AccountId>> {
        let update = |index: u8| {
            let account = revealed.get(usize::from(index))?;
            let (payload_hash, data_hash, tokens, staleness) =
                match Submissions::<T>::get(round, account) {
                    Some(Submission { data_hash, staleness, opened, .. }) => {
                        let opened = opened?;
                        (opened.payload_hash, data_hash, opened.tokens, staleness)
                    }
                    None => {
                        let settled = History::<T>::get(round, account)?;
                        (settled.payload_hash, settled.data_hash, settled.tokens, settled.staleness)
                    }
                };
            let account = account.clone();
            Some(IncludedUpdate { account, payload_hash, data_hash, tokens, staleness })
        };
        let mut updates: Vec<_> = included.indices().filter_map(update).collect();
        updates.sort_by_cached_key(|update| update.account.encode());
        updates
    }
}
