//! What the calls are made of, and what the other pallets call.

use crate::{
    Candidates, Config, Endpoints, Error, Event, HoldReason, Ledger, Ledgers, Pallet, TotalStake,
    Validators,
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use pol_primitives::{
    Balance, Hash,
    audit::move_reputation,
    peer::Role,
    traits::{Bonds, Rounds},
    view::Member,
};
use polkadot_sdk::{
    frame_support::{
        BoundedVec,
        dispatch::DispatchResult,
        ensure,
        traits::{
            Get, ValidatorRegistration,
            fungible::MutateHold,
            tokens::{Fortitude, Precision, Restriction},
        },
    },
    frame_system,
    pallet_session::SessionManager,
    sp_runtime::{DispatchError, SaturatedConversion, TokenError},
    sp_staking::SessionIndex,
};

/// Most members that one query returns.
const MEMBERS_PAGE: usize = 100;

const LOG_TARGET: &str = "runtime::pol-staking";

/// Puts `who` into the sorted list or takes it out; whether there was room.
fn set_listed<A: Ord + Clone, S: Get<u32>>(
    list: &mut BoundedVec<A, S>,
    who: &A,
    listed: bool,
) -> bool {
    match list.binary_search(who) {
        Err(at) if listed => list.try_insert(at, who.clone()).is_ok(),
        Ok(at) if !listed => {
            list.remove(at);
            true
        }
        _ => true,
    }
}

/// Notes the stake of `who` in the list, sorted by account, or takes it out; whether there was
/// room.
fn set_stake<A: Ord + Clone, S: Get<u32>>(
    list: &mut BoundedVec<(A, Balance), S>,
    who: &A,
    stake: Option<Balance>,
) -> bool {
    match (list.binary_search_by(|(other, _)| other.cmp(who)), stake) {
        (Err(at), Some(stake)) => list.try_insert(at, (who.clone(), stake)).is_ok(),
        (Ok(at), Some(stake)) => {
            if let Some((_, listed)) = list.get_mut(at) {
                *listed = stake;
            }
            true
        }
        (Ok(at), None) => {
            list.remove(at);
            true
        }
        (Err(_), None) => true,
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn now() -> u32 {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// What the account weighs in a quorum; none when it takes no part.
    pub(crate) fn stake(who: &T::AccountId, ledger: &Ledger) -> Option<Balance> {
        let active = ledger.role.attests()
            && ledger.is_bonded()
            && !ledger.chilled
            && Endpoints::<T>::contains_key(who);
        active.then_some(ledger.bond)
    }

    /// Opens a ledger.
    pub(crate) fn open(who: &T::AccountId, role: Role, amount: Balance) -> DispatchResult {
        ensure!(!Ledgers::<T>::contains_key(who), Error::<T>::AlreadyBonded);
        ensure!(amount >= role.minimum_bond(), Error::<T>::BondTooSmall);
        Ledgers::<T>::insert(who, Ledger::new(role));
        Self::update(who, |ledger| Self::hold(who, ledger, amount))?;
        Self::deposit_event(Event::Bonded { who: who.clone(), role, amount });
        Ok(())
    }

    /// Adds to a bond.
    pub(crate) fn hold(who: &T::AccountId, ledger: &mut Ledger, amount: Balance) -> DispatchResult {
        T::Currency::hold(&HoldReason::Bond.into(), who, amount).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() {
                Error::<T>::InsufficientFunds.into()
            } else {
                error
            }
        })?;
        ledger.bond = ledger.bond.saturating_add(amount);
        Ok(())
    }

    /// Changes an account's ledger, and brings validators, total stake and candidates in line with
    /// it; whether the stake changed. This is the only way in which any of them changes.
    fn update(
        who: &T::AccountId,
        change: impl FnOnce(&mut Ledger) -> DispatchResult,
    ) -> Result<bool, DispatchError> {
        Ledgers::<T>::try_mutate(who, |ledger| {
            let ledger = ledger.as_mut().ok_or(Error::<T>::NotBonded)?;
            let (stake, candidate) = (Self::stake(who, ledger), ledger.is_candidate());
            change(ledger)?;
            let (new_stake, new_candidate) = (Self::stake(who, ledger), ledger.is_candidate());
            if new_candidate != candidate {
                let room = Candidates::<T>::mutate(|list| set_listed(list, who, new_candidate));
                ensure!(room, Error::<T>::TooManyCandidates);
            }
            if new_stake.is_some() != stake.is_some() {
                ledger.attested = T::Rounds::attest_phases();
            }
            if new_stake != stake {
                let room = Validators::<T>::mutate(|list| set_stake(list, who, new_stake));
                ensure!(room, Error::<T>::TooManyValidators);
                TotalStake::<T>::mutate(|total| {
                    *total = total
                        .saturating_sub(stake.unwrap_or(0))
                        .saturating_add(new_stake.unwrap_or(0));
                });
                Self::deposit_event(Event::StakeChanged { who: who.clone(), stake: new_stake });
            }
            Ok(new_stake != stake)
        })
    }

    /// [`Self::update`], refused when it would change the stake while a quorum is being counted.
    pub(crate) fn update_unless_frozen(
        who: &T::AccountId,
        change: impl FnOnce(&mut Ledger) -> DispatchResult,
    ) -> DispatchResult {
        let changed = Self::update(who, change)?;
        ensure!(!(changed && T::Rounds::attesting()), Error::<T>::StakeIsFrozen);
        Ok(())
    }

    /// Takes up to `amount` of an account's bond, also of a role that has ended: `take` takes as
    /// much off the hold as it is told to and can, and returns how much that was.
    fn penalise(
        who: &T::AccountId,
        amount: Balance,
        take: impl FnOnce(&T::RuntimeHoldReason, Balance) -> Result<Balance, DispatchError>,
    ) -> Balance {
        let amount = amount.min(Self::slashable(who));
        if amount == 0 {
            return 0;
        }
        let mut taken = 0;
        let penalised = Self::update(who, |ledger| {
            taken = take(&HoldReason::Bond.into(), amount)?;
            ledger.bond = ledger.bond.saturating_sub(taken);
            Ok(())
        });
        if let Err(error) = penalised {
            log::error!(target: LOG_TARGET, "cannot take {amount} of the bond of {who:?}: {error:?}");
        }
        taken
    }

    /// The account's part in the network.
    pub fn member(account: T::AccountId) -> Option<Member<T::AccountId>> {
        let ledger = Ledgers::<T>::get(&account)?;
        Some(Self::view(account, ledger))
    }

    /// What a slash can reach: the bond, also of a role that has ended, until it is withdrawn.
    pub fn slashable(account: &T::AccountId) -> Balance {
        Ledgers::<T>::get(account).map_or(0, |ledger| ledger.bond)
    }

    /// Up to 100 members in storage order after `start`.
    pub fn members(start: Option<T::AccountId>) -> Vec<Member<T::AccountId>> {
        let ledgers = match start {
            Some(start) => Ledgers::<T>::iter_from(Ledgers::<T>::hashed_key_for(start)),
            None => Ledgers::<T>::iter(),
        };
        ledgers.take(MEMBERS_PAGE).map(|(account, ledger)| Self::view(account, ledger)).collect()
    }

    fn view(account: T::AccountId, ledger: Ledger) -> Member<T::AccountId> {
        let endpoint = Endpoints::<T>::get(&account);
        Member {
            account,
            role: ledger.role,
            bond: ledger.active_bond(),
            chilled: ledger.chilled,
            endpoint,
        }
    }

    /// The candidates of most weight that have session keys, sorted by account.
    fn elect() -> Vec<T::AccountId> {
        let mut ranked: Vec<_> = Candidates::<T>::get()
            .into_iter()
            .filter(T::SessionKeys::is_registered)
            .filter_map(|who| {
                Ledgers::<T>::get(&who).map(|ledger| (Reverse(ledger.election_weight()), who))
            })
            .collect();
        ranked.sort_unstable();
        let mut elected: Vec<_> = ranked
            .into_iter()
            .take(T::MaxAuthorities::get() as usize)
            .map(|(_, who)| who)
            .collect();
        elected.sort_unstable();
        elected
    }

    /// The pallet's accounting as equations.
    #[cfg(any(feature = "try-runtime", feature = "std"))]
    pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use pol_primitives::MILLION;
        use polkadot_sdk::frame_support::traits::fungible::InspectHold;
        let (mut validators, mut candidates, mut total) = (Vec::new(), Vec::new(), 0u128);
        for (who, ledger) in Ledgers::<T>::iter() {
            ensure!(ledger.reputation <= MILLION, "a reputation is more than one");
            let held = T::Currency::balance_on_hold(&HoldReason::Bond.into(), &who);
            ensure!(ledger.bond == held, "a bond is not what is on hold for it");
            if let Some(stake) = Self::stake(&who, &ledger) {
                total = total.saturating_add(stake);
                validators.push((who.clone(), stake));
            }
            if ledger.is_candidate() {
                candidates.push(who);
            }
        }
        validators.sort_unstable();
        candidates.sort_unstable();
        ensure!(
            validators == Validators::<T>::get().into_inner(),
            "the validators are not exactly the active ones with their bonds, sorted"
        );
        ensure!(
            total == TotalStake::<T>::get(),
            "the total stake is not the sum of the validators' bonds"
        );
        ensure!(
            candidates == Candidates::<T>::get().into_inner(),
            "the candidates are not exactly the bonded authorities, sorted"
        );
        ensure!(
            Endpoints::<T>::iter_keys().all(Ledgers::<T>::contains_key),
            "an endpoint has no bond"
        );
        Ok(())
    }
}

impl<T: Config> Bonds<T::AccountId> for Pallet<T> {
    fn is_trainer(account: &T::AccountId) -> bool {
        Ledgers::<T>::get(account)
            .is_some_and(|ledger| ledger.role == Role::Trainer && ledger.is_bonded())
    }

    fn validator_stake(account: &T::AccountId) -> Option<Balance> {
        Ledgers::<T>::get(account).and_then(|ledger| Self::stake(account, &ledger))
    }

    fn total_validator_stake() -> Balance {
        TotalStake::<T>::get()
    }

    fn lead(seed: &Hash, turn: u32) -> Option<T::AccountId> {
        let validators = Validators::<T>::get();
        let first = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let at = first.wrapping_add(turn.into()).checked_rem(validators.len() as u64)?;
        validators.into_iter().nth(usize::try_from(at).ok()?).map(|(account, _)| account)
    }

    fn note_attested(account: &T::AccountId, phase: u32) {
        // A phase under way counts as attended, though it has not ended yet.
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.attested = ledger.attested.max(phase.saturating_add(1))
        });
    }

    fn slash(account: &T::AccountId, amount: Balance) -> Balance {
        let taken = Self::penalise(account, amount, |reason, amount| {
            T::Currency::burn_held(reason, account, amount, Precision::BestEffort, Fortitude::Force)
        });
        if taken > 0 {
            Self::deposit_event(Event::Slashed { who: account.clone(), amount: taken });
        }
        taken
    }

    fn seize(account: &T::AccountId, amount: Balance, to: &T::AccountId) -> Balance {
        let taken = Self::penalise(account, amount, |reason, amount| {
            let (precision, force) = (Precision::BestEffort, Fortitude::Force);
            T::Currency::transfer_on_hold(
                reason,
                account,
                to,
                amount,
                precision,
                Restriction::Free,
                force,
            )
        });
        if taken > 0 {
            Self::deposit_event(Event::Seized {
                who: account.clone(),
                amount: taken,
                to: to.clone(),
            });
        }
        taken
    }

    fn stakes() -> Vec<(T::AccountId, Balance)> {
        Validators::<T>::get().into_inner()
    }

    fn note_training(account: &T::AccountId, accepted: bool) {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.reputation = move_reputation(ledger.reputation, accepted)
        });
    }

    fn note_seat(account: &T::AccountId, right: bool) -> u32 {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.reputation = move_reputation(ledger.reputation, right);
            ledger.strikes = if right { 0 } else { ledger.strikes.saturating_add(1) };
            ledger.strikes
        })
    }
}

impl<T: Config> SessionManager<T::AccountId> for Pallet<T> {
    /// The authorities of a session; also when they are the same again, so that the session's
    /// record holds the keys they now have, and what they sign with them can be held against them.
    /// None keeps those before when nobody can be elected, since a chain without authorities stands
    /// still for good.
    fn new_session(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        Some(Self::elect()).filter(|elected| !elected.is_empty())
    }

    fn start_session(_: SessionIndex) {}

    fn end_session(_: SessionIndex) {}
}
