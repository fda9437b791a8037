// SPDX-License-Identifier: Apache-2.0

//! Reports of equivocations with real proofs.

use super::*;
use codec::Decode;
use frame_support::traits::KeyOwnerProofSystem;
use sp_consensus_babe::{
    Slot,
    digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest},
};
use sp_core::{ed25519, proof_of_possession::statement_of_ownership};
use sp_runtime::{
    traits::Dispatchable,
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_session::MembershipProof;

const OFFENDER: &str = "//Bob";

fn offender() -> AccountId {
    account(&pair(OFFENDER))
}

/// Returns a block of the offender in this slot. `seal` is the pair that signs it.
fn header(slot: Slot, content: u8, seal: Option<&sr25519::Pair>) -> Header {
    let key = sp_consensus_babe::AuthorityId::from(pair(OFFENDER).public());
    let place = Babe::authorities().iter().position(|(authority, _)| *authority == key).unwrap();
    let digest =
        PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: place as u32, slot });
    let digest =
        Digest { logs: vec![<DigestItem as CompatibleDigestItem>::babe_pre_digest(digest)] };
    let root = Hash::repeat_byte(content);
    let mut header = Header::new(7, root, root, Hash::zero(), digest);
    if let Some(seal) = seal {
        let seal = seal.sign(header.hash().as_ref()).into();
        header.digest.push(<DigestItem as CompatibleDigestItem>::babe_seal(seal));
    }
    header
}

/// Returns the report of two blocks of the current slot, with the proof of this block's state.
fn report_of_blocks(seal: Option<&sr25519::Pair>) -> RuntimeCall {
    let slot = Babe::current_slot();
    let key = sp_consensus_babe::AuthorityId::from(pair(OFFENDER).public());
    let proof = sp_consensus_babe::EquivocationProof {
        offender: key.clone(),
        slot,
        first_header: header(slot, 1, seal),
        second_header: header(slot, 2, seal),
    };
    let owner = owner_of((sp_consensus_babe::KEY_TYPE, key)).unwrap();
    pallet_babe::Call::report_equivocation_unsigned {
        equivocation_proof: Box::new(proof),
        key_owner_proof: owner,
    }
    .into()
}

fn owner_of<K: AsRef<[u8]> + Clone>(
    key: (sp_core::crypto::KeyTypeId, K),
) -> Option<MembershipProof> {
    crate::configs::KeyOwners::prove(key)
}

/// Returns the report of two votes of a round of the current set of voters.
fn report_of_votes(round: u64) -> RuntimeCall {
    let voter = ed25519::Pair::from_string(OFFENDER, None).unwrap();
    let set_id = pallet_grandpa::CurrentSetId::<Runtime>::get();
    let vote = |content: u8| {
        let target = (Hash::repeat_byte(content), 7u32);
        let payload = (0u8, target, round, set_id).encode();
        (target, voter.sign(&payload))
    };
    let proof = (set_id, 0u8, round, voter.public(), vote(1), vote(2)).encode();
    let proof = sp_consensus_grandpa::EquivocationProof::decode(&mut &proof[..]).unwrap();
    let key = sp_consensus_grandpa::AuthorityId::from(voter.public());
    let owner = owner_of((sp_consensus_grandpa::KEY_TYPE, key)).unwrap();
    pallet_grandpa::Call::report_equivocation {
        equivocation_proof: Box::new(proof),
        key_owner_proof: owner,
    }
    .into()
}

/// Returns whether an author may put the call into its block.
fn validate(call: &RuntimeCall) -> TransactionValidity {
    let bare = UncheckedExtrinsic::new_bare(call.clone());
    Executive::validate_transaction(TransactionSource::Local, bare, System::parent_hash())
}

/// Reports by the author of a block. Requires that the offender is punished.
fn report(call: &RuntimeCall) {
    assert!(validate(call).is_ok(), "{:?}", validate(call));
    call.clone().dispatch(RuntimeOrigin::none()).unwrap();
    assert!(!PolStaking::is_punishable(&offender()));
    assert!(PolStaking::slashable(&offender()) < Role::Authority.minimum_bond());
}

/// Returns the call by which an account gives itself new session keys.
fn set_keys(uri: &str, new: &str) -> (sr25519::Pair, RuntimeCall) {
    let (who, author) = (pair(uri), pair(new));
    let voter = ed25519::Pair::from_string(new, None).unwrap();
    let statement = statement_of_ownership(&account(&who).encode());
    let proof = (author.sign(&statement), voter.sign(&statement)).encode();
    let keys = SessionKeys { babe: author.public().into(), grandpa: voter.public().into() };
    (who, pallet_session::Call::set_keys { keys, proof }.into())
}

/// Executes blocks until the session is over.
fn next_session(chain: &mut Chain) {
    let session = Session::current_index();
    while Session::current_index() == session {
        chain.block([]);
    }
}

#[test]
fn two_blocks_of_a_slot_are_reported_once() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        chain.block([]);
        let sealed = report_of_blocks(Some(&pair(OFFENDER)));
        report(&sealed);
        assert_eq!(validate(&sealed), Err(InvalidTransaction::Stale.into()));
        chain.block([]);
        // Another slot costs nothing more, and is not taken either.
        let again = report_of_blocks(Some(&pair(OFFENDER)));
        assert_eq!(validate(&again), Err(InvalidTransaction::Stale.into()));
        assert!(again.dispatch(RuntimeOrigin::none()).is_err());
    });
}

#[test]
fn a_report_that_proves_nothing_enters_no_block() {
    genesis(LOCAL).execute_with(|| {
        Chain::new().block([]);
        let forged = pair("//Alice");
        for seal in [None, Some(&forged)] {
            let refused = Err(InvalidTransaction::BadProof.into());
            assert_eq!(validate(&report_of_blocks(seal)), refused);
        }
        assert!(PolStaking::is_punishable(&offender()));
        let strange = (sp_consensus_babe::KEY_TYPE, pair("//Eve").public());
        assert_eq!(owner_of(strange), None);
    });
}

#[test]
fn new_keys_of_the_offender_hide_no_equivocation() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        chain.block([]);
        chain.block([set_keys(OFFENDER, "//Bob//new")]);
        assert!(
            Session::key_owner(sp_consensus_babe::KEY_TYPE, &pair(OFFENDER).public()).is_none()
        );
        report(&report_of_blocks(Some(&pair(OFFENDER))));
    });
}

#[test]
fn a_report_outlives_its_session_and_the_keys_of_others() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        // The first block of a session is of that session.
        next_session(&mut chain);
        let call = report_of_blocks(Some(&pair(OFFENDER)));
        chain.block([set_keys("//Alice", "//Alice//new")]);
        assert!(validate(&call).is_ok());
        next_session(&mut chain);
        report(&call);
    });
}

#[test]
fn votes_of_many_rounds_are_reported_once() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        chain.block([]);
        let charlie = pair("//Charlie");
        let reports = [report_of_votes(1), report_of_votes(2)].map(|call| (charlie.clone(), call));
        let results = chain.try_block(reports.into());
        assert!(results[0].is_ok() && results[1].is_err(), "{results:?}");
        assert!(!PolStaking::is_punishable(&offender()));
    });
}
