//! A chain of this pallet alone, with stakes, data and payouts that the tests control.
//!
//! What the stand-ins know lies in storage, so that a refused call undoes their part as well.

use crate as pallet_proof_of_learning;
use crate::{pallet::*, weights::SubstrateWeight};
use codec::Encode;
use pol_primitives::{
    Balance, BoundedVec, Hash, MILLION, Ppm, RoundNumber,
    audit::{
        Audit, AuditConfig, AuditId, Evidence, Finding, Measure, OpenedEnd, Served, ServedState,
        Stage, evidence_commitment,
    },
    data::ShardId,
    lease::Lease,
    model::ModelSpec,
    prf::Prf,
    recipe::{AdamW, Compression, Numerics, Schedule, Tier, TierParameters},
    rewards::Earned,
    round::{Phase, RoundConfig},
    submission::{Claims, Included, Reveal},
    trace::{Carry, merkle_proof, merkle_root},
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
    pub const InvalidPenalty: Balance = 8;
    pub const WithheldPenalty: Balance = 4;
    pub const SeatPenalty: Balance = 5;
    pub const SeatStrikes: u32 = 3;
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
    type InvalidPenalty = InvalidPenalty;
    type WithheldPenalty = WithheldPenalty;
    type SeatPenalty = SeatPenalty;
    type SeatStrikes = SeatStrikes;
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
/// How updates ended, as their trainers' reputation is told.
#[storage_alias]
pub type Trainings = StorageValue<Mock, Vec<(AccountId, bool)>, ValueQuery>;
/// Seats in a row in which a validator was silent or wrong.
#[storage_alias]
pub type Strikes = StorageMap<Mock, Blake2_128Concat, AccountId, u32, ValueQuery>;

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

    fn seize(account: &AccountId, amount: Balance, to: &AccountId) -> Balance {
        assert_eq!(*to, POT);
        let bond = |bond: &mut Option<Balance>| {
            let taken = bond.unwrap_or(0).min(amount);
            *bond = bond.map(|bond| bond - taken);
            taken
        };
        if Validators::contains_key(account) {
            Validators::mutate(account, bond)
        } else {
            Trainers::mutate(account, bond)
        }
    }

    fn stakes() -> Vec<(AccountId, Balance)> {
        let mut stakes: Vec<_> = Validators::iter().collect();
        stakes.sort_unstable();
        stakes
    }

    fn note_training(account: &AccountId, accepted: bool) {
        Trainings::mutate(|trainings| trainings.push((*account, accepted)));
    }

    fn note_seat(account: &AccountId, right: bool) -> u32 {
        Strikes::mutate(account, |strikes| {
            *strikes = if right { 0 } else { *strikes + 1 };
            *strikes
        })
    }
}

/// Shards nobody has, drawn by the stream.
#[storage_alias]
pub type FreeShards = StorageValue<Mock, Vec<ShardId>, ValueQuery>;
#[storage_alias]
pub type Consumed = StorageValue<Mock, Vec<(ShardId, RoundNumber, u8, i32)>, ValueQuery>;

/// A pool of one manifest.
pub struct Shards;

impl traits::ShardPool<AccountId> for Shards {
    fn free() -> u32 {
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

    /// Even ones are one provider's, odd ones the other's.
    fn owners(shards: &[ShardId]) -> Vec<(AccountId, u32)> {
        let of = |parity| shards.iter().filter(|shard| shard.index % 2 == parity).count() as u32;
        PROVIDERS.into_iter().zip([of(0), of(1)]).filter(|(_, count)| *count > 0).collect()
    }

    fn bonus(_: &[ShardId]) -> Ppm {
        BONUS
    }
}

/// Rounds that were paid for, and their updates.
#[storage_alias]
pub type Paid = StorageValue<Mock, Vec<(RoundNumber, u32)>, ValueQuery>;
/// Settled updates: the round of each, and what was earned by it.
#[storage_alias]
pub type Earnings = StorageValue<Mock, Vec<(RoundNumber, Vec<(AccountId, Earned)>)>, ValueQuery>;
/// Fines, and who proved them.
#[storage_alias]
pub type Fines = StorageValue<Mock, Vec<(Balance, Vec<AccountId>)>, ValueQuery>;
/// Who lost everything in escrow, and who proved it.
#[storage_alias]
pub type Forfeits = StorageValue<Mock, Vec<(AccountId, Vec<AccountId>)>, ValueQuery>;

/// Payouts that are only noted.
pub struct Payments;

impl traits::Payouts<AccountId> for Payments {
    fn round_concluded(round: RoundNumber, updates: u32) {
        Paid::mutate(|paid| paid.push((round, updates)));
    }

    fn settled(round: RoundNumber, earned: &[(AccountId, Earned)]) {
        Earnings::mutate(|earnings| earnings.push((round, earned.to_vec())));
    }

    fn pot() -> AccountId {
        POT
    }

    fn fined(amount: Balance, provers: &[AccountId]) {
        Fines::mutate(|fines| fines.push((amount, sorted(provers))));
    }

    fn forfeit(account: &AccountId, provers: &[AccountId]) {
        Forfeits::mutate(|forfeits| forfeits.push((*account, sorted(provers))));
    }
}

fn sorted(accounts: &[AccountId]) -> Vec<AccountId> {
    let mut accounts = accounts.to_vec();
    accounts.sort_unstable();
    accounts
}

/// What a trainer does to the states it commits to: steps more in every segment, and what its error
/// feedback changes by in each.
#[storage_alias]
pub type Forged = StorageMap<Mock, Blake2_128Concat, AccountId, (u64, u8), ValueQuery>;

/// Where fines go.
pub const POT: AccountId = 99;
/// Providers of even and odd shards.
pub const PROVIDERS: [AccountId; 2] = [21, 22];
/// What all data is worth.
pub const BONUS: Ppm = 900_000;
/// Trainers are 1 to 9, with a bond of 10.
pub const TRAINERS: core::ops::RangeInclusive<AccountId> = 1..=9;
/// Validators with 34, 33 and 33 of 100: the first is needed for a quorum, and any other makes one
/// with it.
pub const VALIDATORS: [(AccountId, Balance); 3] = [(11, 34), (12, 33), (13, 33)];
/// Shards in the pool.
pub const SHARDS: u32 = 1_000;

pub const LENGTHS: RoundConfig =
    RoundConfig { join: 3, train: 20, reveal: 5, attest: 10, lead: 5, missed: 3 };

/// Two seats, both of which a quorum needs; in the second draw all three validators.
pub const AUDITS: AuditConfig = AuditConfig {
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

/// A recipe of four segments of two steps and ten shards a lease; a mobile's lease lives two
/// rounds.
pub fn recipe() -> pol_primitives::recipe::Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 8, cadence: 1 };
    pol_primitives::recipe::Recipe {
        model: ModelSpec::gpt2(512, 64, 2, 2, 256, 64),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        rewrite: None,
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

/// The same recipe under the native profile, with a tolerance of 1 %.
pub fn native_recipe() -> pol_primitives::recipe::Recipe {
    pol_primitives::recipe::Recipe { numerics: Numerics::Native { tolerance: 10_000 }, ..recipe() }
}

/// A chain before its first block, with this genesis recipe.
pub fn chain(recipe: Option<pol_primitives::recipe::Recipe>) -> TestExternalities {
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
        to_round_one();
        test();
    });
}

/// The same, under [`native_recipe`].
pub fn natively(test: impl FnOnce()) {
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

/// What `account` carries after its lease number `nonce`.
fn carry_after(account: AccountId, nonce: u32) -> Carry {
    let of = |part: &[u8]| pol_primitives::digest(part, &(account, nonce));
    Carry {
        first_moment: of(b"first"),
        second_moment: of(b"second"),
        feedback: of(b"feedback"),
        steps: u64::from(nonce) + 1,
    }
}

/// The states at the boundaries of the segments that `account` trains of `lease`, from its base to
/// the last.
pub fn states(account: AccountId, lease: &Lease, segments: u16) -> Vec<ServedState> {
    let earlier = (0..lease.nonce)
        .map(|nonce| carry_after(account, nonce))
        .find(|carry| carry.hash() == lease.carry);
    let base = ServedState { leaf: 0, root: lease.base_root, carry: earlier.unwrap_or_default() };
    let after = |leaf: u16| {
        let root = pol_primitives::digest(b"parameters", &(account, lease.nonce, leaf));
        let (extra, turned) = Forged::get(account);
        let mut carry = carry_after(account, lease.nonce);
        carry.steps = u64::from(leaf) * (u64::from(recipe().steps_per_segment(lease.tier)) + extra);
        carry.feedback[0] ^= turned * leaf as u8;
        ServedState { leaf, root, carry }
    };
    core::iter::once(base).chain((1..=segments).map(after)).collect()
}

/// What the trainer of `account`'s lease opens after training `segments` of it.
pub fn work(account: AccountId, segments: u16) -> Reveal {
    let lease = lease_of(account);
    let of = |part: &str| pol_primitives::digest(part.as_bytes(), &(account, lease.nonce));
    let leaves: Vec<Hash> =
        states(account, &lease, segments).iter().map(ServedState::digest).collect();
    Reveal {
        payload_hash: of("payload"),
        trace_root: merkle_root(&leaves),
        carry_hash: carry_after(account, lease.nonce).hash(),
        steps: segments * recipe().steps_per_segment(lease.tier),
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
    assert_ok!(Learning::commit(
        signed(account),
        round().number,
        commitment(account, &reveal),
        Claims::default()
    ));
    reveal
}

/// Takes the round under way from joining to attesting, with full leases of `accounts`; each is
/// index i of the reveals.
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

// ---------------------------------------------------------------- audits

pub fn audit(id: AuditId) -> Audit<AccountId> {
    Learning::audits().into_iter().find(|(other, _)| *other == id).unwrap().1
}

/// The case of `trainer`, its place, and the lease that it is about.
pub fn case(
    id: AuditId,
    trainer: AccountId,
) -> (pol_primitives::audit::Case<AccountId>, u8, Lease) {
    let audit = audit(id);
    let at = audit.cases.iter().position(|case| case.trainer == trainer).unwrap();
    (audit.cases[at].clone(), at as u8, Learning::audited_lease(audit.round, &trainer).unwrap())
}

/// The validators with seats on `trainer`'s case.
pub fn panel(id: AuditId, trainer: AccountId) -> Vec<AccountId> {
    let audit = audit(id);
    let seats = &audit.case(&trainer).unwrap().seats;
    sorted(&seats.iter().map(|&seat| audit.holders[usize::from(seat)].account).collect::<Vec<_>>())
}

/// The states that an honest `trainer` shows.
pub fn served(id: AuditId, trainer: AccountId) -> Vec<Served> {
    let (case, _, lease) = case(id, trainer);
    let states = states(trainer, &lease, case.of);
    let leaves: Vec<Hash> = states.iter().map(ServedState::digest).collect();
    let serve = |leaf: u16| Served {
        state: states[usize::from(leaf)],
        proof: merkle_proof(&leaves, leaf.into()).unwrap(),
    };
    case.served_leaves().into_iter().map(serve).collect()
}

/// The ends that an honest `trainer` opens.
pub fn ends(id: AuditId, trainer: AccountId) -> Vec<OpenedEnd> {
    let (case, _, lease) = case(id, trainer);
    let leaves: Vec<Hash> =
        states(trainer, &lease, case.of).iter().map(ServedState::digest).collect();
    let open = |leaf: u16| OpenedEnd {
        digest: leaves[usize::from(leaf)],
        proof: merkle_proof(&leaves, leaf.into()).unwrap(),
    };
    case.opened_leaves().into_iter().map(open).collect()
}

/// What a seat measures of an honest update.
pub fn measure(shards: usize) -> Measure {
    let shards = (0..shards).map(|at| 100 + at as i32).collect::<Vec<_>>();
    Measure {
        gain: 1_000,
        error: 200,
        own: 1_500,
        quality: 800_000,
        shards: BoundedVec::try_from(shards).unwrap(),
    }
}

/// What an honest seat finds about an honest update.
pub fn finding(id: AuditId, trainer: AccountId) -> Finding {
    let shards = case(id, trainer).2.shards.len();
    let ends = ends(id, trainer).into_iter().map(|end| end.digest).collect::<Vec<_>>();
    Finding::Replayed {
        ends: BoundedVec::try_from(ends).unwrap(),
        packed: true,
        measure: measure(shards),
    }
}

/// What everybody who replays a dishonest update finds.
pub fn other(id: AuditId, trainer: AccountId) -> Finding {
    match finding(id, trainer) {
        Finding::Replayed { packed, measure, ends } => {
            let ends = ends.iter().map(|_| [0xba; 32]).collect::<Vec<_>>();
            Finding::Replayed { packed, measure, ends: BoundedVec::try_from(ends).unwrap() }
        }
        other => other,
    }
}

/// The evidence of `validator`, with `find` saying what it found about each trainer's update.
pub fn evidence(id: AuditId, validator: AccountId, find: Find) -> Evidence {
    let audit = audit(id);
    let findings = audit.seats_of(&validator).map(|(at, case)| {
        (at, find(validator, case.trainer).unwrap_or_else(|| finding(id, case.trainer)))
    });
    BoundedVec::try_from(findings.collect::<Vec<_>>()).unwrap()
}

pub fn hide(id: AuditId, validator: AccountId, evidence: &Evidence) -> Hash {
    let genesis = System::block_hash(0).0;
    evidence_commitment(&validator.encode(), &genesis, id, evidence, &SALT)
}

/// What hides all evidence here.
pub const SALT: Hash = [6; 32];

/// Lets the trainers of open cases show their states.
pub fn serve(id: AuditId, trainers: &[AccountId]) {
    for &trainer in trainers {
        let states = BoundedVec::try_from(served(id, trainer)).unwrap();
        assert_ok!(Learning::serve_states(signed(trainer), id, states));
    }
}

/// Lets trainers open the ends of their drawn segments.
pub fn open(id: AuditId, trainers: &[AccountId]) {
    for &trainer in trainers {
        let ends = BoundedVec::try_from(ends(id, trainer)).unwrap();
        assert_ok!(Learning::open_segments(signed(trainer), id, ends));
    }
}

/// What validators find: none for what is right about an honest update.
pub type Find<'a> = &'a dyn Fn(AccountId, AccountId) -> Option<Finding>;

/// Everybody finds what an honest trainer did.
pub const HONEST: Find<'static> = &|_, _| None;

/// Takes an audit from its draw to settling: trainers do all that is asked, and validators find
/// what `find` says.
pub fn examine(id: AuditId, find: Find) {
    let trainers: Vec<_> = audit(id).cases.iter().map(|case| case.trainer).collect();
    let holders: Vec<_> = audit(id).holders.iter().map(|holder| holder.account).collect();
    serve(id, &trainers);
    for &holder in &holders {
        let hidden = hide(id, holder, &evidence(id, holder, find));
        assert_ok!(Learning::commit_audit(signed(holder), id, hidden));
    }
    open(id, &trainers);
    for &holder in &holders {
        assert_ok!(Learning::reveal_audit(signed(holder), id, evidence(id, holder, find), SALT));
    }
    assert_eq!(audit(id).stage, Stage::Settle);
}

/// Trains a round of `accounts`, includes all, and lets the next block draw their audit; returns
/// its number.
pub fn audited(accounts: &[AccountId]) -> AuditId {
    train(accounts);
    let root = [round().number as u8 + 10; 32];
    adopt(root, &(0..accounts.len() as u8).collect::<Vec<_>>());
    run(1);
    NextAudit::<Test>::get() - 1
}

pub fn settle(id: AuditId, trainer: AccountId) {
    assert_ok!(Learning::settle(signed(9), id, trainer));
}

/// What is kept of `trainer`'s submission to `round`.
pub fn kept(round: RoundNumber, trainer: AccountId) -> pol_primitives::submission::Settled {
    History::<Test>::get(round, trainer).unwrap()
}
