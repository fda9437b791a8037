// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::{Candidates, Config, Endpoints, Ledgers, Pallet, types::StakingLedger};
use alloc::vec::Vec;
use pol_primitives::{member::Role, queries::Member};

/// Maximum number of members that one query returns.
const MEMBERS_PAGE_SIZE: usize = 100;

impl<T: Config> Pallet<T> {
    /// Returns a member by its account.
    pub fn member(account: T::AccountId) -> Option<Member<T::AccountId>> {
        let ledger = Ledgers::<T>::get(&account)?;
        Some(Self::to_member(account, ledger))
    }

    /// Returns up to 100 members after `start`, in storage order.
    pub fn members(start: Option<T::AccountId>) -> Vec<Member<T::AccountId>> {
        let ledgers = match start {
            Some(start) => Ledgers::<T>::iter_from(Ledgers::<T>::hashed_key_for(start)),
            None => Ledgers::<T>::iter(),
        };
        ledgers
            .take(MEMBERS_PAGE_SIZE)
            .map(|(account, ledger)| Self::to_member(account, ledger))
            .collect()
    }

    fn to_member(account: T::AccountId, ledger: StakingLedger) -> Member<T::AccountId> {
        let endpoint = Endpoints::<T>::get(&account);
        let absent = ledger.role == Role::Authority
            && Candidates::<T>::get()
                .iter()
                .any(|(candidate, candidacy)| *candidate == account && candidacy.absent);
        Member {
            account,
            role: ledger.role,
            bond: ledger.active_bond(),
            locked: ledger.locked,
            bonded: ledger.is_bonded(),
            chilled: ledger.chilled,
            absent,
            endpoint,
        }
    }
}
