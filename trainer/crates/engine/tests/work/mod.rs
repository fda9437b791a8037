//! A lease, what its trainer submits, and what an audit says about it.
#![allow(dead_code, reason = "every test and example needs another part of it")]

use pol_engine::{
    Job, LeaseData, Replayed, Trace, TrainingState, audit, audited_blobs, pack, train_segment,
};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Case, Finding, Measure, ServedState, Verdict, judge},
    data::ShardId,
    lease::Lease,
    prf::Prf,
    recipe::{Recipe, Tier},
    submission::Opened,
    trace::merkle_verify,
};
use std::{collections::HashMap, io};

/// A lease with its data and the parameters it starts from.
#[derive(Clone)]
pub struct Work {
    pub recipe: Recipe,
    pub lease: Lease,
    pub account: [u8; 32],
    pub data: LeaseData,
    pub base: Vec<f32>,
}

impl Work {
    /// A lease of `tier` that goes on from `start`, on text drawn by `seed`.
    pub fn new(
        recipe: &Recipe,
        tier: Tier,
        account: [u8; 32],
        start: &TrainingState,
        seed: u32,
    ) -> Self {
        let count = recipe.shards_per_lease(tier);
        let shards: Vec<ShardId> =
            (0..count).map(|index| ShardId { manifest: seed, index }).collect();
        let lease = Lease {
            nonce: seed,
            tier,
            round: seed,
            due_round: seed,
            seed: [3; 32],
            base_root: start.root(),
            head_tokens: 1_000,
            recipe: recipe.hash(),
            carry: start.carry().hash(),
            carry_round: 0,
            shards: shards.try_into().expect("a recipe's lease fits"),
        };
        Self {
            recipe: recipe.clone(),
            lease,
            account,
            data: text(recipe, count, seed),
            base: start.parameters.clone(),
        }
    }

    pub fn job(&self, workers: usize) -> Job<'_> {
        Job {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &self.account,
            data: &self.data,
            workers,
        }
    }

    /// The states at the boundaries of the first `segments` segments.
    pub fn train(&self, start: TrainingState, segments: u16, workers: usize) -> Vec<TrainingState> {
        let mut states = vec![start];
        for segment in 0..segments {
            let mut state = states.last().expect("there is a start").clone();
            train_segment(&self.job(workers), &mut state, segment).expect("honest training");
            states.push(state);
        }
        states
    }

    /// Submits `states` as the trace, and what packing `packed` gives as the update.
    pub fn submit(&self, states: Vec<TrainingState>, mut packed: TrainingState) -> Submitted {
        let mut trace = Trace::new(states[0].leaf());
        states[1..].iter().for_each(|state| trace.push(state.leaf()));
        let payload =
            pack(&self.recipe, &self.base, &mut packed).expect("finite parameters").encode();
        let steps = trace.segments() * self.recipe.steps_per_segment(self.lease.tier);
        let opened = Opened {
            index: 0,
            payload_hash: *blake3::hash(&payload).as_bytes(),
            trace_root: trace.root(),
            carry_hash: packed.carry().hash(),
            steps,
            tokens: self.lease.tokens(&self.recipe, steps),
        };
        Submitted { states, trace, payload, opened, left: packed }
    }

    /// What an honest trainer submits.
    pub fn honest(&self, start: TrainingState, segments: u16, workers: usize) -> Submitted {
        let states = self.train(start, segments, workers);
        let end = states.last().expect("there is a start").clone();
        self.submit(states, end)
    }
}

/// Text with a rule to learn: three in four tokens follow from the one before.
pub fn text(recipe: &Recipe, shards: u32, seed: u32) -> LeaseData {
    let mut prf = Prf::new("text", &[1; 32], &[&seed.to_le_bytes()]);
    let vocabulary = recipe.model.vocabulary;
    let mut shard = || {
        let mut token = 0;
        let mut next = || {
            token =
                if prf.below(4) > 0 { (token * 5 + 3) % vocabulary } else { prf.below(vocabulary) };
            token
        };
        (0..=recipe.shard_tokens).map(|_| next()).collect::<Vec<u32>>()
    };
    LeaseData::new(recipe, (0..shards).map(|_| shard()).collect()).expect("text fits its recipe")
}

/// What a trainer says it did.
#[derive(Clone)]
pub struct Submitted {
    pub states: Vec<TrainingState>,
    pub trace: Trace,
    pub payload: Vec<u8>,
    pub opened: Opened,
    /// The state after packing, which the next lease goes on from.
    pub left: TrainingState,
}

impl Submitted {
    pub fn case(&self, segments: &[u16]) -> Case<()> {
        Case {
            trainer: (),
            index: 0,
            segments: BoundedVec::truncate_from(segments.to_vec()),
            of: self.trace.segments(),
            seats: BoundedVec::new(),
            served: true,
            opened: true,
            settled: false,
        }
    }

    /// What the trainer shows: on the trace, or the chain would refuse it.
    pub fn shown(&self, case: &Case<()>) -> Vec<ServedState> {
        let leaves = u32::from(case.of) + 1;
        let served = case.served_leaves().into_iter().map(|leaf| {
            let state = self.states[usize::from(leaf)].served(leaf);
            let proof = self.trace.proof(leaf.into()).expect("the leaf is there");
            assert!(merkle_verify(
                &self.trace.root(),
                leaves,
                leaf.into(),
                &state.digest(),
                &proof
            ));
            state
        });
        served.collect()
    }

    /// What a seat finds in the segments drawn, fetching no blob but those it is said to need.
    pub fn replayed(
        &self,
        work: &Work,
        segments: &[u16],
        workers: usize,
    ) -> Result<Replayed, pol_engine::Error> {
        let case = self.case(segments);
        let shown = self.shown(&case);
        let needed = audited_blobs(&case, &shown);
        let blobs: HashMap<Hash, &[u8]> = shown
            .iter()
            .flat_map(|state| self.states[usize::from(state.leaf)].blobs())
            .map(|blob| (*blake3::hash(blob).as_bytes(), blob))
            .filter(|(hash, _)| needed.contains(hash))
            .collect();
        let open = |hash: &Hash| {
            blobs.get(hash).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        audit(&work.job(workers), &work.base, &case, &self.opened, &shown, &[0; 32], open)
    }

    /// What the chain makes of an honest seat's finding.
    pub fn verdict(&self, work: &Work, segments: &[u16], workers: usize) -> Verdict {
        let finding = self.replayed(work, segments, workers).expect("the auditor does its part");
        let finding: Finding =
            finding.finding(|| Ok(Measure::default())).expect("nothing is measured");
        let leaves = self.case(segments).opened_leaves();
        let ends: Vec<Hash> =
            leaves.into_iter().map(|leaf| self.trace.leaves()[usize::from(leaf)]).collect();
        judge(Some(&ends), &[(1, Some(&finding))])
    }
}
