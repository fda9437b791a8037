// SPDX-License-Identifier: Apache-2.0

//! Network of validators and trainers that send the calls of whole rounds.

use super::*;
use alloc::collections::BTreeMap;
use frame_support::BoundedVec;
use pallet_proof_of_learning::types::SECOND_DRAW_WAIT;
use pol_primitives::{
    RoundNumber,
    audit::{
        Audit, AuditId, Case, Evidence, Finding, LeafProof, MEASURED_SHARDS, Stage, StateProof,
        TraceState, UpdateMeasurement, evidence_commitment,
    },
    data::SourceKind,
    lease::Lease,
    member::{Address, Endpoint},
    recipe::Tier,
    round::Round,
    submission::{Reveal, RevealSet, TrainingClaims},
    trace::{Carry, MerkleProof, merkle_proof, merkle_root},
};

pub(super) type Learning = pallet_proof_of_learning::Call<Runtime>;

/// Update with a trace of made-up states, which is all that the chain checks.
pub(super) struct TestUpdate {
    states: Vec<TraceState>,
    leaves: Vec<pol_primitives::Hash>,
    lease: Lease,
    reveal: Reveal,
    pub(super) carry: Carry,
}

impl TestUpdate {
    /// Creates the update of a trainer that starts `lease` with the carry `before`. Each `tag`
    /// gives a different update.
    fn new(lease: Lease, before: Carry, tag: u8) -> Self {
        let start = TraceState { leaf: 0, root: lease.base_root, carry: before };
        let later = |leaf| TraceState {
            leaf,
            root: [tag.wrapping_add(leaf as u8); 32],
            carry: Carry {
                first_moment: [tag; 32],
                steps: before.steps + u64::from(leaf),
                ..before
            },
        };
        let states: Vec<_> = core::iter::once(start).chain((1..=SEGMENTS).map(later)).collect();
        let leaves: Vec<_> = states.iter().map(TraceState::digest).collect();
        let carry = Carry { feedback: [tag; 32], ..states.last().unwrap().carry };
        let reveal = Reveal {
            payload_hash: [tag; 32],
            trace_root: merkle_root(&leaves),
            carry_hash: carry.hash(),
            steps: 20,
            first_leaf: merkle_proof(&leaves, 0).unwrap(),
            salt: [tag; 32],
        };
        Self { states, leaves, lease, reveal, carry }
    }

    fn proof(&self, leaf: u16) -> MerkleProof {
        merkle_proof(&self.leaves, leaf.into()).unwrap()
    }

    /// Returns the states that an audit asks for.
    fn served(&self, case: &Case<AccountId>) -> Vec<StateProof> {
        let leaves = case.served_leaves().into_iter();
        leaves
            .map(|leaf| StateProof {
                state: self.states[usize::from(leaf)],
                proof: self.proof(leaf),
            })
            .collect()
    }

    /// Returns the ends of segments that an audit asks for.
    fn opened(&self, case: &Case<AccountId>) -> Vec<LeafProof> {
        let leaves = case.opened_leaves().into_iter();
        leaves
            .map(|leaf| LeafProof {
                digest: self.leaves[usize::from(leaf)],
                proof: self.proof(leaf),
            })
            .collect()
    }

    /// Returns the finding of a seat whose replay confirms the update, with an improvement of
    /// `gain` on every text.
    pub(super) fn replayed(&self, case: &Case<AccountId>, gain: i32) -> Finding {
        let ends = self.opened(case).into_iter().map(|end| end.digest).collect::<Vec<_>>();
        let mut shards = vec![0; self.lease.shards.len()];
        shards.iter_mut().take(MEASURED_SHARDS).for_each(|part| *part = gain);
        Finding::Replayed {
            ends: ends.try_into().unwrap(),
            packed: true,
            measure: UpdateMeasurement {
                gain,
                own: gain + 1,
                quality: MILLION,
                shards: shards.try_into().unwrap(),
            },
        }
    }

    /// Returns the finding of a seat whose replay gives other states.
    pub(super) fn refuted(&self, case: &Case<AccountId>) -> Finding {
        let mut finding = self.replayed(case, 0);
        if let Finding::Replayed { ends, .. } = &mut finding {
            ends.iter_mut().for_each(|end| *end = [0xee; 32]);
        }
        finding
    }
}

/// Network with validators, trainers, a recipe, data and an initial model.
pub(super) struct TestNetwork {
    pub(super) chain: Chain,
    pub(super) alice: sr25519::Pair,
    pub(super) validators: Vec<sr25519::Pair>,
    pub(super) trainers: Vec<sr25519::Pair>,
    pub(super) carries: BTreeMap<AccountId, Carry>,
    pub(super) updates: BTreeMap<(RoundNumber, AccountId), TestUpdate>,
}

impl TestNetwork {
    pub(super) fn new(validators: u64, trainers: u64) -> Self {
        let named = |name: &str, count| {
            (1..=count).map(|number| pair(&format!("//{name}//{number}"))).collect::<Vec<_>>()
        };
        let mut network = Self {
            chain: Chain::new(),
            alice: pair("//Alice"),
            validators: named("Validator", validators),
            trainers: named("Trainer", trainers),
            carries: BTreeMap::new(),
            updates: BTreeMap::new(),
        };
        let set_recipe = RuntimeCall::from(Learning::set_recipe { recipe: recipe() });
        let endpoint = Endpoint {
            id: [5; 32],
            addresses: vec![Address::V4([127, 0, 0, 1], 4_433)].try_into().unwrap(),
        };
        let mut calls = vec![(
            network.alice.clone(),
            RuntimeCall::from(pallet_sudo::Call::sudo { call: Box::new(set_recipe) }),
        )];
        for validator in &network.validators {
            calls.push((validator.clone(), bond(Role::Validator)));
            let set_endpoint =
                pallet_pol_staking::Call::set_endpoint { endpoint: endpoint.clone() };
            calls.push((validator.clone(), set_endpoint.into()));
        }
        calls.extend(network.trainers.iter().map(|trainer| (trainer.clone(), bond(Role::Trainer))));
        network.chain.block(calls);
        let source = pallet_pol_lineage::Call::register_source {
            address: b"https://example.org/corpus".to_vec().try_into().unwrap(),
            licence: b"CC0-1.0".to_vec().try_into().unwrap(),
        };
        let alice = network.alice.clone();
        let register = pallet_pol_lineage::Call::register_manifest { info: Box::new(manifest()) };
        let admit =
            pallet_pol_lineage::Call::admit_manifest { manifest: 0, kind: SourceKind::Dataset };
        network.chain.block([
            (alice.clone(), source.into()),
            (alice.clone(), register.into()),
            (alice, pallet_sudo::Call::sudo { call: Box::new(admit.into()) }.into()),
        ]);
        network.attest([6; 32]);
        network
    }

    /// Lets all validators attest the next head, in one block.
    fn attest(&mut self, root: pol_primitives::Hash) {
        let Round { number: round, inputs, .. } = ProofOfLearning::overview().round;
        self.send_all(Learning::attest_head { round, inputs, root });
    }

    /// Lets all validators send a call, in one block.
    fn send_all(&mut self, call: Learning) {
        let calls =
            self.validators.iter().map(|validator| (validator.clone(), call.clone().into()));
        self.chain.block(calls);
    }

    fn calls<C: Into<RuntimeCall>>(
        &self,
        who: &[usize],
        call: impl Fn(&AccountId) -> C,
    ) -> Vec<(sr25519::Pair, RuntimeCall)> {
        let signer =
            |&at: &usize| (self.trainers[at].clone(), call(&account(&self.trainers[at])).into());
        who.iter().map(signer).collect()
    }

    /// Makes the next head by the trainers `who`, from joining to the quorum. Returns its round.
    pub(super) fn learn(&mut self, who: &[usize]) -> RoundNumber {
        self.chain.until(Phase::Train);
        let round = ProofOfLearning::overview().round.number;
        let joins = self.calls(who, |_| Learning::join_round { tier: Tier::Participant });
        self.chain.block(joins);
        for (&at, place) in who.iter().zip(0u8..) {
            let trainer = account(&self.trainers[at]);
            let lease = ProofOfLearning::lease(&trainer).unwrap();
            let before = self.carries.get(&trainer).copied().unwrap_or_default();
            let tag = round as u8 * 50 + place * 20;
            let update = TestUpdate::new(lease, before, tag);
            self.carries.insert(trainer.clone(), update.carry);
            self.updates.insert((round, trainer), update);
        }
        let genesis = System::block_hash(0).0;
        let commits = self.calls(who, |trainer| {
            let commitment = self.updates[&(round, trainer.clone())].reveal.commitment(
                &trainer.encode(),
                &genesis,
                round,
            );
            Learning::commit { round, commitment, claims: TrainingClaims::default() }
        });
        self.chain.block(commits);
        self.chain.until(Phase::Reveal);
        let reveals = self.calls(who, |trainer| Learning::reveal {
            round,
            reveal: self.updates[&(round, trainer.clone())].reveal.clone(),
        });
        self.chain.block(reveals);
        self.chain.until(Phase::Hold);
        self.send_all(Learning::report_held {
            round,
            held: RevealSet::from_indices(0..who.len() as u8),
        });
        self.chain.until(Phase::Attest);
        self.attest([round as u8; 32]);
        round
    }

    fn signer(&self, who: &AccountId) -> sr25519::Pair {
        self.validators
            .iter()
            .chain(&self.trainers)
            .find(|pair| account(pair) == *who)
            .unwrap()
            .clone()
    }

    /// Executes empty blocks until the audit of the newest head is drawn.
    pub(super) fn draw(&mut self) {
        let start = System::block_number();
        while ProofOfLearning::audits(0).is_empty() {
            self.chain.block([]);
            assert!(System::block_number() < start + 30, "no audit is drawn");
        }
        // The block after the mix seals the mixture, or the one after the longer wait of a second
        // draw. The pulse is due 12 seconds after its parent, three blocks later, and the draw is
        // made in the next one.
        let (_, audit) = Self::open_audit();
        let wait = if audit.draw > 0 { SECOND_DRAW_WAIT } else { 0 };
        let sealed = presets_of::AUDIT_CONFIG.mix + wait + 1;
        assert_eq!(System::block_number() - start, sealed + 3 + 1);
    }

    /// Returns the only open audit.
    pub(super) fn open_audit() -> (AuditId, Audit<AccountId>) {
        let audits = ProofOfLearning::audits(0);
        assert_eq!(audits.len(), 1);
        audits.into_iter().next().unwrap()
    }

    /// Draws the audit of the newest head and completes it up to its settlement. Every trainer
    /// serves its states and opens its segments, and each seat has the finding that `finding`
    /// returns.
    pub(super) fn audit(
        &mut self,
        finding: impl Fn(&Case<AccountId>, &TestUpdate) -> Finding,
    ) -> (AuditId, Audit<AccountId>) {
        self.draw();
        let (id, audit) = Self::open_audit();
        let update = |case: &Case<AccountId>| &self.updates[&(audit.round, case.trainer.clone())];
        let genesis = System::block_hash(0).0;
        let salt = [9; 32];
        let serve = audit.cases.iter().map(|case| {
            let states = BoundedVec::truncate_from(update(case).served(case));
            (self.signer(&case.trainer), Learning::serve_states { audit: id, states }.into())
        });
        let open = audit.cases.iter().map(|case| {
            let ends = BoundedVec::truncate_from(update(case).opened(case));
            (self.signer(&case.trainer), Learning::open_segments { audit: id, ends }.into())
        });
        let evidence: Vec<(AccountId, Evidence)> = (0u16..)
            .zip(audit.holders.iter())
            .map(|(place, holder)| {
                let cases =
                    (0u8..).zip(audit.cases.iter()).filter(|(_, case)| case.seats.contains(&place));
                let found: Vec<_> =
                    cases.map(|(at, case)| (at, finding(case, update(case)))).collect();
                (holder.account.clone(), found.try_into().unwrap())
            })
            .collect();
        let commit = evidence.iter().map(|(holder, evidence)| {
            let commitment = evidence_commitment(&holder.encode(), &genesis, id, evidence, &salt);
            (self.signer(holder), Learning::commit_audit { audit: id, commitment }.into())
        });
        let reveal = evidence.iter().map(|(holder, evidence)| {
            (
                self.signer(holder),
                Learning::reveal_audit { audit: id, evidence: evidence.clone(), salt }.into(),
            )
        });
        let blocks: [(Stage, Vec<_>); 4] = [
            (Stage::Serve, serve.collect()),
            (Stage::Replay, commit.collect()),
            (Stage::Open, open.collect()),
            (Stage::Reveal, reveal.collect()),
        ];
        for (stage, calls) in blocks {
            assert_eq!(Self::open_audit().1.stage, stage);
            self.chain.block(calls);
        }
        Self::open_audit()
    }

    /// Settles all cases of an audit, by an account without a part in it.
    pub(super) fn settle(&mut self, (id, audit): (AuditId, Audit<AccountId>)) {
        assert_eq!(audit.stage, Stage::Settle);
        let settle = |case: &Case<AccountId>| {
            (
                self.alice.clone(),
                Learning::settle { audit: id, trainer: case.trainer.clone() }.into(),
            )
        };
        let calls: Vec<_> = audit.cases.iter().map(settle).collect();
        self.chain.block(calls);
    }
}
