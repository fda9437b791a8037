// SPDX-License-Identifier: Apache-2.0

//! Bytes of extrinsics: bitmaps, openings of commitments, proofs about documents, and pulses.

use crate::Target;
use codec::{Decode, Encode};
use pol_primitives::{
    BoundedVec, Hash, MAX_SUBMISSIONS,
    audit::{
        AuditResponse, Evidence, Finding, LeafProof, StateProof, TraceState, UpdateMeasurement,
    },
    beacon::{BeaconConfig, BeaconRound, PulseSignature, bls::BeaconSecret},
    inclusion::{InvalidReport, StakeCount},
    lineage::{DocumentLeaf, Documents, LeavesProof},
    submission::{Reveal, RevealSet},
    trace::{Carry, MerkleProof, merkle_proof, merkle_root, merkle_verify},
};
use scheme::{is_valid_key, verify};

// The pallet around it would bring FRAME, which takes long to build.
#[allow(dead_code, unreachable_pub, reason = "a module of another crate")]
#[path = "../../pallets/beacon/src/scheme.rs"]
mod scheme;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "reveal_set", run: reveal_set, seeds: reveal_set_seeds },
    Target { name: "openings", run: openings, seeds: opening_seeds },
    Target { name: "documents", run: documents, seeds: document_seeds },
    Target { name: "pulse", run: pulse, seeds: pulse_seeds },
];

/// Account of the only validator of a count.
const VALIDATOR: u8 = 1;

/// Reads bytes as a bitmap of reveals. One that is decoded holds what it says, and counts for that
/// and nothing else. One that is canonical is the only encoding of its set.
fn reveal_set(bytes: &[u8]) -> bool {
    let Some(set) = encoded::<RevealSet>(bytes) else { return false };
    let same = RevealSet::from_indices(set.indices());
    assert_eq!(set.is_canonical(MAX_SUBMISSIONS), set == same);
    assert_eq!(set.len() as usize, set.indices().count());
    assert_eq!(set.is_empty(), set.indices().next().is_none());
    let mut count = StakeCount::new(vec![(VALIDATOR, 1)], &[]);
    assert_eq!(count.report(&VALIDATOR, set.clone()), Ok(()));
    assert_eq!(count.report(&VALIDATOR, set), Err(InvalidReport::NotMore));
    for attempt in 0..2 {
        assert_eq!(count.included(MAX_SUBMISSIONS, attempt), same);
    }
    true
}

fn reveal_set_seeds() -> Vec<Vec<u8>> {
    let sets = [vec![], vec![0], vec![3, 9], vec![63], (0..64).collect()];
    sets.map(|set| RevealSet::from_indices(set).encode()).into()
}

/// Reads bytes as all that opens a commitment, and as a tree of hashes. A proof of the tree passes
/// for its leaf, and one that is read from the bytes for no other.
fn openings(bytes: &[u8]) -> bool {
    let (leaves, _) = bytes.as_chunks();
    let leaves: Vec<Hash> = leaves.iter().take(64).copied().collect();
    let (root, count) = (merkle_root(&leaves), leaves.len() as u32);
    for (leaf, index) in leaves.iter().zip(0..) {
        let proof = merkle_proof(&leaves, index).unwrap_or_default();
        assert!(merkle_verify(&root, count, index, leaf, &proof));
    }
    let check_proof = |leaf: Hash, proof: &MerkleProof| {
        for index in 0..=count {
            let is_leaf = leaves.get(index as usize) == Some(&leaf);
            assert!(is_leaf || !merkle_verify(&root, count, index, &leaf, proof));
        }
    };
    let reveal = encoded::<Reveal>(bytes);
    let end = encoded::<LeafProof>(bytes);
    let start = encoded::<StateProof>(bytes);
    let response = encoded::<AuditResponse>(bytes);
    let evidence = encoded::<Evidence>(bytes);
    if let Some(reveal) = reveal.clone() {
        check_proof(reveal.trace_root, &reveal.first_leaf);
        let commitment = reveal.commitment(&root, &root, count);
        let other = Reveal { steps: !reveal.steps, ..reveal };
        assert_ne!(other.commitment(&root, &root, count), commitment);
    }
    if let Some(end) = &end {
        check_proof(end.digest, &end.proof);
    }
    if let Some(start) = &start {
        check_proof(start.state.digest(), &start.proof);
    }
    if let Some(response) = &response {
        for (start, end) in response.states.iter().zip(&response.sketched) {
            let _ = end.follows(start, start.leaf, u16::MAX);
        }
    }
    let is_opening = reveal.is_some() || end.is_some() || start.is_some();
    is_opening || response.is_some() || evidence.is_some()
}

fn opening_seeds() -> Vec<Vec<u8>> {
    let proof = MerkleProof::truncate_from(vec![[7; 32]; 3]);
    let reveal = Reveal {
        payload_hash: [1; 32],
        trace_root: [2; 32],
        carry_hash: [3; 32],
        steps: 4,
        first_leaf: proof.clone(),
        salt: [5; 32],
    };
    let state = TraceState { leaf: 1, root: [6; 32], carry: Carry::default() };
    let states = BoundedVec::truncate_from(vec![state]);
    let measure = UpdateMeasurement::default();
    let ends = BoundedVec::truncate_from(vec![[8; 32]]);
    let findings = vec![(0, Finding::Replayed { ends, packed: true, measure })];
    vec![
        reveal.encode(),
        LeafProof { digest: [8; 32], proof: proof.clone() }.encode(),
        StateProof { state, proof }.encode(),
        AuditResponse { states, ..AuditResponse::default() }.encode(),
        Evidence::truncate_from(findings).encode(),
    ]
}

/// Reads bytes as a tree over documents, as a proof about it, and as the keys of two documents.
/// Proofs of the tree pass, and one that is read from the bytes for no document whose leaves it
/// does not have.
fn documents(bytes: &[u8]) -> bool {
    let read = encoded::<LeavesProof>(bytes);
    let (pairs, _) = bytes.as_chunks::<2>();
    let leaf = |&[key, record]: &[u8; 2]| DocumentLeaf { key: [key; 32], record: [record; 32] };
    let mut leaves: Vec<_> = pairs.iter().take(8).map(leaf).collect();
    leaves.sort();
    let Some(tree) = Documents::over(&leaves) else {
        assert!(leaves.is_empty());
        return false;
    };
    for key in bytes.first().into_iter().chain(bytes.last()).map(|key| [*key; 32]) {
        let found: Vec<_> = leaves.iter().filter(|leaf| leaf.key == key).collect();
        let proof = LeavesProof::over(&leaves, &key).unwrap_or_default();
        assert!(proof.verify(&tree, &key));
        assert!(proof.leaves.iter().map(|opened| &opened.leaf).eq(found.iter().copied()));
        if let Some(read) = read.as_ref().filter(|read| read.verify(&tree, &key)) {
            assert!(read.leaves.iter().map(|opened| &opened.leaf).eq(found));
        }
    }
    read.is_some()
}

fn document_seeds() -> Vec<Vec<u8>> {
    let leaves: Vec<_> = [1, 2, 2, 2, 5]
        .into_iter()
        .zip(0..)
        .map(|(key, record)| DocumentLeaf { key: [key; 32], record: [record; 32] })
        .collect();
    let proof = |key: u8| LeavesProof::over(&leaves, &[key; 32]).map(|proof| proof.encode());
    [0, 1, 2, 3, 9].into_iter().filter_map(proof).collect()
}

/// Reads bytes as a beacon and a pulse, and verifies the pulse by the beacon and by the key of the
/// development networks. Only the holder of that key can have made a pulse that passes.
fn pulse(bytes: &[u8]) -> bool {
    let mut input = bytes;
    let Ok(beacon) = BeaconConfig::decode(&mut input) else { return false };
    let Ok((round, signature)) = <(BeaconRound, PulseSignature)>::decode(&mut input) else {
        return false;
    };
    let _ = beacon.due(beacon.round_from(round));
    let is_pulse = is_valid_key(&beacon.key) && verify(&beacon.key, round, &signature).is_ok();
    let secret = BeaconSecret::development();
    let is_own = secret.sign(round).is_ok_and(|own| own == signature);
    assert_eq!(verify(&secret.key(), round, &signature).is_ok(), is_own);
    is_pulse
}

fn pulse_seeds() -> Vec<Vec<u8>> {
    let secret = BeaconSecret::from_seed(&[1; 32]);
    let beacon = |key| BeaconConfig { key, genesis: 10, period: 3, margin: 6, patience: 20 };
    [secret, BeaconSecret::development()]
        .into_iter()
        .filter_map(|secret| Some((beacon(secret.key()), 7u64, secret.sign(7).ok()?).encode()))
        .collect()
}

/// Reads bytes as a value, which has no other encoding than what was read.
fn encoded<T: Decode + Encode>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = T::decode(&mut rest).ok()?;
    assert_eq!(value.encode(), bytes[..bytes.len() - rest.len()]);
    Some(value)
}
