//! A chain of this pallet alone, with stakes, data and payouts that the tests control.
//!
//! What the stand-ins know lies in storage, so that a refused call undoes their part as well.

use crate as pallet_proof_of_learning;
use crate::{pallet::*, weights::SubstrateWeight};
use codec::Encode;
use pol_primitives::{
    Balance, Hash, MILLION, RoundNumber,
    data::ShardId,
    lease::Lease,
    model::{Gpt2Spec, ModelSpec},
    prf::Prf,
    recipe::{AdamW, Compression, Numerics, Schedule, Tier, TierParameters},
    round::{Phase, RoundConfig},
    submission::{Claims, Included, Reveal},
    trace::{merkle_proof, merkle_root, state_leaf},
    traits,
};
use polkadot_sdk::{
    frame_support::{
        assert_ok, construct_runtime, derive_impl,
        pallet_prelude::{Blake2_128Concat, OptionQuery, ValueQuery},
        parameter_types, storage_alias,
        traits::{OnInitialize, Randomness},
        weights::RuntimeDbWeight,
    },
    frame_system,
    sp_core::H256,
    sp_io::TestExternalities,
    sp_runtime::BuildStorage,
};

pub type AccountId = u64;

construct_runtime!(
    pub enum Test {
        System: frame_system,
        Learning: pallet_proof_of_learning,
    }
);

parameter_types! {
    pub const DbWeight: RuntimeDbWeight = RuntimeDbWeight { read: 25, write: 100 };
    pub const NoShowPenalty: Balance = 7;
    pub const LapsePenalty: Balance = 2;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
    type DbWeight = DbWeight;
}

impl Config for Test {
    type Randomness = BlockRandomness;
    type Bonds = Stakes;
    type Pool = Shards;
    type Payouts = Payments;
    type GovernanceOrigin = frame_system::EnsureRoot<AccountId>;
    type NoShowPenalty = NoShowPenalty;
    type LapsePenalty = LapsePenalty;
    type WeightInfo = SubstrateWeight<Test>;
}

/// Randomness that differs from block to block.
pub struct BlockRandomness;

impl Randomness<H256, u32> for BlockRandomness {
    fn random(subject: &[u8]) -> (H256, u32) {
        let now = System::block_number();
        (pol_primitives::digest(b"test/randomness", &(subject, now)).into(), now)
    }
}

#[storage_alias]
pub type Trainers = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, OptionQuery>;
#[storage_alias]
pub type Validators = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, OptionQuery>;
/// The attest phases a validator took part in, in the order of its attestations.
#[storage_alias]
pub type Noted = StorageMap<Mock, Blake2_128Concat, AccountId, Vec<u32>, ValueQuery>;

/// Bonds as the tests set them.
pub struct Stakes;

impl traits::Bonds<AccountId> for Stakes {
    fn is_trainer(account: &AccountId) -> bool {
        Trainers::get(account).is_some_and(|bond| bond > 0)
    }

    fn validator_stake(account: &AccountId) -> Option<Balance> {
        Validators::get(account)
    }

    fn total_validator_stake() -> Balance {
        Validators::iter_values().sum()
    }

    fn lead(seed: &Hash, turn: u32) -> Option<AccountId> {
        let mut validators: Vec<_> = Validators::iter_keys().collect();
        validators.sort_unstable();
        let first = usize::from(seed[0]);
        validators.get((first + turn as usize) % validators.len().max(1)).copied()
    }

    fn note_attested(account: &AccountId, phase: u32) {
        Noted::mutate(account, |phases| phases.push(phase));
    }

    fn slash(account: &AccountId, amount: Balance) -> Balance {
        Trainers::mutate(account, |bond| {
            let taken = bond.unwrap_or(0).min(amount);
            *bond = bond.map(|bond| bond - taken);
            taken
        })
    }
}

/// Shards nobody has, drawn by the stream.
#[storage_alias]
pub type FreeShards = StorageValue<Mock, Vec<ShardId>, ValueQuery>;
#[storage_alias]
pub type Consumed = StorageValue<Mock, Vec<(ShardId, RoundNumber)>, ValueQuery>;

/// A pool of one manifest.
pub struct Shards;

impl traits::ShardPool for Shards {
    fn free() -> u32 {
        FreeShards::get().len() as u32
    }

    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        FreeShards::mutate(|free| {
            (0..count.min(free.len() as u32)).map(|_| free.remove(prf.below(free.len() as u32) as usize)).collect()
        })
    }

    fn release(shards: &[ShardId]) {
        FreeShards::mutate(|free| free.extend_from_slice(shards));
    }

    fn consume(shards: &[ShardId], round: RoundNumber) {
        Consumed::mutate(|consumed| consumed.extend(shards.iter().map(|&shard| (shard, round))));
    }
}

/// Rounds that were paid.
#[storage_alias]
pub type Paid = StorageValue<Mock, Vec<RoundNumber>, ValueQuery>;

/// Payouts that are only noted.
pub struct Payments;

impl traits::Payouts for Payments {
    fn round_concluded(round: RoundNumber) {
        Paid::mutate(|paid| paid.push(round));
    }
}

/// Trainers are 1 to 9, with a bond of 10.
pub const TRAINERS: core::ops::RangeInclusive<AccountId> = 1..=9;
/// Validators with 34, 33 and 33 of 100: the first is needed for a quorum, and any other makes one with it.
pub const VALIDATORS: [(AccountId, Balance); 3] = [(11, 34), (12, 33), (13, 33)];
/// Shards in the pool.
pub const SHARDS: u32 = 1_000;

pub const LENGTHS: RoundConfig = RoundConfig { join: 3, train: 20, reveal: 5, attest: 10, lead: 5, missed: 3 };

/// A recipe of four segments of two steps and ten shards a lease; a mobile's lease lives two rounds.
pub fn recipe() -> pol_primitives::recipe::Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 8, cadence: 1 };
    pol_primitives::recipe::Recipe {
        model: ModelSpec::Gpt2(Gpt2Spec { vocabulary: 512, width: 64, layers: 2, heads: 2, feed_forward: 256, context: 64 }),
        tokenizer: [1; 32],
        seed: [2; 32],
        sequence: 64,
        shard_tokens: 1_024,
        tiers: [TierParameters { micro_batch: 4, cadence: 2, ..tier }, tier, tier, tier],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: Schedule { peak: 1_000_000, warmup_steps: 20, decay_tokens: 0, floor: 100_000 },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: 4,
        numerics: Numerics::Exact,
    }
}

/// A chain before its first block, with this genesis recipe.
pub fn chain(recipe: Option<pol_primitives::recipe::Recipe>) -> TestExternalities {
    let genesis =
        RuntimeGenesisConfig { learning: GenesisConfig { lengths: LENGTHS, recipe, ..Default::default() }, ..Default::default() };
    let mut chain = TestExternalities::from(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        TRAINERS.for_each(|account| Trainers::insert(account, 10));
        VALIDATORS.into_iter().for_each(|(account, stake)| Validators::insert(account, stake));
        FreeShards::put((0..SHARDS).map(|index| ShardId { manifest: 0, index }).collect::<Vec<_>>());
    });
    chain
}

/// Runs `test` on a new chain and checks the pallet's accounting after it.
pub fn on_chain(recipe: Option<pol_primitives::recipe::Recipe>, test: impl FnOnce()) {
    chain(recipe).execute_with(|| {
        test();
        assert_ok!(Learning::do_try_state());
    });
}

/// Runs `test` in the first block of round one.
pub fn in_round_one(test: impl FnOnce()) {
    on_chain(Some(recipe()), || {
        run(1);
        attest_initial();
        run(1);
        assert_eq!((round().number, round().phase), (1, Phase::Train));
        test();
    });
}

/// Produces `blocks` blocks.
pub fn run(blocks: u32) {
    for _ in 0..blocks {
        let now = System::block_number() + 1;
        System::set_block_number(now);
        Learning::on_initialize(now);
    }
}

/// Produces blocks until the round is in `phase`.
pub fn run_until(phase: Phase) {
    for _ in 0..100 {
        if round().phase == phase {
            return;
        }
        run(1);
    }
    panic!("no {phase:?} within 100 blocks: {:?}", round());
}

pub fn round() -> pol_primitives::round::Round {
    CurrentRound::<Test>::get()
}

pub fn head() -> pol_primitives::head::Head {
    CurrentHead::<Test>::get().unwrap()
}

pub fn lease_of(account: AccountId) -> Lease {
    Leases::<Test>::get(account).unwrap()
}

pub fn signed(account: AccountId) -> RuntimeOrigin {
    RuntimeOrigin::signed(account)
}

/// Whether the block has this event.
#[track_caller]
pub fn assert_event(event: Event<Test>) {
    System::assert_has_event(event.into());
}

/// The first two validators attest the initial model.
pub fn attest_initial() {
    for validator in [11, 12] {
        assert_ok!(Learning::attest_head(signed(validator), 0, [3; 32], Included::default()));
    }
}

/// What the trainer of `account`'s lease opens after training `segments` of it.
pub fn work(account: AccountId, segments: u16) -> Reveal {
    let lease = lease_of(account);
    let of = |part: &str| pol_primitives::digest(part.as_bytes(), &(account, lease.nonce));
    let steps = segments * recipe().steps_per_segment(lease.tier);
    let mut leaves = vec![state_leaf(&lease.base_root, &lease.carry)];
    leaves.extend((0..segments).map(|segment| pol_primitives::digest(b"leaf", &(account, lease.nonce, segment))));
    Reveal {
        payload_hash: of("payload"),
        trace_root: merkle_root(&leaves),
        carry_hash: of("carry"),
        steps,
        first_leaf: merkle_proof(&leaves, 0).unwrap(),
        salt: of("salt"),
    }
}

/// What `account` commits to, for the round under way.
pub fn commitment(account: AccountId, reveal: &Reveal) -> Hash {
    let genesis = System::block_hash(0).0;
    reveal.commitment(&account.encode(), &genesis, round().number)
}

pub fn join(account: AccountId) {
    assert_ok!(Learning::join_round(signed(account), Tier::Participant));
}

/// Commits `account` to a full lease.
pub fn commit(account: AccountId) -> Reveal {
    let reveal = work(account, 4);
    assert_ok!(Learning::commit(signed(account), round().number, commitment(account, &reveal), Claims::default()));
    reveal
}

/// Takes the round under way from joining to attesting, with full leases of `accounts`; each is index i of the reveals.
pub fn train(accounts: &[AccountId]) {
    accounts.iter().for_each(|&account| join(account));
    let reveals: Vec<_> = accounts.iter().map(|&account| (account, commit(account))).collect();
    run_until(Phase::Reveal);
    for (account, reveal) in reveals {
        assert_ok!(Learning::reveal(signed(account), round().number, reveal));
    }
    run_until(Phase::Attest);
}

pub fn included(indices: &[u8]) -> Included {
    Included::from_indices(indices.iter().copied())
}

/// The first two validators make a head of these reveals.
pub fn adopt(root: Hash, indices: &[u8]) {
    let number = round().number;
    for validator in [11, 12] {
        assert_ok!(Learning::attest_head(signed(validator), number, root, included(indices)));
    }
    assert_eq!(head().round, number);
}
