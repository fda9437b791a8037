//! The presets, fees, and one round of learning through the real runtime, by signed extrinsics in real blocks.

use crate::{
    configs::{ProxyType, SlashEquivocation},
    genesis_config_presets as presets, *,
};
use codec::Encode;
use frame_support::{
    dispatch::GetDispatchInfo,
    traits::{InstanceFilter, fungible::Inspect},
};
use pol_primitives::{
    MILLION,
    data::{ManifestInfo, SourceKind},
    lease::Lease,
    model::{Gpt2Spec, ModelSpec},
    peer::{Address, Endpoint, Role},
    recipe::{AdamW, Compression, Numerics, Recipe, Schedule, Tier, TierParameters},
    rewards::Emission,
    round::Phase,
    submission::{Claims, Included, Reveal, Status},
    trace::{merkle_proof, merkle_root, state_leaf},
};
use sp_core::{Pair, sr25519};
use sp_io::TestExternalities;
use sp_keyring::Sr25519Keyring;
use sp_runtime::{BuildStorage, Digest, DigestItem, Perbill, generic::Era, traits::Header as _};
use sp_staking::offence::{OffenceDetails, OnOffenceHandler};

const DEV: &str = sp_genesis_builder::DEV_RUNTIME_PRESET;
const LOCAL: &str = sp_genesis_builder::LOCAL_TESTNET_RUNTIME_PRESET;
const SEGMENTS: u16 = 10;
const SHARDS: u32 = 20;

/// The state that a preset starts with.
fn genesis(preset: &str) -> TestExternalities {
    let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).unwrap();
    let patch = serde_json::from_slice(&presets::get_preset(&preset.into()).unwrap()).unwrap();
    merge(&mut config, patch);
    let config: RuntimeGenesisConfig = serde_json::from_value(config).unwrap();
    config.build_storage().unwrap().into()
}

fn merge(config: &mut serde_json::Value, patch: serde_json::Value) {
    match (config, patch) {
        (serde_json::Value::Object(config), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(config.entry(key).or_insert_with(Default::default), value);
            }
        }
        (config, patch) => *config = patch,
    }
}

fn pair(uri: &str) -> sr25519::Pair {
    sr25519::Pair::from_string(uri, None).unwrap()
}

fn account(pair: &sr25519::Pair) -> AccountId {
    pair.public().into()
}

fn signed(pair: &sr25519::Pair, call: RuntimeCall) -> UncheckedExtrinsic {
    let nonce = System::account_nonce(account(pair));
    let extension: TxExtension = (
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    let payload = SignedPayload::new(call.clone(), extension.clone()).unwrap();
    let signature = payload.using_encoded(|bytes| pair.sign(bytes));
    UncheckedExtrinsic::new_signed(call, account(pair).into(), signature.into(), extension)
}

/// Makes blocks, one a slot, by the first authority.
struct Chain {
    parent: Hash,
}

impl Chain {
    fn new() -> Self {
        Self { parent: System::block_hash(0) }
    }

    /// Makes the next block, in which all of `calls` must succeed.
    fn block(&mut self, calls: impl IntoIterator<Item = (sr25519::Pair, RuntimeCall)>) {
        let number = System::block_number() + 1;
        let slot = sp_consensus_babe::Slot::from(1_000 + u64::from(number));
        let author = sp_consensus_babe::digests::PreDigest::SecondaryPlain(sp_consensus_babe::digests::SecondaryPlainPreDigest {
            authority_index: 0,
            slot,
        });
        let digest = Digest { logs: vec![DigestItem::PreRuntime(sp_consensus_babe::BABE_ENGINE_ID, author.encode())] };
        let header = Header::new(number, Hash::zero(), Hash::zero(), self.parent, digest);
        Executive::initialize_block(&header);
        let now = RuntimeCall::Timestamp(pallet_timestamp::Call::set { now: *slot * SLOT_DURATION });
        Executive::apply_extrinsic(UncheckedExtrinsic::new_bare(now)).unwrap().unwrap();
        for (pair, call) in calls {
            let what = format!("{call:?}");
            let applied = Executive::apply_extrinsic(signed(&pair, call));
            assert_eq!(applied, Ok(Ok(())), "{what}");
        }
        self.parent = Executive::finalize_block().hash();
    }

    /// Makes empty blocks until the round is in `phase`.
    fn until(&mut self, phase: Phase) {
        for _ in 0..50 {
            if ProofOfLearning::overview().round.phase == phase {
                return;
            }
            self.block([]);
        }
        panic!("no {phase:?} phase within 50 blocks: {:?}", ProofOfLearning::overview());
    }
}

fn recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 20, cadence: 1 };
    Recipe {
        model: ModelSpec::Gpt2(Gpt2Spec { vocabulary: 8_192, width: 128, layers: 4, heads: 4, feed_forward: 512, context: 128 }),
        tokenizer: [1; 32],
        seed: [2; 32],
        sequence: 128,
        shard_tokens: 4_096,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: Schedule { peak: 1_000_000, warmup_steps: 20, decay_tokens: 0, floor: 100_000 },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: SEGMENTS,
        numerics: Numerics::Exact,
    }
}

fn manifest() -> ManifestInfo {
    ManifestInfo {
        source: 0,
        merkle_root: [3; 32],
        content_hash: [4; 32],
        tokenizer: recipe().tokenizer,
        shards: SHARDS,
        shard_tokens: recipe().shard_tokens,
        parents: Default::default(),
        quality: MILLION,
        held_out: false,
    }
}

/// A reveal that says nothing but what the chain checks.
fn reveal(lease: &Lease, tag: u8) -> Reveal {
    let mut leaves = vec![state_leaf(&lease.base_root, &lease.carry)];
    leaves.extend((0..SEGMENTS).map(|segment| [tag.wrapping_add(segment as u8); 32]));
    Reveal {
        payload_hash: [tag; 32],
        trace_root: merkle_root(&leaves),
        carry_hash: [tag ^ 0xff; 32],
        steps: 20,
        first_leaf: merkle_proof(&leaves, 0).unwrap(),
        salt: [tag; 32],
    }
}

fn try_state() {
    PolStaking::do_try_state().unwrap();
    Lineage::do_try_state().unwrap();
    Rewards::do_try_state().unwrap();
    ProofOfLearning::do_try_state().unwrap();
    // What the pool has lent is what the leases hold.
    let lent: u32 = pallet_pol_lineage::Manifests::<Runtime>::iter_values().map(|manifest| manifest.leased).sum();
    let leased: usize = pallet_proof_of_learning::Leases::<Runtime>::iter_values().map(|lease| lease.shards.len()).sum();
    assert_eq!(lent as usize, leased);
}

fn bond(role: Role) -> RuntimeCall {
    pallet_pol_staking::Call::bond { role, amount: role.minimum_bond() }.into()
}

#[test]
fn a_round_is_learned_paid_and_recorded() {
    genesis(DEV).execute_with(|| {
        let alice = pair("//Alice");
        let validator = pair("//Validator//1");
        let trainers = [pair("//Trainer//1"), pair("//Trainer//2")];
        let mut chain = Chain::new();

        let set_recipe = pallet_proof_of_learning::Call::set_recipe { recipe: recipe() };
        let endpoint = Endpoint { id: [5; 32], addresses: vec![Address::V4([127, 0, 0, 1], 4_433)].try_into().unwrap() };
        chain.block([
            (alice.clone(), pallet_sudo::Call::sudo { call: Box::new(set_recipe.into()) }.into()),
            (validator.clone(), bond(Role::Validator)),
            (validator.clone(), pallet_pol_staking::Call::set_endpoint { endpoint }.into()),
            (trainers[0].clone(), bond(Role::Trainer)),
            (trainers[1].clone(), bond(Role::Trainer)),
        ]);
        try_state();

        // Round zero: the initial model.
        let attest = |round, root, included| pallet_proof_of_learning::Call::attest_head { round, root, included }.into();
        let source = pallet_pol_lineage::Call::register_source {
            kind: SourceKind::Dataset,
            address: b"https://example.org/corpus".to_vec().try_into().unwrap(),
            licence: b"CC0-1.0".to_vec().try_into().unwrap(),
        };
        chain.block([
            (alice.clone(), source.into()),
            (alice.clone(), pallet_pol_lineage::Call::register_manifest { info: manifest() }.into()),
            (validator.clone(), attest(0, [6; 32], Included::default())),
        ]);
        let first = ProofOfLearning::overview().head.expect("round zero was attested");
        assert_eq!((first.round, first.root, first.tokens), (0, [6; 32], 0));
        assert_eq!(first.recipe_hash, recipe().hash());
        try_state();

        // Round one.
        chain.until(Phase::Train);
        assert_eq!(ProofOfLearning::overview().free_shards, SHARDS);
        let tier = Tier::Participant;
        chain.block(trainers.clone().map(|t| (t, pallet_proof_of_learning::Call::join_round { tier }.into())));
        let leases = trainers.each_ref().map(|t| ProofOfLearning::lease(&account(t)).unwrap());
        assert!(leases.iter().all(|lease| lease.base_root == first.root && lease.shards.len() == 10));
        assert!(leases[0].shards.iter().all(|shard| !leases[1].shards.contains(shard)), "no shard is leased twice");
        let reveals = [reveal(&leases[0], 10), reveal(&leases[1], 100)];
        let genesis_hash = System::block_hash(0).0;
        chain.block([0, 1].map(|i| {
            let commitment = reveals[i].commitment(&account(&trainers[i]).encode(), &genesis_hash, 1);
            let commit = pallet_proof_of_learning::Call::commit { round: 1, commitment, claims: Claims::default() };
            (trainers[i].clone(), commit.into())
        }));
        try_state();
        chain.until(Phase::Reveal);
        chain.block([0, 1].map(|i| {
            let reveal = pallet_proof_of_learning::Call::reveal { round: 1, reveal: reveals[i].clone() };
            (trainers[i].clone(), reveal.into())
        }));
        chain.until(Phase::Attest);
        assert_eq!(ProofOfLearning::overview().lead, Some(account(&validator)), "the only validator leads");
        let issued = Balances::total_issuance();
        chain.block([(validator.clone(), attest(1, [7; 32], Included::from_indices([0, 1])))]);
        try_state();

        // The model moved on, by all the tokens, and what the round earned is in escrow.
        let head = ProofOfLearning::overview().head.unwrap();
        assert_eq!((head.round, head.root, head.tokens), (1, [7; 32], 2 * 40_960));
        assert_ne!(head.lineage_hash, first.lineage_hash);
        let record = ProofOfLearning::round_record(1).unwrap();
        assert_eq!((record.head, record.included.len()), (Some(head), 2));
        let emitted = Emission::default().of(1);
        assert_eq!(Balances::total_issuance(), issued + emitted.total());
        assert_eq!(pallet_pol_rewards::Escrow::<Runtime>::get(1), Some(emitted));

        // Concluding makes the shards part of the model, once.
        chain.block([0, 1].map(|i| {
            let conclude = pallet_proof_of_learning::Call::conclude { account: account(&trainers[i]) };
            (alice.clone(), conclude.into())
        }));
        let manifest = Lineage::manifest(0).unwrap();
        assert_eq!((manifest.free, manifest.leased, manifest.consumed), (0, 0, SHARDS));
        for (trainer, reveal) in trainers.iter().zip(&reveals) {
            assert_eq!(ProofOfLearning::lease(&account(trainer)), None);
            assert_eq!(ProofOfLearning::standing(&account(trainer)).carry, reveal.carry_hash);
        }
        assert!(ProofOfLearning::submissions(1).iter().all(|(_, submission)| submission.status == Status::Included));
        try_state();

        // Without data the network rests.
        chain.block([]);
        assert_eq!(ProofOfLearning::overview().round.phase, Phase::Idle);
        try_state();
    });
}

#[test]
fn the_dev_preset_has_one_authority_and_sudo() {
    genesis(DEV).execute_with(|| {
        let alice = Sr25519Keyring::Alice.to_account_id();
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), Some(alice.clone()));
        assert_eq!(Session::validators(), vec![alice.clone()]);
        assert_eq!((Babe::authorities().len(), Grandpa::grandpa_authorities().len()), (1, 1));
        let member = PolStaking::member(alice.clone()).unwrap();
        assert_eq!((member.role, member.bond), (Role::Authority, 10_000 * POL));
        assert_eq!(Balances::total_balance(&alice), presets::ENDOWMENT);
        assert_eq!(Balances::total_issuance(), 44 * presets::ENDOWMENT);
        try_state();
    });
}

#[test]
fn the_local_preset_has_three_authorities_and_no_sudo() {
    genesis(LOCAL).execute_with(|| {
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), None);
        let mut expected =
            [Sr25519Keyring::Alice, Sr25519Keyring::Bob, Sr25519Keyring::Charlie].map(Sr25519Keyring::to_account_id).to_vec();
        expected.sort();
        let mut validators = Session::validators();
        validators.sort();
        assert_eq!(validators, expected);
        assert_eq!((Babe::authorities().len(), Grandpa::grandpa_authorities().len()), (3, 3));
        try_state();
    });
}

#[test]
fn presets_are_named_and_others_unknown() {
    assert!(presets::preset_names().iter().all(|name| presets::get_preset(name).is_some()));
    assert_eq!(presets::get_preset(&"mainnet".into()), None);
}

#[test]
fn funded_accounts_are_those_of_the_usual_paths() {
    genesis(LOCAL).execute_with(|| {
        for uri in ["//Alice", "//Ferdie//stash", "//Trainer//1", "//Trainer//16", "//Validator//1", "//Validator//16"] {
            assert_eq!(Balances::total_balance(&account(&pair(uri))), presets::ENDOWMENT, "{uri}");
        }
        assert_eq!(Balances::total_balance(&account(&pair("//Trainer//17"))), 0);
    });
}

#[test]
fn a_transfer_costs_its_sender_and_pays_the_author() {
    genesis(DEV).execute_with(|| {
        let (alice, bob, dave) = (pair("//Alice"), pair("//Bob"), pair("//Dave"));
        let before = [&alice, &bob, &dave].map(|pair| Balances::free_balance(account(pair)));
        let transfer = pallet_balances::Call::transfer_keep_alive { dest: account(&dave).into(), value: POL };
        Chain::new().block([(bob.clone(), transfer.into())]);
        let after = [&alice, &bob, &dave].map(|pair| Balances::free_balance(account(pair)));
        assert_eq!(after[2], before[2] + POL);
        let fee = before[1] - POL - after[1];
        assert!(fee > POL / 100_000 && fee < POL / 100, "a transfer cost {fee}");
        assert_eq!(after[0], before[0] + fee, "Alice made the block");
    });
}

#[test]
fn every_call_of_the_learning_pallets_weighs_something() {
    let calls: Vec<RuntimeCall> = vec![
        bond(Role::Trainer),
        pallet_pol_staking::Call::unbond {}.into(),
        pallet_pol_lineage::Call::register_manifest { info: manifest() }.into(),
        pallet_proof_of_learning::Call::join_round { tier: Tier::Mobile }.into(),
        pallet_proof_of_learning::Call::commit { round: 0, commitment: [0; 32], claims: Claims::default() }.into(),
        pallet_proof_of_learning::Call::attest_head { round: 0, root: [0; 32], included: Included::default() }.into(),
        pallet_pol_rewards::Call::set_emission { emission: Emission::default() }.into(),
    ];
    let most = <Runtime as frame_system::Config>::BlockWeights::get()
        .get(frame_support::dispatch::DispatchClass::Normal)
        .max_extrinsic
        .unwrap();
    for call in calls {
        let info = call.get_dispatch_info();
        assert!(info.call_weight.ref_time() > 0, "{call:?}");
        assert!(info.call_weight.all_lte(most), "{call:?} does not fit a block");
        assert_eq!(info.pays_fee, frame_support::dispatch::Pays::Yes, "{call:?}");
    }
}

#[test]
fn a_learning_proxy_cannot_move_funds() {
    let join = pallet_proof_of_learning::Call::join_round { tier: Tier::Mobile }.into();
    let transfer =
        pallet_balances::Call::transfer_keep_alive { dest: Sr25519Keyring::Bob.to_account_id().into(), value: 1 }.into();
    assert!(ProxyType::Learning.filter(&join) && !ProxyType::Learning.filter(&transfer));
    assert!(!ProxyType::Learning.filter(&pallet_pol_staking::Call::unbond {}.into()));
    assert!(ProxyType::Any.filter(&transfer) && ProxyType::Any.is_superset(&ProxyType::Learning));
    assert!(!ProxyType::Learning.is_superset(&ProxyType::Any));
}

#[test]
fn an_equivocation_costs_the_bond_and_the_seat() {
    genesis(LOCAL).execute_with(|| {
        System::set_block_number(1);
        // Of three authorities none can be spared, since two finalise nothing.
        pallet_session::Validators::<Runtime>::append(Sr25519Keyring::Dave.to_account_id());
        let bob = Sr25519Keyring::Bob.to_account_id();
        let issued = Balances::total_issuance();
        let offence = OffenceDetails { offender: (bob.clone(), ()), reporters: vec![] };
        SlashEquivocation::on_offence(&[offence], &[Perbill::from_percent(50)], 0);
        let half = Role::Authority.minimum_bond() / 2;
        assert_eq!(PolStaking::member(bob.clone()).unwrap().bond, half);
        assert_eq!(Balances::total_issuance(), issued - half);
        let seat = Session::validators().iter().position(|validator| *validator == bob).unwrap();
        assert_eq!(Session::disabled_validators(), vec![seat as u32]);
        // Who asked for the bond back still signs, and still answers.
        let charlie = Sr25519Keyring::Charlie.to_account_id();
        PolStaking::unbond(RuntimeOrigin::signed(charlie.clone())).unwrap();
        let offence = OffenceDetails { offender: (charlie.clone(), ()), reporters: vec![] };
        SlashEquivocation::on_offence(&[offence], &[Perbill::from_percent(50)], 0);
        assert_eq!(PolStaking::slashable(&charlie), half);
        try_state();
    });
}
