// SPDX-License-Identifier: Apache-2.0

//! Records of members.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
#[cfg(doc)]
use pol_primitives::audit::SeatTally;
use pol_primitives::{Balance, MILLION, Ppm, RoundNumber, member::Role};
use polkadot_sdk::sp_runtime::Perbill;
use scale_info::TypeInfo;

/// Exclusion from elections for an equivocation.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Bar {
    /// First block in which the authority can be a candidate again.
    pub until: u32,
    /// Share of the bond that was slashed. It grows with the number of authorities that equivocate
    /// while the account serves.
    pub share: Perbill,
}

/// Record of a member: role, bond and the results of its audits.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct StakingLedger {
    /// Role that the account is bonded for.
    pub role: Role,
    /// Round in which the account took the role.
    pub since: RoundNumber,
    /// Amount on hold for the role.
    pub bond: Balance,
    /// Part of the bond that backs unsettled updates. It is not withdrawn before they are settled.
    pub locked: Balance,
    /// First block in which the bond can be withdrawn; none until the role ends.
    pub free_at: Option<u32>,
    /// `true` if the validator was excluded for missing too many attest phases.
    pub chilled: bool,
    /// Number of attest phases of the chain up to the last one that the account attested in, or
    /// up to the block in which it became an active validator.
    pub attested: u32,
    /// Moving average of verified contribution, from zero to one. It starts at zero and grows by
    /// settled audits only, so a new identity has no advantage.
    pub reputation: Ppm,
    /// Strikes for rounds in which the validator was mostly silent ([`SeatTally::strikes_after`]).
    pub strikes: u32,
    /// `true` if the active validator has acted since it became one. Members at genesis have.
    pub acted: bool,
    /// Number of attested roots in a row that were not those of the head.
    pub wrong_roots: u32,
    /// `true` if the bond reached the minimum and has not fallen below nine tenths of it since.
    pub backed: bool,
    /// `true` if the validator has no place, because the list is full of higher stakes.
    pub waiting: bool,
    /// Exclusion from elections, until the authority asks to be a candidate again.
    pub bar: Option<Bar>,
}

impl StakingLedger {
    /// Returns `true` if the account is excluded from elections for an equivocation in this block.
    pub(crate) fn is_barred(&self, now: u32) -> bool {
        self.bar.is_some_and(|bar| now < bar.until)
    }

    /// Creates the ledger of a role without a bond, which was taken in round `since`.
    pub(crate) const fn new(role: Role, since: RoundNumber) -> Self {
        Self {
            role,
            since,
            bond: 0,
            locked: 0,
            free_at: None,
            chilled: false,
            attested: 0,
            reputation: 0,
            strikes: 0,
            acted: false,
            wrong_roots: 0,
            backed: false,
            waiting: false,
            bar: None,
        }
    }

    /// Returns the bond of a role, and zero once the role has ended.
    pub fn active_bond(&self) -> Balance {
        if self.free_at.is_none() { self.bond } else { 0 }
    }

    /// Returns `true` if the account may act in its role: the role has not ended, and penalties
    /// have left enough of the bond.
    pub fn is_bonded(&self) -> bool {
        self.backed && self.free_at.is_none()
    }

    /// Returns `true` if the account may be a candidate for election.
    pub fn may_stand(&self) -> bool {
        self.role == Role::Authority && self.is_bonded() && self.bar.is_none()
    }

    /// Returns the weight by which elections rank candidates: `bond · (1 + reputation)`.
    pub fn election_weight(&self) -> Balance {
        let reputation = self.reputation.min(MILLION);
        self.bond
            .saturating_mul(MILLION.saturating_add(reputation).into())
            .checked_div(MILLION.into())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::POL;
    use proptest::prelude::*;

    #[test]
    fn reputation_at_most_doubles_the_weight() {
        let ledger = StakingLedger { bond: 10_000 * POL, ..StakingLedger::new(Role::Authority, 0) };
        assert_eq!(ledger.election_weight(), 10_000 * POL);
        assert_eq!(
            StakingLedger { reputation: MILLION / 2, ..ledger }.election_weight(),
            15_000 * POL
        );
        assert_eq!(StakingLedger { reputation: MILLION, ..ledger }.election_weight(), 20_000 * POL);
        assert_eq!(
            StakingLedger { reputation: u32::MAX, ..ledger }.election_weight(),
            20_000 * POL
        );
    }

    #[test]
    fn a_role_ends_with_its_bond() {
        let new = StakingLedger::new(Role::Trainer, 0);
        let ledger = StakingLedger { bond: 1_000 * POL, backed: true, ..new };
        assert!(ledger.is_bonded());
        assert!(!StakingLedger { free_at: Some(9), ..ledger }.is_bonded());
        assert!(!StakingLedger { backed: false, ..ledger }.is_bonded());
    }

    proptest! {
        #[test]
        fn more_bond_never_weighs_less(
            bond in 0..1u128 << 100,
            more in 0..1u128 << 100,
            reputation in 0..=MILLION,
        ) {
            let ledger = StakingLedger { reputation, ..StakingLedger::new(Role::Authority, 0) };
            let weight = |bond| StakingLedger { bond, ..ledger }.election_weight();
            prop_assert!(weight(bond + more) >= weight(bond));
        }
    }
}
