//! What is kept of a bonded account, and what follows from it alone.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use pol_primitives::{Balance, MILLION, Ppm, peer::Role};
use scale_info::TypeInfo;

/// A bonded account.
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
pub struct Ledger {
    /// What it is bonded as.
    pub role: Role,
    /// What is on hold for it.
    pub bond: Balance,
    /// Block from which the bond can be withdrawn; none while the role lasts.
    pub free_at: Option<u32>,
    /// Whether it was set aside for missing too many attest phases.
    pub chilled: bool,
    /// Attest phases that had ended with the last one it attested in, or when it became active.
    pub attested: u32,
    /// Moving average of verified contribution, at most a million. Everybody starts with nothing,
    /// so a new identity gains nothing; it grows only by settled audits.
    pub reputation: Ppm,
    /// Seats in a row in which it was not right.
    pub strikes: u32,
}

impl Ledger {
    /// A role without a bond yet.
    pub(crate) const fn new(role: Role) -> Self {
        Self {
            role,
            bond: 0,
            free_at: None,
            chilled: false,
            attested: 0,
            reputation: 0,
            strikes: 0,
        }
    }

    /// The bond behind a role that lasts; zero once it has ended.
    pub fn active_bond(&self) -> Balance {
        if self.free_at.is_none() { self.bond } else { 0 }
    }

    /// Whether the role may be exercised: it lasts, and slashes have left enough of its bond.
    pub fn is_bonded(&self) -> bool {
        self.role.is_backed_by(self.active_bond())
    }

    /// Whether it stands for election.
    pub fn is_candidate(&self) -> bool {
        self.role == Role::Authority && self.is_bonded()
    }

    /// What elections rank by: `bond · (1 + reputation)`.
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
        let ledger = Ledger { bond: 10_000 * POL, ..Ledger::new(Role::Authority) };
        assert_eq!(ledger.election_weight(), 10_000 * POL);
        assert_eq!(Ledger { reputation: MILLION / 2, ..ledger }.election_weight(), 15_000 * POL);
        assert_eq!(Ledger { reputation: MILLION, ..ledger }.election_weight(), 20_000 * POL);
        assert_eq!(Ledger { reputation: u32::MAX, ..ledger }.election_weight(), 20_000 * POL);
    }

    #[test]
    fn trainers_have_a_tenth_to_lose() {
        let bonded = |role, bond| Ledger { bond, ..Ledger::new(role) }.is_bonded();
        assert!(bonded(Role::Trainer, 900 * POL) && !bonded(Role::Trainer, 900 * POL - 1));
        assert!(bonded(Role::Validator, 5_000 * POL) && !bonded(Role::Validator, 5_000 * POL - 1));
        assert!(
            !Ledger { bond: 1_000 * POL, free_at: Some(9), ..Ledger::new(Role::Trainer) }
                .is_bonded()
        );
    }

    proptest! {
        #[test]
        fn more_bond_never_weighs_less(bond in 0..1u128 << 100, more in 0..1u128 << 100, reputation in 0..=MILLION) {
            let weight = |bond| Ledger { bond, reputation, ..Ledger::new(Role::Authority) }.election_weight();
            prop_assert!(weight(bond + more) >= weight(bond));
        }
    }
}
