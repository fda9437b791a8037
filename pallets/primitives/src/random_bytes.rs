// SPDX-License-Identifier: Apache-2.0

//! The checks of the fuzz targets, on bytes that are random and the same in every run.

#[allow(unreachable_pub, reason = "the file is the library of the fuzz targets")]
#[path = "../fuzz/fuzz_targets/checks.rs"]
mod checks;

use crate::{
    audit::{
        AuditResponse, Evidence, Finding, LeafProof, StateProof, TraceState, UpdateMeasurement,
    },
    lineage::{DocumentLeaf, LeavesProof},
    prf::Prf,
    submission::{Reveal, RevealSet},
    trace::{Carry, MerkleProof},
};
use bounded_collections::BoundedVec;
use codec::Encode;

/// Runs of each test.
const RUNS: u32 = 800;

/// Runs `check` on random bytes, and on each of the `valid` encodings with a few bytes changed,
/// added or removed.
fn check_all(domain: &str, valid: &[Vec<u8>], check: fn(&[u8])) {
    let mut prf = Prf::new(domain, &[0; 32], &[]);
    let mut random = vec![0; 300];
    for run in 0..RUNS {
        let length = prf.below(300) as usize;
        prf.fill(&mut random);
        check(&random[..length]);
        let mut bytes = valid[run as usize % valid.len()].clone();
        check(&bytes);
        for _ in 0..prf.below(4) {
            let at = prf.below(bytes.len() as u32) as usize;
            bytes[at] = prf.next_u64() as u8;
        }
        match prf.below(3) {
            0 => bytes.truncate(prf.below(bytes.len() as u32) as usize),
            1 => bytes.extend_from_slice(&random[..length / 8]),
            _ => {}
        }
        check(&bytes);
    }
}

#[test]
fn bitmaps_count_for_what_they_say() {
    let sets = [vec![], vec![0], vec![3, 9], vec![63], (0..64).collect()];
    let valid: Vec<_> = sets.into_iter().map(|set| RevealSet::from_indices(set).encode()).collect();
    check_all("test/reveal-set", &valid, checks::check_reveal_set);
}

#[test]
fn openings_prove_nothing_else() {
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
    let valid = [
        reveal.encode(),
        LeafProof { digest: [8; 32], proof: proof.clone() }.encode(),
        StateProof { state, proof }.encode(),
        AuditResponse { states, ..AuditResponse::default() }.encode(),
        Evidence::truncate_from(findings).encode(),
    ];
    check_all("test/openings", &valid, checks::check_openings);
}

#[test]
fn proofs_about_documents_show_all_their_leaves() {
    let leaves: Vec<_> = [1, 2, 2, 2, 5]
        .into_iter()
        .zip(0..)
        .map(|(key, record)| DocumentLeaf { key: [key; 32], record: [record; 32] })
        .collect();
    let proof = |key: u8| LeavesProof::over(&leaves, &[key; 32]).unwrap().encode();
    check_all("test/documents", &[0, 1, 2, 3, 9].map(proof), checks::check_documents);
}
