// SPDX-License-Identifier: Apache-2.0

//! Load test: fills an index with made rounds, and measures every query on it.
//!
//! ```sh
//! cargo run --release -p pol-index --example load -- 100000 /tmp/load.db
//! ```
//!
//! The arguments are the number of rounds and the database: a file for SQLite, or the URL of an
//! empty PostgreSQL database. An index with blocks is measured as it is. The program fails if the
//! 95th percentile of a query is 50 ms or more.

use pol_chain::{AccountId, BlockInfo};
use pol_index::{
    BlockFacts, Index, IndexError, Order, Position, Range, Updates,
    facts::*,
    lookups::{self, *},
};
use pol_primitives::{
    Balance, POL,
    data::{ShardId, SourceKind},
    lineage::Activity,
    member::Role,
    recipe::Tier,
    round::Phase,
    submission::Outcome,
};
use std::time::{Duration, Instant};

/// Blocks of a round.
const BLOCKS: u32 = 10;
/// Time between two blocks, in milliseconds.
const BLOCK_TIME: u64 = 3_000;
/// Rounds of one transaction.
const ROUNDS_AT_ONCE: u32 = 50;
/// Updates of a round.
const UPDATES: u32 = 3;
/// Trainers, of which some take part in each round.
const TRAINERS: u32 = 12;
/// Validators, each of which takes part in each round.
const VALIDATORS: u32 = 4;
/// Shards of an update.
const SHARDS: u32 = 4;
/// Shards of a manifest.
const MANIFEST_SHARDS: u32 = 10_000;
/// Times that each query is made.
const TIMES: usize = 200;
/// Largest 95th percentile.
const LIMIT: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments.next().ok_or("give the number of rounds")?.parse()?;
    let address = arguments.next().ok_or("give a file or the URL of a database")?;
    let index = Index::open(&address).await?;
    if index.last_block().await?.is_none() {
        fill(&index, rounds).await?;
    }
    let slowest = measure_all(&index, rounds).await?;
    println!("slowest 95th percentile: {slowest:.1?}");
    if slowest < LIMIT { Ok(()) } else { Err(format!("{slowest:.1?} is not under 50 ms").into()) }
}

// ---- Made rounds ----

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    /// Returns a number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let high = self.0 >> 33;
        u32::try_from(high % u64::from(end.max(1))).unwrap_or(0)
    }
}

fn hash(number: u64) -> [u8; 32] {
    let mut hash = [0x5a; 32];
    hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    hash[24..].copy_from_slice(&number.to_be_bytes());
    hash
}

fn trainer(number: u32) -> AccountId {
    hash(1_000_000_000 + u64::from(number % TRAINERS))
}

fn validator(number: u32) -> AccountId {
    hash(2_000_000_000 + u64::from(number % VALIDATORS))
}

fn provider() -> AccountId {
    hash(3_000_000_000)
}

fn block_hash(number: u32) -> [u8; 32] {
    hash(4_000_000_000 + u64::from(number))
}

/// Returns an empty block.
fn block(number: u32) -> BlockFacts {
    let parent = number.checked_sub(1).map_or([0; 32], block_hash);
    let block = BlockInfo { number, hash: block_hash(number) };
    BlockFacts::new(block, parent, u64::from(number) * BLOCK_TIME, Some(validator(number)))
}

async fn fill(index: &Index, rounds: u32) -> Result<(), IndexError> {
    let start = Instant::now();
    let (mut first, mut rows) = (0, 0);
    while first < rounds {
        let end = rounds.min(first + ROUNDS_AT_ONCE);
        let blocks: Vec<_> = (first..end).flat_map(round).collect();
        rows += blocks.iter().map(BlockFacts::len).sum::<usize>();
        index.apply(&blocks).await?;
        if end % 10_000 < ROUNDS_AT_ONCE {
            println!("{end} rounds, {rows} facts, {:.0?}", start.elapsed());
        }
        first = end;
    }
    let last = rounds.saturating_mul(BLOCKS).saturating_sub(1);
    index.finalise(last).await
}

/// Returns the blocks of a round.
fn round(round: u32) -> Vec<BlockFacts> {
    let mut blocks: Vec<_> = (0..BLOCKS).map(|at| block(round * BLOCKS + at)).collect();
    let [start, lease, commit, reveal, held, attest, head, audit, settle, claim] = &mut blocks[..]
    else {
        return blocks;
    };
    if round.is_multiple_of(MANIFEST_SHARDS / (UPDATES * SHARDS)) {
        register(start, round);
    }
    let phases = [Phase::Idle, Phase::Train, Phase::Reveal, Phase::Hold, Phase::Attest];
    for (block, phase) in
        [&mut *start, &mut *lease, &mut *reveal, &mut *held, &mut *attest].into_iter().zip(phases)
    {
        block.push(&PhaseStart { round, phase, deadline: Some(round * BLOCKS + 20) });
    }
    for number in 0..UPDATES {
        let account = trainer(round + number);
        update(round, account, number, [&mut *lease, &mut *commit, &mut *reveal, &mut *settle]);
    }
    for number in 0..VALIDATORS {
        let account = validator(number);
        vote(held, round, account, VoteKind::Held, "report_held");
        vote(attest, round, account, VoteKind::Attested, "attest_head");
        vote(head, round, account, VoteKind::Measured, "measure_head");
    }
    conclude(head, round);
    audit_round(round, audit, settle);
    reward(round, settle, claim);
    blocks
}

/// Adds an extrinsic with its fee.
fn call(block: &mut BlockFacts, signer: AccountId, pallet: &str, call: &str) {
    let number = u32::try_from(block.len()).unwrap_or(0);
    block.push(&Extrinsic {
        number,
        hash: hash(u64::from(block.block.number) << 20 | u64::from(number)),
        signer: Some(signer),
        nonce: Some(block.block.number.into()),
        pallet: pallet.to_owned(),
        call: call.to_owned(),
        fee: 123_456_789,
        tip: 0,
        failure: None,
    });
    let free = 1_000 * POL + Balance::from(block.block.number);
    block.push(&AccountState { account: signer, free, held: 5_000 * POL, frozen: 0 });
}

/// Registers a source with a manifest.
fn register(block: &mut BlockFacts, round: u32) {
    let number = manifest_of(round);
    let (owner, address) = (provider(), format!("https://example.org/{number}"));
    let licence = "CC-BY-4.0".to_owned();
    block.push(&SourceState { source: number, owner, address, licence, withdrawn: false });
    block.push(&ManifestState {
        manifest: number,
        source: number,
        owner,
        stage: ManifestStage::Admitted,
        kind: Some(SourceKind::Web),
        shards: MANIFEST_SHARDS,
        shard_tokens: 4_096,
        held_out: false,
        quality: 900_000,
        activity: Activity::Collection,
        content: hash(number.into()),
        tokenizer: hash(7),
        documents: Some(hash(u64::from(number) + 1)),
        registered: round,
    });
    if let Some(parent) = number.checked_sub(1) {
        block.push(&DerivedFrom { parent, child: number });
    }
    for number in 0..VALIDATORS + TRAINERS {
        let (account, role) = match number.checked_sub(VALIDATORS) {
            Some(number) => (trainer(number), Role::Trainer),
            None => (validator(number), Role::Authority),
        };
        block.push(&MemberState {
            account,
            role: Some(role),
            bond: 10_000 * POL,
            stake: Some(10_000 * POL),
            bonded: true,
            chilled: false,
            absent: false,
            endpoint: None,
        });
    }
}

fn manifest_of(round: u32) -> u32 {
    round / (MANIFEST_SHARDS / (UPDATES * SHARDS))
}

/// Adds the story of an update.
fn update(round: u32, account: AccountId, number: u32, blocks: [&mut BlockFacts; 4]) {
    let [lease, commit, reveal, settle] = blocks;
    let manifest = manifest_of(round);
    let rounds = MANIFEST_SHARDS / (UPDATES * SHARDS);
    let first = (round % rounds * UPDATES + number) * SHARDS;
    let shards: Vec<_> = (first..first + SHARDS).map(|index| ShardId { manifest, index }).collect();
    call(lease, account, "ProofOfLearning", "join_round");
    lease.push(&Lease {
        round,
        account,
        granted: round,
        tier: Tier::Miner,
        shards: shards.clone(),
    });
    call(commit, account, "ProofOfLearning", "commit");
    let (first_loss, last_loss) = (4_000_000, 3_900_000);
    commit.push(&Commit { round, account, first_loss, last_loss, tokens_per_second: 700 });
    call(reveal, account, "ProofOfLearning", "reveal");
    let payload = hash(u64::from(round) << 8 | u64::from(number));
    let index = u8::try_from(number).unwrap_or(0);
    reveal.push(&Reveal { round, account, number: index, payload, steps: 20, tokens: 65_536 });
    settle.push(&Settlement {
        round,
        account,
        outcome: Some(Outcome::Valid),
        audit: Some(round),
        score: 1_500,
        gain: 1_500_000,
        tokens: 65_536,
        staleness: 0,
    });
    for ShardId { manifest, index: shard } in shards {
        settle.push(&ConsumedShard { manifest, shard, round, account, delta: 120_000 });
    }
    if round.is_multiple_of(20) {
        settle.push(&Penalty {
            account,
            cause: PenaltyCause::Lease,
            round: Some(round),
            audit: None,
            amount: 10 * POL,
            seized: false,
        });
    }
}

fn vote(block: &mut BlockFacts, round: u32, account: AccountId, kind: VoteKind, name: &str) {
    call(block, account, "ProofOfLearning", name);
    let root = (kind == VoteKind::Attested).then(|| hash(round.into()));
    block.push(&Vote { round, account, kind, root });
}

fn conclude(block: &mut BlockFacts, round: u32) {
    block.push(&RoundEnd {
        round,
        opened_at: round * BLOCKS,
        revealed: UPDATES,
        included: UPDATES,
        excised: 0,
        root: Some(hash(round.into())),
        recipe: Some(hash(9)),
        lineage: Some(hash(u64::from(round) << 1)),
        tokens: Some(u64::from(round) * 196_608),
    });
    let [trainers, validators, providers, treasury] = [7, 2, 1, 1].map(|part| part * POL);
    block.push(&Emission { round, trainers, validators, providers, treasury });
    block.push(&Measurement {
        round,
        share: 1_000_000,
        loss: 3_900_000,
        level: None,
        self_awareness: Some(300_000),
        auroc: Some(600_000),
        calibration_error: Some(20_000),
        reasoning: None,
        introspection: Some(100_000),
        coherence: None,
        meta_cognition: None,
        utilisation: Some(800_000),
    });
}

/// Adds the story of an audit.
fn audit_round(round: u32, start: &mut BlockFacts, end: &mut BlockFacts) {
    let audit = round;
    let step = |kind, account| AuditStep {
        audit,
        kind,
        account,
        trainer: None,
        outcome: None,
        amount: None,
    };
    start.push(&AuditDraw { audit, round, draw: 0, cases: UPDATES });
    start.push(&step(AuditStepKind::Drawn, None));
    for number in 0..UPDATES {
        let account = trainer(round + number);
        for seat in 0..2 {
            let validator = validator(round + number + seat);
            start.push(&Seat { audit, trainer: account, validator });
        }
        call(start, account, "ProofOfLearning", "serve_states");
        start.push(&step(AuditStepKind::Shown, Some(account)));
        call(end, account, "ProofOfLearning", "open_segments");
        end.push(&step(AuditStepKind::Opened, Some(account)));
        end.push(&AuditStep {
            outcome: Some(Outcome::Valid),
            ..step(AuditStepKind::Settled, Some(account))
        });
    }
    for number in 0..VALIDATORS {
        let account = validator(number);
        call(start, account, "ProofOfLearning", "commit_audit");
        start.push(&step(AuditStepKind::Replayed, Some(account)));
        call(end, account, "ProofOfLearning", "reveal_audit");
        end.push(&step(AuditStepKind::Revealed, Some(account)));
    }
    end.push(&step(AuditStepKind::Ended, None));
}

/// Adds the rewards of a round, and their claims.
fn reward(round: u32, settle: &mut BlockFacts, claim: &mut BlockFacts) {
    let trainers = (0..UPDATES).map(|number| (trainer(round + number), RewardSource::Training));
    let validators = (0..VALIDATORS).map(|number| (validator(number), RewardSource::Seats));
    let provider = [(provider(), RewardSource::Data)];
    settle.push(&SettledRound {
        round,
        unearned: 0,
        trainers: 7 * POL,
        trainers_weight: 3_000_000,
        validators: 2 * POL,
        validators_weight: 4,
        providers: POL,
        providers_weight: 1_440_000,
        improved: true,
    });
    for (account, source) in trainers.chain(validators).chain(provider) {
        let amount = POL + Balance::from(round);
        settle.push(&Reward { round, account, source, weight: 1_000_000, amount });
        call(claim, account, "Rewards", "claim");
        let kind = PaymentKind::Claimed;
        claim.push(&Payment { account: Some(account), kind, round: Some(round), amount });
        let (other, extrinsic) = (Some(hash(8)), Some(1));
        let kind = MovementKind::Received;
        claim.push(&Movement { account, kind, amount, other, extrinsic });
    }
    let emitted = Balance::from(round) * 11 * POL;
    claim.push(&LedgerState { emitted, seized: 0, paid: emitted, burned: 0, waiting: 0 });
}

// ---- Queries ----

/// Measures queries, and returns the slowest 95th percentile.
struct Meter {
    numbers: Numbers,
    rounds: u32,
    slowest: Duration,
}

impl Meter {
    fn round(&mut self) -> u32 {
        self.numbers.below(self.rounds)
    }

    fn account(&mut self) -> AccountId {
        match self.numbers.below(3) {
            0 => provider(),
            1 => validator(self.numbers.below(VALIDATORS)),
            _ => trainer(self.numbers.below(TRAINERS)),
        }
    }

    fn manifest(&mut self) -> u32 {
        let last = manifest_of(self.rounds.saturating_sub(1));
        self.numbers.below(last + 1)
    }

    /// Returns a page of 100 items: the first, or one in the middle.
    fn range(&mut self) -> Range {
        let block = self.round() * BLOCKS;
        let is_first = self.numbers.below(2) == 0;
        let order =
            if self.numbers.below(2) == 0 { Order::NewestFirst } else { Order::OldestFirst };
        Range { order, after: (!is_first).then_some(Position { block, item: 5 }), limit: 100 }
    }

    /// Makes a query many times, and prints the percentiles of its time.
    async fn measure(
        &mut self,
        name: &str,
        mut query: impl AsyncFnMut(&mut Self) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let start = Instant::now();
            query(self).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let at = |percent: usize| times[(TIMES - 1) * percent / 100];
        println!("{name:<58} {:>9.2?} {:>9.2?} {:>9.2?}", at(50), at(95), at(100));
        self.slowest = self.slowest.max(at(95));
        Ok(())
    }
}

/// Measures pages of lookups, whose arguments the meter makes.
macro_rules! pages {
    ($meter:ident, $index:ident: $($lookup:expr;)*) => {$(
        let name = stringify!($lookup).split_whitespace().collect::<String>();
        let make: fn(&mut Meter) -> _ = $lookup;
        $meter
            .measure(&name, async |meter| {
                let (lookup, range) = (make(meter), meter.range());
                $index.page(lookup, range).await.map(drop)
            })
            .await?;
    )*};
}

async fn measure_all(index: &Index, rounds: u32) -> Result<Duration, IndexError> {
    let mut meter = Meter { numbers: Numbers(1), rounds, slowest: Duration::ZERO };
    println!("{:<58} {:>9} {:>9} {:>9}", "query", "median", "95 %", "longest");
    measure_people(&mut meter, index).await?;
    measure_learning(&mut meter, index).await?;
    measure_data_and_money(&mut meter, index).await?;
    measure_reports(&mut meter, index).await?;
    Ok(meter.slowest)
}

async fn measure_people(meter: &mut Meter, index: &Index) -> Result<(), IndexError> {
    pages! { meter, index:
        |_| Extrinsics::All;
        |m| Extrinsics::Signer(m.account());
        |m| Extrinsics::At(m.round() * BLOCKS + 2, 1);
        |m| Extrinsics::Hash(hash(u64::from(m.round() * BLOCKS + 2) << 20));
        |m| Movements::Account(m.account());
        |m| Balances::Account(m.account());
        |_| Members::All;
        |m| Members::Account(m.account());
    }
    Ok(())
}

async fn measure_learning(meter: &mut Meter, index: &Index) -> Result<(), IndexError> {
    pages! { meter, index:
        |_| Phases::All;
        |m| Phases::Round(m.round());
        |_| Rounds::All;
        |m| Rounds::Round(m.round());
        |m| Rounds::Root(hash(m.round().into()));
        |_| Measurements::All;
        |m| Measurements::Round(m.round());
        |m| Votes::Round(m.round());
        |m| Votes::Account(m.account());
        |m| Reveals::Update(m.round(), m.account());
        |_| Settlements::All;
        |m| Settlements::Update(m.round(), m.account());
        |_| Audits::All;
        |m| Audits::Audit(m.round());
        |m| Audits::Round(m.round());
        |m| Seats::Audit(m.round());
        |m| Seats::Validator(m.account());
        |m| Seats::Trainer(m.account());
        |_| AuditSteps::All;
        |m| AuditSteps::Audit(m.round());
        |m| AuditSteps::Account(m.account());
    }
    Ok(())
}

async fn measure_data_and_money(meter: &mut Meter, index: &Index) -> Result<(), IndexError> {
    pages! { meter, index:
        |_| Shards::All;
        |m| Shards::Manifest(m.manifest());
        |m| Shards::Shard(m.manifest(), m.numbers.below(MANIFEST_SHARDS));
        |m| Shards::Round(m.round());
        |m| Shards::Update(m.round(), m.account());
        |m| Shards::Account(m.account());
        |m| Sources::Source(m.manifest());
        |_| Manifests::All;
        |m| Manifests::Manifest(m.manifest());
        |m| Manifests::Source(m.manifest());
        |m| Manifests::Owner(m.account());
        |m| Manifests::Content(hash(m.manifest().into()));
        |m| Manifests::Documents(hash(u64::from(m.manifest()) + 1));
        |m| Derivations::Parent(m.manifest());
        |m| Derivations::Child(m.manifest());
        |_| Emissions::All;
        |m| Emissions::Round(m.round());
        |_| SettledRounds::All;
        |m| SettledRounds::Round(m.round());
        |_| lookups::Rewards::All;
        |m| lookups::Rewards::Account(m.account());
        |m| lookups::Rewards::Round(m.round());
        |m| lookups::Rewards::AccountRound(m.account(), m.round());
        |_| Payments::All;
        |m| Payments::Account(m.account());
        |m| Payments::AccountRound(m.account(), m.round());
        |m| Payments::Round(m.round());
        |m| Payments::Kind(m.account(), PaymentKind::Claimed);
        |_| Penalties::All;
        |m| Penalties::Account(m.account());
        |m| Penalties::Audit(m.round());
        |_| Ledgers::All;
    }
    Ok(())
}

async fn measure_reports(meter: &mut Meter, index: &Index) -> Result<(), IndexError> {
    let of_round = async |meter: &mut Meter| {
        let round = meter.round();
        index.updates(Updates::Round(round), Range::default()).await.map(drop)
    };
    meter.measure("updates of a round", of_round).await?;
    let of_account = async |meter: &mut Meter| {
        let (account, range) = (meter.account(), meter.range());
        index.updates(Updates::Account(account), range).await.map(drop)
    };
    meter.measure("updates of a trainer", of_account).await?;
    let sums = async |meter: &mut Meter| index.reward_sums(&meter.account()).await.map(drop);
    meter.measure("sums of the rewards of an account", sums).await?;
    let used = async |meter: &mut Meter| index.consumption(meter.manifest()).await.map(drop);
    meter.measure("consumption of a manifest", used).await?;
    let each = async |meter: &mut Meter| {
        let rounds: Vec<_> = (0..100).map(|_| SettledRounds::Round(meter.round())).collect();
        index.first_of_each(&rounds, Order::NewestFirst, 1).await.map(drop)
    };
    meter.measure("a hundred settled rounds", each).await?;
    let earnings = async |meter: &mut Meter| {
        let round = meter.round();
        index.earnings(round, round.saturating_add(199)).await.map(drop)
    };
    meter.measure("earnings of 200 rounds", earnings).await?;
    let authors = async |meter: &mut Meter| {
        let last = meter.rounds * BLOCKS;
        index.authors(last.saturating_sub(10_000)).await.map(drop)
    };
    meter.measure("authors of 10,000 blocks", authors).await?;
    let lost = async |meter: &mut Meter| index.penalty_sum(&meter.account()).await.map(drop);
    meter.measure("sum of the penalties of an account", lost).await?;
    let steps = async |meter: &mut Meter| {
        let audits: Vec<_> = (0..100).map(|_| meter.round()).collect();
        index.audit_step_counts(&audits).await.map(drop)
    };
    meter.measure("steps of a hundred audits", steps).await?;
    let balance =
        async |meter: &mut Meter| index.state::<AccountState>(&meter.account()).await.map(drop);
    meter.measure("present balance of an account", balance).await?;
    let members = async |_: &mut Meter| index.states::<MemberState>(None, 100).await.map(drop);
    meter.measure("present members", members).await?;
    let manifests = async |meter: &mut Meter| {
        let after = meter.manifest();
        index.states::<ManifestState>(Some(&after), 100).await.map(drop)
    };
    meter.measure("present manifests", manifests).await?;
    let blocks = async |meter: &mut Meter| {
        let before = meter.round() * BLOCKS;
        index.blocks(Some(before), 100).await.map(drop)
    };
    meter.measure("blocks", blocks).await
}
