// SPDX-License-Identifier: Apache-2.0

//! Governance by the council of the authorities, on a chain without sudo.

use super::*;
use crate::configs::AuthorityCouncil;
use frame_support::weights::Weight;
use pol_primitives::data::{MAX_SHARDS, ManifestStatus, SourceKind};
use sp_runtime::traits::Hash as _;

type Motions = pallet_collective::Call<Runtime, AuthorityCouncil>;
type Lineages = pallet_pol_lineage::Call<Runtime>;

fn set_recipe() -> RuntimeCall {
    pallet_proof_of_learning::Call::set_recipe { recipe: recipe() }.into()
}

/// Returns the calls by which Alice proposes `call` and the accounts in `ayes` vote for it.
fn motion(call: &RuntimeCall, index: u32, ayes: &[&str]) -> Vec<(sr25519::Pair, RuntimeCall)> {
    let propose = Motions::propose {
        threshold: 2,
        proposal: Box::new(call.clone()),
        length_bound: call.encoded_size() as u32,
    };
    let proposal = BlakeTwo256::hash_of(call);
    let votes = ayes.iter().map(|name| {
        (pair(name), RuntimeCall::from(Motions::vote { proposal, index, approve: true }))
    });
    core::iter::once((pair("//Alice"), propose.into())).chain(votes).collect()
}

fn close(call: &RuntimeCall, index: u32) -> (sr25519::Pair, RuntimeCall) {
    let close = Motions::close {
        proposal_hash: BlakeTwo256::hash_of(call),
        index,
        proposal_weight_bound: Weight::from_parts(500_000_000_000, 1 << 20),
        length_bound: call.encoded_size() as u32,
    };
    (pair("//Bob"), close.into())
}

#[test]
fn the_council_is_the_set_of_authorities() {
    genesis(LOCAL).execute_with(|| {
        let mut expected = ["//Alice", "//Bob", "//Charlie"].map(|name| account(&pair(name)));
        expected.sort();
        assert_eq!(pallet_collective::Members::<Runtime, AuthorityCouncil>::get(), expected);
        check_state().unwrap();
    });
}

#[test]
fn two_thirds_of_the_authorities_set_a_recipe() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        // No authority decides alone.
        let alone = chain.try_block(vec![(pair("//Alice"), set_recipe())]);
        assert_eq!(alone, [Err(DispatchError::BadOrigin)]);
        chain.block(motion(&set_recipe(), 0, &["//Alice"]));
        let early = pallet_collective::Error::<Runtime, AuthorityCouncil>::TooEarly;
        assert_eq!(chain.try_block(vec![close(&set_recipe(), 0)]), [Err(early.into())]);
        let proposal = BlakeTwo256::hash_of(&set_recipe());
        let vote = Motions::vote { proposal, index: 0, approve: true };
        chain.block([(pair("//Bob"), vote.into()), close(&set_recipe(), 0)]);
        // It is in force when the round opens.
        chain.block([]);
        assert_eq!(ProofOfLearning::recipe(), Some(recipe()));
    });
}

#[test]
fn strangers_do_not_vote() {
    genesis(LOCAL).execute_with(|| {
        let mut calls = motion(&set_recipe(), 0, &["//Dave"]);
        let refused = Chain::new().try_block(calls.split_off(0));
        // Calls of the council have reserved room, which strangers have not.
        let stranger = pallet_proof_of_learning::Error::<Runtime>::ReservedRoom;
        assert_eq!(refused, [Ok(()), Err(stranger.into())]);
    });
}

#[test]
fn the_council_admits_data_and_a_flood_waits() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        let mut calls = motion(&set_recipe(), 0, &["//Alice", "//Bob"]);
        calls.push(close(&set_recipe(), 0));
        chain.block(calls);
        let source = Lineages::register_source {
            address: b"https://example.org".to_vec().try_into().unwrap(),
            licence: b"CC0-1.0".to_vec().try_into().unwrap(),
        };
        let flood = ManifestInfo { shards: MAX_SHARDS, content_hash: [8; 32], ..manifest() };
        let owner = pair("//Dave");
        chain.block([
            (owner.clone(), source.into()),
            (owner.clone(), Lineages::register_manifest { info: Box::new(flood) }.into()),
            (owner, Lineages::register_manifest { info: Box::new(manifest()) }.into()),
        ]);
        assert_eq!(ProofOfLearning::overview().free_shards, 0, "both wait");
        let admit: RuntimeCall =
            Lineages::admit_manifest { manifest: 1, kind: SourceKind::Web }.into();
        let mut calls = motion(&admit, 1, &["//Bob", "//Charlie"]);
        calls.push(close(&admit, 1));
        chain.block(calls);
        assert_eq!(ProofOfLearning::overview().free_shards, SHARDS);
        assert_eq!(Lineage::manifest(0).unwrap().status, ManifestStatus::Proposed);
    });
}

/// Returns the batch by which the council dispatches `call` as root.
fn as_root(call: RuntimeCall) -> RuntimeCall {
    let call_hash = BlakeTwo256::hash_of(&call);
    let whitelist = pallet_whitelist::Call::whitelist_call { call_hash };
    let dispatch =
        pallet_whitelist::Call::dispatch_whitelisted_call_with_preimage { call: Box::new(call) };
    pallet_utility::Call::batch_all { calls: vec![whitelist.into(), dispatch.into()] }.into()
}

/// Lets the council dispatch `call` as root in one block.
fn dispatch_as_root(call: RuntimeCall) {
    let batch = as_root(call);
    let mut calls = motion(&batch, 0, &["//Alice", "//Charlie"]);
    calls.push(close(&batch, 0));
    Chain::new().block(calls);
}

#[test]
fn a_motion_needs_the_votes_that_decide() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        for threshold in [1, 3] {
            let length_bound = set_recipe().encoded_size() as u32;
            let proposal = Box::new(set_recipe());
            let propose = Motions::propose { threshold, proposal, length_bound };
            let refused = chain.try_block(vec![(pair("//Alice"), propose.into())]);
            assert_eq!(refused, [Err(frame_system::Error::<Runtime>::CallFiltered.into())]);
        }
        // Two of three are asked for, so that two nays reject.
        chain.block(motion(&set_recipe(), 0, &["//Alice"]));
        let proposal = BlakeTwo256::hash_of(&set_recipe());
        let nay = |name| (pair(name), Motions::vote { proposal, index: 0, approve: false }.into());
        chain.block(vec![nay("//Bob"), nay("//Charlie"), close(&set_recipe(), 0)]);
        assert_eq!(pallet_collective::ProposalCount::<Runtime, AuthorityCouncil>::get(), 1);
        assert!(pallet_collective::Proposals::<Runtime, AuthorityCouncil>::get().is_empty());
    });
}

#[test]
fn the_council_acts_as_root_by_a_whitelisted_call() {
    genesis(LOCAL).execute_with(|| {
        let code_hash = Hash::repeat_byte(7);
        dispatch_as_root(frame_system::Call::authorize_upgrade { code_hash }.into());
        let authorized = System::authorized_upgrade().map(|upgrade| *upgrade.code_hash());
        assert_eq!(authorized, Some(code_hash));
    });
}

#[test]
fn the_council_restarts_finality() {
    genesis(LOCAL).execute_with(|| {
        let (delay, best_finalized_block_number) = (20, 0);
        dispatch_as_root(
            pallet_grandpa::Call::note_stalled { delay, best_finalized_block_number }.into(),
        );
        let stalled = pallet_grandpa::Stalled::<Runtime>::get();
        assert_eq!(stalled, Some((delay, best_finalized_block_number)));
    });
}
