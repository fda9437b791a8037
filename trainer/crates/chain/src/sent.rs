// SPDX-License-Identifier: Apache-2.0

//! Transactions that a fork may take back.
//!
//! A role reads the chain at every block and does what is missing there. After a reorganisation its
//! last call is missing again, although the node or a block may still hold the transaction. So a
//! call for the same duty sends that transaction again. It keeps its nonce, and takes effect once.
//!
//! The nonce of a transaction is not given to another one while the node's pool takes it.

use crate::{AccountId, Call};
use pol_primitives::round::BlockNumber;
use sp_crypto_hashing::blake2_256;

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedTransaction {
    pub(crate) account: AccountId,
    pub(crate) nonce: u64,
    pub(crate) bytes: Vec<u8>,
    /// First block of its era.
    pub(crate) birth: BlockNumber,
    /// Last block of its era.
    pub(crate) until: BlockNumber,
    /// Set if blocks reserve room for the call.
    pub(crate) has_room: bool,
}

impl SignedTransaction {
    pub(crate) fn hash(&self) -> [u8; 32] {
        blake2_256(&self.bytes)
    }
}

/// Transactions of this process whose eras are not over, each with the duty that it fulfils if it
/// fulfils one.
#[derive(Debug, Default)]
pub(crate) struct SentTransactions(Vec<(Option<Call>, SignedTransaction)>);

impl SentTransactions {
    /// Adds a transaction that fulfils `duty`, and forgets those whose eras ended before block
    /// `best`.
    pub(crate) fn add(&mut self, duty: Option<Call>, signed: SignedTransaction, best: u64) {
        self.0.retain(|(_, sent)| u64::from(sent.until) >= best);
        self.0.push((duty, signed));
    }

    /// Returns the transaction of `account` for `duty` that no block up to `best` includes although
    /// one may: the next nonce on that chain is `nonce`.
    pub(crate) fn find(
        &self,
        account: &AccountId,
        duty: &Call,
        nonce: u64,
        best: u64,
    ) -> Option<SignedTransaction> {
        let fits = |(of, sent): &&(Option<Call>, SignedTransaction)| {
            of.as_ref() == Some(duty)
                && sent.account == *account
                && sent.nonce >= nonce
                && u64::from(sent.until) > best
        };
        self.0.iter().find(fits).map(|(_, sent)| sent.clone())
    }

    /// Returns the newest transaction of `account` with this nonce.
    pub(crate) fn with_nonce(&self, account: &AccountId, nonce: u64) -> Option<SignedTransaction> {
        let mut newest = self.0.iter().rev().map(|(_, sent)| sent);
        newest.find(|sent| sent.account == *account && sent.nonce == nonce).cloned()
    }

    /// Forgets a transaction that no block can include.
    pub(crate) fn forget(&mut self, signed: &SignedTransaction) {
        self.0.retain(|(_, sent)| sent != signed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::submission::TrainingClaims;

    fn signed(account: u8, nonce: u64, until: u32) -> SignedTransaction {
        SignedTransaction {
            account: [account; 32],
            nonce,
            bytes: vec![account, nonce as u8],
            birth: 1,
            until,
            has_room: false,
        }
    }

    fn duty(round: u32) -> Call {
        Call::Claim { round }
    }

    #[test]
    fn a_retracted_transaction_is_found_for_its_duty_only() {
        let mut sent = SentTransactions::default();
        sent.add(Some(duty(3)), signed(1, 7, 64), 1);
        // Included: the next nonce is 8.
        assert_eq!(sent.find(&[1; 32], &duty(3), 8, 10), None);
        // Retracted.
        assert_eq!(sent.find(&[1; 32], &duty(3), 7, 10), Some(signed(1, 7, 64)));
        assert_eq!(sent.find(&[1; 32], &duty(3), 5, 10), Some(signed(1, 7, 64)));
        assert_eq!(sent.find(&[1; 32], &duty(4), 7, 10), None);
        assert_eq!(sent.find(&[2; 32], &duty(3), 7, 10), None);
        sent.forget(&signed(1, 7, 64));
        assert_eq!(sent.find(&[1; 32], &duty(3), 7, 10), None);
    }

    #[test]
    fn the_newest_transaction_of_a_nonce_is_found_whatever_it_does() {
        let mut sent = SentTransactions::default();
        let newer = SignedTransaction { bytes: vec![9], ..signed(1, 7, 64) };
        sent.add(None, signed(1, 7, 64), 1);
        sent.add(Some(duty(3)), newer.clone(), 1);
        assert_eq!(sent.with_nonce(&[1; 32], 7), Some(newer.clone()));
        assert_eq!(sent.with_nonce(&[1; 32], 8), None);
        assert_eq!(sent.with_nonce(&[2; 32], 7), None);
        sent.forget(&newer);
        assert_eq!(sent.with_nonce(&[1; 32], 7), Some(signed(1, 7, 64)));
        assert_eq!(sent.find(&[1; 32], &duty(3), 7, 10), None);
    }

    #[test]
    fn transactions_are_forgotten_with_their_eras() {
        let mut sent = SentTransactions::default();
        sent.add(Some(duty(1)), signed(1, 7, 64), 1);
        assert_eq!(sent.find(&[1; 32], &duty(1), 7, 64), None);
        sent.add(Some(duty(2)), signed(1, 8, 128), 65);
        assert_eq!(sent.0.len(), 1);
    }

    #[test]
    fn a_bond_is_raised_again_only_once_the_last_raise_is_included() {
        let raise = |amount| Call::BondExtra { amount }.duty();
        let (first, second) = (raise(800).unwrap(), raise(1_600).unwrap());
        let mut sent = SentTransactions::default();
        sent.add(Some(first), signed(1, 7, 64), 1);
        // A reorganisation took it back, and the bond is missing again.
        assert_eq!(sent.find(&[1; 32], &second, 7, 10), Some(signed(1, 7, 64)));
        assert_eq!(sent.find(&[1; 32], &second, 8, 10), None, "the next one is another raise");
    }

    #[test]
    fn a_commitment_is_one_duty_whatever_is_claimed_and_transfers_are_none() {
        let commit = |commitment, first_loss| {
            let claims = TrainingClaims { first_loss, ..TrainingClaims::default() };
            Call::Commit { round: 3, commitment, claims }.duty()
        };
        assert_eq!(commit([1; 32], 1), commit([1; 32], 2));
        assert_ne!(commit([1; 32], 1), commit([2; 32], 1));
        assert_eq!(Call::Transfer { to: [1; 32], amount: 5 }.duty(), None);
        assert_eq!(duty(3).duty(), Some(duty(3)));
    }
}
