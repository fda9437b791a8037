//! Whole rounds: data, training, heads, audits, settlements, claims and excisions.

use super::*;
use alloc::collections::BTreeMap;
use frame_support::{BoundedVec, traits::fungible::Inspect};
use pol_primitives::{
    RoundNumber,
    audit::{
        Audit, AuditId, Case, Evidence, Excision, Finding, Measure, OpenedEnd, Served, ServedState,
        Stage, evidence_commitment,
    },
    data::{ShardId, ShardRecord, SourceKind},
    head::Head,
    lease::Lease,
    peer::{Address, Endpoint},
    recipe::Tier,
    rewards::{Emission, Shares},
    submission::{Claims, Included, Outcome, Reveal, Status},
    trace::{Carry, Proof, merkle_proof, merkle_root},
};
use sp_runtime::traits::AccountIdConversion;

type Learning = pallet_proof_of_learning::Call<Runtime>;

/// An update that says nothing but what the chain checks: the states of a trace with nothing behind
/// them.
struct Work {
    states: Vec<ServedState>,
    leaves: Vec<pol_primitives::Hash>,
    lease: Lease,
    reveal: Reveal,
    carry: Carry,
}

impl Work {
    /// What a trainer that starts with the carry `before` makes of `lease`, different for every
    /// `tag`.
    fn new(lease: Lease, before: Carry, tag: u8) -> Self {
        let start = ServedState { leaf: 0, root: lease.base_root, carry: before };
        let later = |leaf| ServedState {
            leaf,
            root: [tag.wrapping_add(leaf as u8); 32],
            carry: Carry {
                first_moment: [tag; 32],
                steps: before.steps + u64::from(leaf),
                ..before
            },
        };
        let states: Vec<_> = core::iter::once(start).chain((1..=SEGMENTS).map(later)).collect();
        let leaves: Vec<_> = states.iter().map(ServedState::digest).collect();
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

    fn proof(&self, leaf: u16) -> Proof {
        merkle_proof(&self.leaves, leaf.into()).unwrap()
    }

    /// The states that an audit asks for.
    fn served(&self, case: &Case<AccountId>) -> Vec<Served> {
        let leaves = case.served_leaves().into_iter();
        leaves
            .map(|leaf| Served { state: self.states[usize::from(leaf)], proof: self.proof(leaf) })
            .collect()
    }

    /// The ends that an audit asks for.
    fn opened(&self, case: &Case<AccountId>) -> Vec<OpenedEnd> {
        let leaves = case.opened_leaves().into_iter();
        leaves
            .map(|leaf| OpenedEnd {
                digest: self.leaves[usize::from(leaf)],
                proof: self.proof(leaf),
            })
            .collect()
    }

    /// What a seat finds whose replay gives what was trained, with an improvement of `gain` on
    /// every text.
    fn replayed(&self, case: &Case<AccountId>, gain: i32) -> Finding {
        let ends = self.opened(case).into_iter().map(|end| end.digest).collect::<Vec<_>>();
        let shards = vec![gain; self.lease.shards.len()];
        Finding::Replayed {
            ends: ends.try_into().unwrap(),
            packed: true,
            measure: Measure {
                gain,
                error: 0,
                own: gain + 1,
                quality: MILLION,
                shards: shards.try_into().unwrap(),
            },
        }
    }

    /// What a seat finds whose replay gives something else.
    fn refuted(&self, case: &Case<AccountId>) -> Finding {
        let mut finding = self.replayed(case, 0);
        if let Finding::Replayed { ends, .. } = &mut finding {
            ends.iter_mut().for_each(|end| *end = [0xee; 32]);
        }
        finding
    }
}

/// A network of some validators and trainers, with a recipe, data and an initial model.
pub(super) struct Network {
    chain: Chain,
    alice: sr25519::Pair,
    validators: Vec<sr25519::Pair>,
    trainers: Vec<sr25519::Pair>,
    carries: BTreeMap<AccountId, Carry>,
    works: BTreeMap<(RoundNumber, AccountId), Work>,
}

impl Network {
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
            works: BTreeMap::new(),
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
            kind: SourceKind::Dataset,
            address: b"https://example.org/corpus".to_vec().try_into().unwrap(),
            licence: b"CC0-1.0".to_vec().try_into().unwrap(),
        };
        let alice = network.alice.clone();
        network.chain.block([
            (alice.clone(), source.into()),
            (alice, pallet_pol_lineage::Call::register_manifest { info: manifest() }.into()),
        ]);
        network.attest(0, [6; 32], Included::default());
        network
    }

    /// All validators attest the head of `round`, in one block.
    fn attest(&mut self, round: RoundNumber, root: pol_primitives::Hash, included: Included) {
        let attest = Learning::attest_head { round, root, included };
        let calls =
            self.validators.iter().map(|validator| (validator.clone(), attest.clone().into()));
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

    /// The trainers `who` make the next head: from joining to the quorum. Returns its round.
    fn learn(&mut self, who: &[usize]) -> RoundNumber {
        self.chain.until(Phase::Train);
        let round = ProofOfLearning::overview().round.number;
        let joins = self.calls(who, |_| Learning::join_round { tier: Tier::Participant });
        self.chain.block(joins);
        for (&at, place) in who.iter().zip(0u8..) {
            let trainer = account(&self.trainers[at]);
            let lease = ProofOfLearning::lease(&trainer).unwrap();
            let before = self.carries.get(&trainer).copied().unwrap_or_default();
            let tag = round as u8 * 50 + place * 20;
            let work = Work::new(lease, before, tag);
            self.carries.insert(trainer.clone(), work.carry);
            self.works.insert((round, trainer), work);
        }
        let genesis = System::block_hash(0).0;
        let commits = self.calls(who, |trainer| {
            let commitment = self.works[&(round, trainer.clone())].reveal.commitment(
                &trainer.encode(),
                &genesis,
                round,
            );
            Learning::commit { round, commitment, claims: Claims::default() }
        });
        self.chain.block(commits);
        self.chain.until(Phase::Reveal);
        let reveals = self.calls(who, |trainer| Learning::reveal {
            round,
            reveal: self.works[&(round, trainer.clone())].reveal.clone(),
        });
        self.chain.block(reveals);
        self.chain.until(Phase::Attest);
        self.attest(round, [round as u8; 32], Included::from_indices(0..who.len() as u8));
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

    /// Makes empty blocks until the newest head's audit is drawn.
    fn draw(&mut self) {
        for _ in 0..=presets_of::AUDITS.mix {
            assert!(ProofOfLearning::audits().is_empty());
            self.chain.block([]);
        }
    }

    /// The one open audit.
    fn open_audit() -> (AuditId, Audit<AccountId>) {
        let audits = ProofOfLearning::audits();
        assert_eq!(audits.len(), 1);
        audits.into_iter().next().unwrap()
    }

    /// Draws the audit of the newest head, and brings it to its settlement: every trainer shows and
    /// opens what it is asked for, and each seat finds what `finding` says.
    fn audit(
        &mut self,
        finding: impl Fn(&Case<AccountId>, &Work) -> Finding,
    ) -> (AuditId, Audit<AccountId>) {
        self.draw();
        let (id, audit) = Self::open_audit();
        let work = |case: &Case<AccountId>| &self.works[&(audit.round, case.trainer.clone())];
        let genesis = System::block_hash(0).0;
        let salt = [9; 32];
        let serve = audit.cases.iter().map(|case| {
            let states = BoundedVec::truncate_from(work(case).served(case));
            (self.signer(&case.trainer), Learning::serve_states { audit: id, states }.into())
        });
        let open = audit.cases.iter().map(|case| {
            let ends = BoundedVec::truncate_from(work(case).opened(case));
            (self.signer(&case.trainer), Learning::open_segments { audit: id, ends }.into())
        });
        let evidence: Vec<(AccountId, Evidence)> = (0u16..)
            .zip(audit.holders.iter())
            .map(|(place, holder)| {
                let cases =
                    (0u8..).zip(audit.cases.iter()).filter(|(_, case)| case.seats.contains(&place));
                let found: Vec<_> =
                    cases.map(|(at, case)| (at, finding(case, work(case)))).collect();
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

    /// Anybody settles all cases of an audit.
    fn settle(&mut self, (id, audit): (AuditId, Audit<AccountId>)) {
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

fn outcomes(round: RoundNumber) -> BTreeMap<AccountId, Outcome> {
    ProofOfLearning::history(round)
        .into_iter()
        .map(|(account, settled)| (account, settled.outcome))
        .collect()
}

fn has_event(event: impl Into<RuntimeEvent>) -> bool {
    let event = event.into();
    System::events().iter().any(|record| record.event == event)
}

/// The account of the treasury, which belongs to nobody.
fn treasury() -> AccountId {
    frame_support::PalletId(*b"pol/trsy").into_account_truncating()
}

#[test]
fn a_round_is_learned_audited_paid_and_recorded() {
    genesis(DEV).execute_with(|| {
        let issued_first = Balances::total_issuance();
        let mut network = Network::new(3, 2);
        let trainers = [0, 1].map(|at| account(&network.trainers[at]));
        let first = ProofOfLearning::overview().head.expect("round zero was attested");
        assert_eq!((first.round, first.root, first.tokens), (0, [6; 32], 0));
        assert_eq!(first.recipe_hash, recipe().hash());
        assert_eq!(ProofOfLearning::recipe_by_hash(first.recipe_hash), Some(recipe()));

        // The model moves on, by all the tokens; the treasury has its part of the emission, the
        // others wait.
        assert_eq!(network.learn(&[0, 1]), 1);
        let leases =
            trainers.each_ref().map(|trainer| ProofOfLearning::audited_lease(1, trainer).unwrap());
        assert!(
            leases.iter().all(|lease| lease.base_root == first.root && lease.shards.len() == 10)
        );
        assert!(
            leases[0].shards.iter().all(|shard| !leases[1].shards.contains(shard)),
            "no shard is leased twice"
        );
        let head = ProofOfLearning::overview().head.unwrap();
        assert_eq!((head.round, head.root, head.tokens), (1, [1; 32], 2 * 40_960));
        let updates = ProofOfLearning::updates(1);
        assert_eq!(head, Head::next(Some(&first), 1, head.root, head.recipe_hash, &updates, &[]));
        let record = ProofOfLearning::round_record(1).unwrap();
        assert_eq!((record.head, record.included.len(), record.excised.len()), (Some(head), 2, 0));
        assert!(
            ProofOfLearning::submissions(1)
                .iter()
                .all(|(_, submission)| submission.status == Status::Included)
        );
        let shares @ Shares {
            trainers: for_trainers,
            validators: for_validators,
            providers,
            treasury: for_treasury,
        } = Emission::default().of(1);
        assert_eq!(Balances::total_issuance(), issued_first + shares.total());
        assert_eq!(Balances::balance(&treasury()), for_treasury + EXISTENTIAL_DEPOSIT);
        let books = Rewards::books();
        assert_eq!((books.emitted, books.paid, books.burned), (shares.total(), for_treasury, 0));

        // Every seat finds what was trained. The first trainer's update is worth three times the
        // other's.
        let before = Balances::balance(&trainers[0]);
        let gain = |case: &Case<AccountId>| if case.trainer == trainers[0] { 3_000 } else { 1_000 };
        let audit = network.audit(|case, work| work.replayed(case, gain(case)));
        assert!(Balances::balance(&trainers[0]) < before, "serving and opening cost fees");
        assert_eq!(
            (audit.1.round, audit.1.draw, audit.1.cases.len(), audit.1.holders.len()),
            (1, 0, 2, 3)
        );
        assert_eq!(audit.1.probe.len(), 4);
        network.settle(audit);
        assert!(has_event(pallet_pol_rewards::Event::RoundSettled { round: 1, unearned: 0 }));
        assert_eq!(
            outcomes(1),
            trainers.iter().map(|trainer| (trainer.clone(), Outcome::Valid)).collect()
        );
        assert_eq!((ProofOfLearning::submissions(1), ProofOfLearning::audits()), (vec![], vec![]));
        let manifest = Lineage::manifest(0).unwrap();
        assert_eq!((manifest.free, manifest.leased, manifest.consumed), (SHARDS - 20, 0, 20));
        for (trainer, lease) in trainers.iter().zip(&leases) {
            let standing = ProofOfLearning::standing(trainer);
            assert_eq!(
                (standing.carry, standing.carry_round),
                (network.carries[trainer].hash(), 1)
            );
            assert_eq!(ProofOfLearning::audited_lease(1, trainer), None);
            let index =
                record.revealed.iter().position(|account| account == trainer).unwrap() as u8;
            let delta = if trainer == &trainers[0] { 3_000 } else { 1_000 };
            let became = Some(ShardRecord { round: 1, index, delta });
            assert!(lease.shards.iter().all(|&shard| Lineage::shard(shard) == became));
        }
        let untouched = (0..SHARDS)
            .map(|index| ShardId { manifest: 0, index })
            .filter(|&shard| Lineage::shard(shard).is_none());
        assert_eq!(untouched.count(), 40);

        // What is earned waits for two more rounds.
        let claim = |round| RuntimeCall::from(pallet_pol_rewards::Call::claim { round });
        let early = network.chain.try_block(vec![(network.trainers[0].clone(), claim(1))]);
        assert_eq!(early, [Err(pallet_pol_rewards::Error::<Runtime>::TooEarly.into())]);
        assert_eq!(network.learn(&[0, 1]), 2);
        for trainer in &trainers {
            let lease = ProofOfLearning::audited_lease(2, trainer).unwrap();
            assert_eq!(
                (lease.carry, lease.carry_round),
                (network.works[&(1, trainer.clone())].carry.hash(), 1)
            );
        }
        let audit = network.audit(|case, work| work.replayed(case, 500));
        network.settle(audit);
        network.chain.until(Phase::Train);
        assert_eq!(ProofOfLearning::overview().round.number, 3);

        // Then everybody gets it, to the last unit.
        let alice = account(&network.alice);
        let expected: Vec<(sr25519::Pair, Balance)> = [
            (network.trainers[0].clone(), for_trainers / 4 * 3),
            (network.trainers[1].clone(), for_trainers / 4),
            (network.alice.clone(), providers),
        ]
        .into_iter()
        .chain(network.validators.iter().map(|validator| (validator.clone(), for_validators / 3)))
        .collect();
        for (pair, amount) in &expected {
            let reward = Rewards::rewards(account(pair))
                .into_iter()
                .find(|reward| reward.round == 1)
                .unwrap();
            assert_eq!((reward.amount, reward.from), (Some(*amount), 3));
        }
        let before = Balances::balance(&trainers[1]);
        network.chain.block(expected.iter().map(|(pair, _)| (pair.clone(), claim(1))));
        for (pair, amount) in expected {
            assert!(has_event(pallet_pol_rewards::Event::Claimed {
                who: account(&pair),
                round: 1,
                amount
            }));
        }
        let fee = before + for_trainers / 4 - Balances::balance(&trainers[1]);
        assert!(fee > 0 && fee < POL / 100, "{fee}");
        assert_eq!(Rewards::pool(1), None, "nothing is left of it");
        let rewards: Vec<_> = Rewards::rewards(alice).iter().map(|reward| reward.round).collect();
        assert_eq!(rewards, [2]);
        let again = network.chain.try_block(vec![(network.trainers[0].clone(), claim(1))]);
        assert_eq!(again, [Err(pallet_pol_rewards::Error::<Runtime>::NothingToClaim.into())]);

        // Of two rounds' emission one is paid, but for the treasury's part of the other, and the
        // rest waits.
        let books = Rewards::books();
        assert_eq!((books.emitted, books.seized, books.burned), (2 * shares.total(), 0, 0));
        assert_eq!(
            (books.paid, books.waiting),
            (shares.total() + for_treasury, shares.total() - for_treasury)
        );
        assert_eq!(Balances::total_issuance(), issued_first + books.emitted - books.burned);
    });
}

#[test]
fn a_cheat_loses_its_bond_and_its_update_leaves_the_model() {
    genesis(DEV).execute_with(|| {
        let issued_first = Balances::total_issuance();
        let mut network = Network::new(3, 2);
        let (honest, cheat) = (account(&network.trainers[0]), account(&network.trainers[1]));
        network.learn(&[0, 1]);
        let record = ProofOfLearning::round_record(1).unwrap();
        let index = record.revealed.iter().position(|account| *account == cheat).unwrap() as u8;
        let stakes = network
            .validators
            .iter()
            .map(|validator| Balances::balance(&account(validator)))
            .collect::<Vec<_>>();

        // Three replays of the cheat's segment give one and the same other state.
        let audit = network.audit(|case, work| {
            if case.trainer == cheat { work.refuted(case) } else { work.replayed(case, 1_000) }
        });
        network.settle(audit);
        assert_eq!(
            outcomes(1),
            [(honest.clone(), Outcome::Valid), (cheat.clone(), Outcome::Invalid)].into()
        );
        let fine = 1_000 * POL;
        assert!(has_event(pallet_pol_staking::Event::Seized {
            who: cheat.clone(),
            amount: fine,
            to: Rewards::pot()
        }));
        assert_eq!(PolStaking::member(cheat.clone()).unwrap().bond, 0);
        assert_eq!(
            Balances::total_balance(&cheat) / POL,
            (presets_of::ENDOWMENT - fine) / POL - 1,
            "and some fees"
        );
        assert_eq!(ProofOfLearning::standing(&cheat).carry, [0; 32]);
        assert_eq!(PolStaking::member(honest.clone()).unwrap().bond, fine);

        // Half is burned, a quarter belongs to those who proved it, the rest to the treasury.
        let each = fine / 4 / 3;
        for (validator, before) in network.validators.iter().zip(stakes) {
            let gained = Balances::balance(&account(validator)) as i128 - before as i128;
            assert!(
                (gained - each as i128).unsigned_abs() < POL / 10,
                "{gained} is {each} without fees"
            );
        }
        let emitted = Emission::default().of(1);
        let books = Rewards::books();
        assert_eq!((books.seized, books.burned), (fine, fine / 2));
        assert_eq!(
            Balances::balance(&treasury()),
            EXISTENTIAL_DEPOSIT + emitted.treasury + fine / 2 - 3 * each
        );
        assert_eq!(Balances::total_issuance(), issued_first + books.emitted - books.burned);

        // Its data can be leased again, and the honest trainer has all of the trainers' part.
        let manifest = Lineage::manifest(0).unwrap();
        assert_eq!((manifest.free, manifest.leased, manifest.consumed), (SHARDS - 10, 0, 10));
        assert_eq!(Rewards::rewards(honest)[0].amount, Some(emitted.trainers));
        assert_eq!(Rewards::rewards(cheat), []);

        // The next head takes the update out, and the cheat has no part in it.
        network.chain.until(Phase::Train);
        let join = Learning::join_round { tier: Tier::Participant };
        let refused = network.chain.try_block(vec![(network.trainers[1].clone(), join.into())]);
        assert_eq!(refused, [Err(pallet_proof_of_learning::Error::<Runtime>::NotATrainer.into())]);
        let before = ProofOfLearning::overview().head.unwrap();
        assert_eq!(network.learn(&[0]), 2);
        let excised = [Excision { round: 1, index }];
        let record = ProofOfLearning::round_record(2).unwrap();
        assert_eq!(record.excised.as_slice(), excised);
        let head = record.head.unwrap();
        let updates = ProofOfLearning::updates(2);
        assert_eq!(
            head,
            Head::next(Some(&before), 2, head.root, head.recipe_hash, &updates, &excised)
        );
        assert_eq!(ProofOfLearning::updates(1).len(), 2, "what it was made of stays known");
        assert_eq!(network.learn(&[0]), 3);
        assert!(
            ProofOfLearning::round_record(3).unwrap().excised.is_empty(),
            "an update is taken out once"
        );
    });
}

#[test]
fn an_update_whose_trainer_shows_nothing_is_taken_out() {
    genesis(DEV).execute_with(|| {
        let mut network = Network::new(1, 1);
        let trainer = account(&network.trainers[0]);
        network.learn(&[0]);
        network.draw();
        for _ in 0..presets_of::AUDITS.serve {
            network.chain.block([]);
        }
        let audit = Network::open_audit();
        network.settle(audit);
        assert_eq!(outcomes(1), [(trainer.clone(), Outcome::Withheld)].into());
        let books = Rewards::books();
        let emitted = Emission::default().of(1);
        // Nobody proved anything, and nobody earned anything.
        assert_eq!(
            (books.seized, books.burned),
            (200 * POL, 100 * POL + emitted.total() - emitted.treasury)
        );
        assert_eq!((books.paid, books.waiting), (100 * POL + emitted.treasury, 0));
        assert_eq!(PolStaking::member(trainer).unwrap().bond, 800 * POL);
        assert_eq!(Lineage::manifest(0).unwrap().free, SHARDS);
    });
}
