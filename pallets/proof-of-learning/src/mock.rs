// SPDX-License-Identifier: Apache-2.0

//! A chain with only this pallet, and stand-ins for stakes, data and payouts.
//!
//! The stand-ins keep their state in storage, so that a failed call reverts it too.

use crate as pallet_proof_of_learning;
use crate::{pallet::*, weights::SubstrateWeight};
use codec::Encode;
use core::ops::Range;
use pol_primitives::{
    Balance, Hash, MILLION, Ppm, RoundNumber,
    audit::{AuditConfig, SeatTally, TraceState},
    beacon::Pulse,
    data::ShardId,
    lease::Lease,
    model::ModelSpec,
    prf::Prf,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Tier, TierParameters},
    rewards::RoundEarnings,
    round::{BlockNumber, Phase, Round, RoundConfig},
    submission::{Reveal, RevealSet, TrainingClaims},
    trace::{Carry, merkle_proof, merkle_root},
    traits,
};
use polkadot_sdk::{
    frame_support::{
        assert_ok, construct_runtime, derive_impl,
        dispatch::{DispatchResult, DispatchResultWithPostInfo},
        pallet_prelude::{Blake2_128Concat, OptionQuery, ValueQuery},
        parameter_types, storage_alias,
        traits::{OnFinalize, OnInitialize, Randomness},
        weights::RuntimeDbWeight,
    },
    frame_system,
    sp_core::H256,
    sp_io::TestExternalities,
    sp_runtime::{BuildStorage, Perbill},
};

pub(crate) use audits::*;

mod audits;

pub(crate) type AccountId = u64;

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
    pub const InvalidPenalty: Balance = 8;
    pub const WithheldPenalty: Balance = 4;
    pub const SeatPenalty: Balance = 5;
    pub const SeatStrikes: u32 = 3;
    pub const CongestedShare: Perbill = Perbill::from_percent(80);
    pub const MaxStandstill: u32 = 3;
    pub static KeptRounds: RoundNumber = 1_000;
    pub const WrongRootPenalty: Balance = 6;
    pub const WrongRootStrikes: u32 = 2;
}

parameter_types! {
    /// Slot of the block; the clock does not read slots while it is 0.
    pub static CurrentSlot: u64 = 0;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
    type DbWeight = DbWeight;
}

impl Config for Test {
    type Randomness = BlockRandomness;
    type Beacon = TestBeacon;
    type Bonds = Stakes;
    type Pool = Shards;
    type Payouts = Payments;
    type GovernanceOrigin = frame_system::EnsureRoot<AccountId>;
    type NoShowPenalty = NoShowPenalty;
    type LapsePenalty = LapsePenalty;
    type InvalidPenalty = InvalidPenalty;
    type WithheldPenalty = WithheldPenalty;
    type SeatPenalty = SeatPenalty;
    type SeatStrikes = SeatStrikes;
    type WrongRootPenalty = WrongRootPenalty;
    type WrongRootStrikes = WrongRootStrikes;
    type CongestedShare = CongestedShare;
    type KeptRounds = KeptRounds;
    type CurrentSlot = CurrentSlot;
    type MaxStandstill = MaxStandstill;
    type WeightInfo = SubstrateWeight<Test>;
}

/// State of the pulse that a draw would wait for; no beacon if there is none.
#[storage_alias]
pub(crate) type PulseState = StorageValue<Mock, Option<Hash>, OptionQuery>;
/// Block after which the pulse counts as missed; none while nothing is awaited.
#[storage_alias]
pub(crate) type AwaitedUntil = StorageValue<Mock, u32, OptionQuery>;

/// Beacon whose pulse the tests set.
pub struct TestBeacon;

impl traits::Beacon for TestBeacon {
    fn await_pulse() -> bool {
        let exists = PulseState::exists();
        if exists {
            AwaitedUntil::put(System::block_number() + PATIENCE);
        }
        exists
    }

    fn pulse() -> Pulse {
        match (PulseState::get().flatten(), AwaitedUntil::get()) {
            (Some(pulse), Some(_)) => Pulse::Arrived(pulse),
            (None, Some(until)) if System::block_number() <= until => Pulse::Awaited,
            _ => Pulse::Missed,
        }
    }

    fn release() {
        AwaitedUntil::kill();
    }
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
pub(crate) type Trainers = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, OptionQuery>;
#[storage_alias]
pub(crate) type Validators = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, OptionQuery>;
/// Attest phases that a validator took part in, in the order of its attestations.
#[storage_alias]
pub(crate) type Noted = StorageMap<Mock, Blake2_128Concat, AccountId, Vec<u32>, ValueQuery>;
/// Part of a trainer's bond that can be locked: enough for many updates unless a test sets it.
#[storage_alias]
pub(crate) type Lockable = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, OptionQuery>;
/// Locked part of a trainer's bond.
#[storage_alias]
pub(crate) type Locked = StorageMap<Mock, Blake2_128Concat, AccountId, Balance, ValueQuery>;
/// Rounds in which trainers were bonded.
#[storage_alias]
pub(crate) type Since = StorageMap<Mock, Blake2_128Concat, AccountId, RoundNumber, ValueQuery>;
/// Outcomes of updates, as noted for the reputation of their trainers.
#[storage_alias]
pub(crate) type Trainings = StorageValue<Mock, Vec<(AccountId, bool)>, ValueQuery>;
/// Number of seats in a row in which a validator was silent or wrong.
#[storage_alias]
pub(crate) type Strikes = StorageMap<Mock, Blake2_128Concat, AccountId, u32, ValueQuery>;

/// Validators that have not acted yet.
#[storage_alias]
pub(crate) type Newcomers = StorageValue<Mock, Vec<AccountId>, ValueQuery>;
/// Number of attested roots in a row that were wrong.
#[storage_alias]
pub(crate) type WrongRoots = StorageMap<Mock, Blake2_128Concat, AccountId, u32, ValueQuery>;

/// Takes up to `amount` off the bond of a validator or trainer. Returns the amount taken.
fn take_bond(account: &AccountId, amount: Balance) -> Balance {
    let take = |bond: &mut Option<Balance>| {
        let taken = bond.unwrap_or(0).min(amount);
        *bond = bond.map(|bond| bond - taken);
        taken
    };
    if Validators::contains_key(account) {
        Validators::mutate(account, take)
    } else {
        Trainers::mutate(account, take)
    }
}

/// Bonds that the tests set.
pub struct Stakes;

impl traits::Bonds<AccountId> for Stakes {
    fn is_trainer(account: &AccountId) -> bool {
        Trainers::get(account).is_some_and(|bond| bond > 0)
    }

    fn bonded_since(account: &AccountId) -> Option<RoundNumber> {
        Trainers::contains_key(account).then(|| Since::get(account))
    }

    fn validator_stake(account: &AccountId) -> Option<Balance> {
        Validators::get(account)
    }

    fn total_validator_stake() -> Balance {
        Validators::iter_values().sum()
    }

    fn newcomers() -> Vec<AccountId> {
        Newcomers::get()
    }

    fn note_active(account: &AccountId) {
        Newcomers::mutate(|newcomers| newcomers.retain(|other| other != account));
    }

    fn note_attested(account: &AccountId, phase: u32) {
        Self::note_active(account);
        Noted::mutate(account, |phases| phases.push(phase));
    }

    fn has_attested(account: &AccountId, phase: u32) -> bool {
        Noted::get(account).contains(&phase)
    }

    fn note_root(account: &AccountId, right: bool) -> u32 {
        WrongRoots::mutate(account, |wrong| {
            *wrong = if right { 0 } else { *wrong + 1 };
            *wrong
        })
    }

    fn free_bond(account: &AccountId) -> Balance {
        Lockable::get(account).unwrap_or(1_000).saturating_sub(Locked::get(account))
    }

    fn lock(account: &AccountId, amount: Balance) {
        Locked::mutate(account, |locked| *locked += amount);
    }

    fn unlock(account: &AccountId, amount: Balance) {
        Locked::mutate(account, |locked| *locked -= amount);
    }

    fn slash(account: &AccountId, amount: Balance) -> Balance {
        take_bond(account, amount)
    }

    fn seize(account: &AccountId, amount: Balance, to: &AccountId) -> Balance {
        assert_eq!(*to, POT);
        take_bond(account, amount)
    }

    fn stakes() -> Vec<(AccountId, Balance)> {
        let mut stakes: Vec<_> = Validators::iter().collect();
        stakes.sort_unstable();
        stakes
    }

    fn note_training(account: &AccountId, accepted: bool) {
        Trainings::mutate(|trainings| trainings.push((*account, accepted)));
    }

    fn note_seats(account: &AccountId, tally: &SeatTally) -> u32 {
        Strikes::mutate(account, |strikes| {
            *strikes = tally.strikes_after(*strikes);
            *strikes
        })
    }
}

/// Free shards.
#[storage_alias]
pub(crate) type FreeShards = StorageValue<Mock, Vec<ShardId>, ValueQuery>;
/// Set if the manifest was paused.
#[storage_alias]
pub(crate) type Stopped = StorageValue<Mock, bool, ValueQuery>;
#[storage_alias]
pub(crate) type Consumed = StorageValue<Mock, Vec<(ShardId, RoundNumber, u8, i32)>, ValueQuery>;

/// A pool of one manifest.
pub struct Shards;

impl traits::ShardPool<AccountId> for Shards {
    fn free_shards() -> u32 {
        FreeShards::get().len() as u32
    }

    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        FreeShards::mutate(|free| {
            (0..count.min(free.len() as u32))
                .map(|_| free.remove(prf.below(free.len() as u32) as usize))
                .collect()
        })
    }

    fn release(shards: &[ShardId]) {
        FreeShards::mutate(|free| free.extend_from_slice(shards));
    }

    fn consume(shards: &[ShardId], round: RoundNumber, index: u8, deltas: &[i32]) {
        let deltas = deltas.iter().copied().chain(core::iter::repeat(0));
        Consumed::mutate(|consumed| {
            consumed.extend(
                shards.iter().zip(deltas).map(|(&shard, delta)| (shard, round, index, delta)),
            )
        });
    }

    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        let mut free = FreeShards::get();
        (0..count.min(free.len() as u32))
            .map(|_| free.remove(prf.below(free.len() as u32) as usize))
            .collect()
    }

    /// Assigns even shards to one provider, odd ones to the other.
    fn effects(shards: &[ShardId], deltas: &[i32]) -> Vec<(AccountId, u64)> {
        let of = |parity| {
            let own = shards.iter().zip(deltas).filter(|(shard, _)| shard.index % 2 == parity);
            own.filter_map(|(_, &delta)| u64::try_from(delta).ok()).sum()
        };
        PROVIDERS.into_iter().zip([of(0), of(1)]).filter(|(_, effect)| *effect > 0).collect()
    }

    fn bonus(_: &[ShardId]) -> Ppm {
        BONUS
    }

    fn is_stopped(_: &[ShardId]) -> bool {
        Stopped::get()
    }
}

/// Rounds with emission, the time that each took, and the number of its updates.
#[storage_alias]
pub(crate) type Paid = StorageValue<Mock, Vec<(RoundNumber, u32, u32)>, ValueQuery>;
/// Settled updates that improved something, by round.
#[storage_alias]
pub(crate) type Improved = StorageValue<Mock, Vec<RoundNumber>, ValueQuery>;
/// Settled updates: the round of each, and the earnings from it.
#[storage_alias]
pub(crate) type Earnings =
    StorageValue<Mock, Vec<(RoundNumber, Vec<(AccountId, RoundEarnings)>)>, ValueQuery>;
/// Fines.
#[storage_alias]
pub(crate) type Fines = StorageValue<Mock, Vec<Balance>, ValueQuery>;
/// Accounts that lost everything in escrow.
#[storage_alias]
pub(crate) type Forfeits = StorageValue<Mock, Vec<AccountId>, ValueQuery>;

/// Payouts that are only recorded.
pub struct Payments;

impl traits::Payouts<AccountId> for Payments {
    fn emit_round(round: RoundNumber, time: Range<BlockNumber>, updates: u32) {
        Paid::mutate(|paid| paid.push((round, time.end - time.start, updates)));
    }

    fn record_settlement(
        round: RoundNumber,
        improved: bool,
        earned: &[(AccountId, RoundEarnings)],
    ) {
        if improved {
            Improved::mutate(|rounds| rounds.push(round));
        }
        Earnings::mutate(|earnings| earnings.push((round, earned.to_vec())));
    }

    fn pot_account() -> AccountId {
        POT
    }

    fn burn_fine(amount: Balance) {
        Fines::mutate(|fines| fines.push(amount));
    }

    fn forfeit(account: &AccountId) {
        Forfeits::mutate(|forfeits| forfeits.push(*account));
    }
}

/// Forgery of the states that a trainer commits to: additional steps in every segment, and the
/// change of its error feedback in each.
#[storage_alias]
pub(crate) type Forged = StorageMap<Mock, Blake2_128Concat, AccountId, (u64, u8), ValueQuery>;

/// Number of blocks that a draw waits for the beacon.
pub(crate) const PATIENCE: u32 = 6;
/// Account that receives fines.
pub(crate) const POT: AccountId = 99;
/// Providers of even and odd shards.
pub(crate) const PROVIDERS: [AccountId; 2] = [21, 22];
/// Bonus of all data.
pub(crate) const BONUS: Ppm = 900_000;
/// Trainers are 1 to 9, with a bond of 10.
pub(crate) const TRAINERS: core::ops::RangeInclusive<AccountId> = 1..=9;
/// Validators with 34, 33 and 33 of 100. A quorum needs the first and any other.
pub(crate) const VALIDATORS: [(AccountId, Balance); 3] = [(11, 34), (12, 33), (13, 33)];
/// Number of shards in the pool.
pub(crate) const SHARDS: u32 = 1_000;

pub(crate) const LENGTHS: RoundConfig =
    RoundConfig { join: 3, train: 20, reveal: 5, hold: 6, attest: 10, pause: 5, missed: 3 };

/// Two seats, which make a quorum only together; all three validators in the second draw.
pub(crate) const AUDITS: AuditConfig = AuditConfig {
    seats: 2,
    more_seats: 3,
    segments: 1,
    probe: 3,
    mix: 0,
    serve: 5,
    replay: 10,
    open: 4,
    reveal: 6,
    escrow: 2,
};

/// Returns a recipe of four segments of two steps, in which a mobile's lease lasts two rounds.
pub(crate) fn recipe() -> pol_primitives::recipe::Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 8, cadence: 1 };
    pol_primitives::recipe::Recipe {
        model: ModelSpec::gpt2(512, 64, 2, 2, 256, 64),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 64,
        shard_tokens: 1_024,
        tiers: [TierParameters { micro_batch: 4, cadence: 2, ..tier }, tier, tier, tier],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 20,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: 4,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}

/// Returns the same recipe under the native profile, with a tolerance of 1 %.
pub(crate) fn native_recipe() -> pol_primitives::recipe::Recipe {
    pol_primitives::recipe::Recipe { numerics: Numerics::Native { tolerance: 10_000 }, ..recipe() }
}

/// Returns a chain before its first block, with this genesis recipe.
pub(crate) fn chain(recipe: Option<pol_primitives::recipe::Recipe>) -> TestExternalities {
    let genesis = RuntimeGenesisConfig {
        learning: GenesisConfig { lengths: LENGTHS, audits: AUDITS, recipe, ..Default::default() },
        ..Default::default()
    };
    let mut chain = TestExternalities::from(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        TRAINERS.for_each(|account| Trainers::insert(account, 10));
        VALIDATORS.into_iter().for_each(|(account, stake)| Validators::insert(account, stake));
        FreeShards::put(
            (0..SHARDS).map(|index| ShardId { manifest: 0, index }).collect::<Vec<_>>(),
        );
    });
    chain
}

/// Runs `test` on a new chain, then checks the pallet's invariants.
pub(crate) fn on_chain(recipe: Option<pol_primitives::recipe::Recipe>, test: impl FnOnce()) {
    chain(recipe).execute_with(|| {
        test();
        assert_ok!(Learning::do_try_state());
    });
}

/// Runs `test` in the first block of round one.
pub(crate) fn in_round_one(test: impl FnOnce()) {
    on_chain(Some(recipe()), || {
        to_round_one();
        test();
    });
}

/// Runs `test` in the first block of round one under [`native_recipe`].
pub(crate) fn natively(test: impl FnOnce()) {
    on_chain(Some(native_recipe()), || {
        to_round_one();
        test();
    });
}

fn to_round_one() {
    run(1);
    attest_initial();
    run(1);
    assert_eq!((round().number, round().phase), (1, Phase::Train));
}

/// Produces `blocks` blocks.
pub(crate) fn run(blocks: u32) {
    for _ in 0..blocks {
        Learning::on_finalize(System::block_number());
        let now = System::block_number() + 1;
        System::set_block_number(now);
        Learning::on_initialize(now);
    }
}

/// Produces blocks until the round is in `phase`.
pub(crate) fn run_until(phase: Phase) {
    for _ in 0..100 {
        if round().phase == phase {
            return;
        }
        run(1);
    }
    panic!("no {phase:?} within 100 blocks: {:?}", round());
}

pub(crate) fn round() -> Round {
    CurrentRound::<Test>::get()
}

pub(crate) fn head() -> pol_primitives::head::Head {
    CurrentHead::<Test>::get().unwrap()
}

pub(crate) fn lease_of(account: AccountId) -> Lease {
    Leases::<Test>::get(account).unwrap()
}

pub(crate) fn signed(account: AccountId) -> RuntimeOrigin {
    RuntimeOrigin::signed(account)
}

/// Drops the weight of a call from its result.
pub(crate) fn weightless(result: DispatchResultWithPostInfo) -> DispatchResult {
    result.map(drop).map_err(|failed| failed.error)
}

/// Asserts that this event was deposited.
#[track_caller]
pub(crate) fn assert_event(event: Event<Test>) {
    System::assert_has_event(event.into());
}

/// Lets a validator attest `root` as the next head of the round under way.
pub(crate) fn attest(validator: AccountId, root: Hash) -> DispatchResultWithPostInfo {
    let Round { number, inputs, .. } = round();
    Learning::attest_head(signed(validator), number, inputs, root)
}

/// Lets a validator attest the head of a past round.
pub(crate) fn attest_late(
    validator: AccountId,
    number: RoundNumber,
    root: Hash,
) -> DispatchResultWithPostInfo {
    Learning::attest_head(signed(validator), number, Hash::default(), root)
}

/// Lets the first two validators attest the initial model.
pub(crate) fn attest_initial() {
    for validator in [11, 12] {
        assert_ok!(attest(validator, [3; 32]));
    }
}

/// Lets a validator report these reveals of the round under way.
pub(crate) fn report(validator: AccountId, held: &[u8]) -> DispatchResult {
    Learning::report_held(signed(validator), round().number, included(held))
}

/// Returns the carry of `account` after its lease number `nonce`.
fn carry_after(account: AccountId, nonce: u32) -> Carry {
    let of = |part: &[u8]| pol_primitives::digest(part, &(account, nonce));
    Carry {
        first_moment: of(b"first"),
        second_moment: of(b"second"),
        feedback: of(b"feedback"),
        steps: u64::from(nonce) + 1,
    }
}

/// Returns the states at the boundaries of the segments that `account` trains of `lease`, from its
/// base to the last.
pub(crate) fn states(account: AccountId, lease: &Lease, segments: u16) -> Vec<TraceState> {
    let earlier = (0..lease.nonce)
        .map(|nonce| carry_after(account, nonce))
        .find(|carry| carry.hash() == lease.carry);
    let base = TraceState { leaf: 0, root: lease.base_root, carry: earlier.unwrap_or_default() };
    let after = |leaf: u16| {
        let root = pol_primitives::digest(b"parameters", &(account, lease.nonce, leaf));
        let (extra, turned) = Forged::get(account);
        let mut carry = carry_after(account, lease.nonce);
        carry.steps = u64::from(leaf) * (u64::from(recipe().steps_per_segment(lease.tier)) + extra);
        carry.feedback[0] ^= turned * leaf as u8;
        TraceState { leaf, root, carry }
    };
    core::iter::once(base).chain((1..=segments).map(after)).collect()
}

/// Returns the reveal of `account`'s lease after training `segments` of it.
pub(crate) fn work(account: AccountId, segments: u16) -> Reveal {
    let lease = lease_of(account);
    let of = |part: &str| pol_primitives::digest(part.as_bytes(), &(account, lease.nonce));
    let leaves: Vec<Hash> =
        states(account, &lease, segments).iter().map(TraceState::digest).collect();
    Reveal {
        payload_hash: of("payload"),
        trace_root: merkle_root(&leaves),
        carry_hash: carry_after(account, lease.nonce).hash(),
        steps: segments * recipe().steps_per_segment(lease.tier),
        first_leaf: merkle_proof(&leaves, 0).unwrap(),
        salt: of("salt"),
    }
}

/// Returns `account`'s commitment to `reveal` in the round under way.
pub(crate) fn commitment(account: AccountId, reveal: &Reveal) -> Hash {
    let genesis = System::block_hash(0).0;
    reveal.commitment(&account.encode(), &genesis, round().number)
}

pub(crate) fn join(account: AccountId) {
    assert_ok!(Learning::join_round(signed(account), Tier::Participant));
}

/// Commits `account` to a full lease.
pub(crate) fn commit(account: AccountId) -> Reveal {
    let reveal = work(account, 4);
    assert_ok!(Learning::commit(
        signed(account),
        round().number,
        commitment(account, &reveal),
        TrainingClaims::default()
    ));
    reveal
}

/// Takes the round under way from joining to attesting a head of the full leases of `accounts`,
/// whose reveals have the order of `accounts`.
pub(crate) fn train(accounts: &[AccountId]) {
    train_to_hold(accounts);
    hold(&(0..accounts.len() as u8).collect::<Vec<_>>());
}

/// Lets all validators report these reveals, and begins to attest the head that includes them.
pub(crate) fn hold(indices: &[u8]) {
    for validator in Validators::iter_keys().collect::<Vec<_>>() {
        assert_ok!(report(validator, indices));
    }
    run_until(Phase::Attest);
    assert_eq!(round().included, included(indices));
}

/// Takes the round under way from joining to the reports of what is held, as [`train`] does.
pub(crate) fn train_to_hold(accounts: &[AccountId]) {
    accounts.iter().for_each(|&account| join(account));
    let reveals: Vec<_> = accounts.iter().map(|&account| (account, commit(account))).collect();
    run_until(Phase::Reveal);
    for (account, reveal) in reveals {
        assert_ok!(Learning::reveal(signed(account), round().number, reveal));
    }
    run_until(Phase::Hold);
}

pub(crate) fn included(indices: &[u8]) -> RevealSet {
    RevealSet::from_indices(indices.iter().copied())
}

/// Lets the first two validators adopt a head of the included reveals.
pub(crate) fn adopt(root: Hash) {
    let number = round().number;
    for validator in [11, 12] {
        assert_ok!(attest(validator, root));
    }
    assert_eq!(head().round, number);
}
