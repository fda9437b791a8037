//! Audits: who re-executes which part of an update, what they find, and what follows from it.
//!
//! One [`Audit`] covers the included updates of a round, each as a [`Case`] with some seats. A
//! second, larger draw covers those that the first left undecided. It goes through five stages;
//! each ends as soon as everybody it waits for is done:
//!
//! ```text
//! Serve ──► Replay ──► Open ──► Reveal ──► Settle
//! trainers  seats      trainers seats      anybody
//! show the  re-execute open the open what  lets the chain
//! start     and commit end      they found compare
//! ```
//! An end of a drawn segment is not shown before every seat has committed to what its own replay
//! gave, so the only way to know the right answer in time is to do the work.

use crate::{
    Balance, BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, MILLION, Ppm,
    RoundNumber,
    data::ShardId,
    prf::Prf,
    round::{BlockNumber, is_quorum},
    sketch::{MAX_SKETCHED, Sketch, SketchedEnd},
    trace::{Carry, Proof, state_leaf},
};
use alloc::{collections::BTreeMap, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Number of an audit; counts up.
pub type AuditId = u32;
/// Most seats on one update in one draw.
pub const MAX_SEATS: u32 = 16;
/// Most segments of one update that one draw audits.
pub const MAX_AUDITED: u32 = 4;
/// Most validators that hold a seat in one audit.
pub const MAX_HOLDERS: u32 = MAX_SEATS * MAX_SUBMISSIONS;
/// Most shards that scores are measured on.
pub const MAX_PROBE: u32 = 16;
/// Most states a trainer has to show for one update: a start for each drawn segment, and the final
/// one.
pub const MAX_SERVED: u32 = MAX_AUDITED + 1;
/// Most leaves of a trace that two draws can make known.
pub const MAX_KNOWN: u32 = 2 * (MAX_SERVED + MAX_AUDITED);

/// How much is audited, and how long it may take.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct AuditConfig {
    /// Seats on every included update.
    pub seats: u8,
    /// Seats of the second draw, where the first decided nothing.
    pub more_seats: u8,
    /// Segments of every update that its seats replay.
    pub segments: u8,
    /// Shards that scores are measured on.
    pub probe: u8,
    /// Blocks after the one that included an update whose randomness its draw is made of, besides
    /// that one's. Whoever decides when a head comes about then does not know the draw, unless all
    /// these blocks are its own.
    pub mix: BlockNumber,
    /// Blocks in which trainers show the states that drawn segments start from.
    pub serve: BlockNumber,
    /// Blocks in which seats replay and commit.
    pub replay: BlockNumber,
    /// Blocks in which trainers open the ends.
    pub open: BlockNumber,
    /// Blocks in which seats reveal.
    pub reveal: BlockNumber,
    /// Rounds a reward waits before it can be claimed, and can be lost to a later finding.
    pub escrow: RoundNumber,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            seats: 3,
            more_seats: 7,
            segments: 1,
            probe: 4,
            mix: 8,
            serve: 20,
            replay: 100,
            open: 20,
            reveal: 20,
            escrow: 2,
        }
    }
}

impl AuditConfig {
    /// Whether every number is positive and within the protocol's limits.
    pub fn is_valid(&self) -> bool {
        let within = |value: u8, most: u32| value > 0 && u32::from(value) <= most;
        within(self.seats, MAX_SEATS)
            && within(self.more_seats, MAX_SEATS)
            && self.more_seats > self.seats
            && within(self.segments, MAX_AUDITED)
            && within(self.probe, MAX_PROBE)
            && ![self.serve, self.replay, self.open, self.reveal, self.escrow].contains(&0)
    }

    /// Blocks of `stage`; none for settling, which takes as long as it takes.
    fn blocks(&self, stage: Stage) -> Option<BlockNumber> {
        match stage {
            Stage::Serve => Some(self.serve),
            Stage::Replay => Some(self.replay),
            Stage::Open => Some(self.open),
            Stage::Reveal => Some(self.reveal),
            Stage::Settle => None,
        }
    }
}

/// What an audit waits for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Trainers show the states that their drawn segments start from.
    #[codec(index = 0)]
    #[default]
    Serve,
    /// Seats replay, and commit to what they found.
    #[codec(index = 1)]
    Replay,
    /// Trainers open the ends of their drawn segments.
    #[codec(index = 2)]
    Open,
    /// Seats reveal what they found.
    #[codec(index = 3)]
    Reveal,
    /// Anybody settles the cases.
    #[codec(index = 4)]
    Settle,
}

impl Stage {
    fn next(self) -> Self {
        match self {
            Self::Serve => Self::Replay,
            Self::Replay => Self::Open,
            Self::Open => Self::Reveal,
            Self::Reveal | Self::Settle => Self::Settle,
        }
    }
}

/// A validator with seats in an audit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Holder<AccountId> {
    /// Who.
    pub account: AccountId,
    /// Its stake when the seats were drawn, which its word weighs.
    pub stake: Balance,
    /// Whether it committed to what it found.
    pub committed: bool,
    /// Whether it revealed it.
    pub revealed: bool,
}

/// One update under audit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Case<AccountId> {
    /// Who trained it.
    pub trainer: AccountId,
    /// Its index among the round's reveals.
    pub index: u8,
    /// Segments to replay, ascending.
    pub segments: BoundedVec<u16, ConstU32<MAX_AUDITED>>,
    /// Segments of its trace.
    pub of: u16,
    /// The seats, as places in [`Audit::holders`].
    pub seats: BoundedVec<u16, ConstU32<MAX_SEATS>>,
    /// Whether the trainer showed the starts.
    pub served: bool,
    /// Whether it opened the ends.
    pub opened: bool,
    /// Whether the case is settled.
    pub settled: bool,
}

impl<AccountId> Case<AccountId> {
    /// The leaves of the trace whose states the trainer shows: the start of every run of drawn
    /// segments, and the final state unless the last segment is drawn.
    pub fn served_leaves(&self) -> Vec<u16> {
        let drawn = |segment: u16| self.segments.contains(&segment);
        let starts = self
            .segments
            .iter()
            .copied()
            .filter(|&segment| segment.checked_sub(1).is_none_or(|before| !drawn(before)));
        let last = self.of.checked_sub(1).is_some_and(drawn);
        starts.chain((!last).then_some(self.of)).collect()
    }

    /// The leaves that the trainer opens: the end of every drawn segment.
    pub fn opened_leaves(&self) -> Vec<u16> {
        self.segments.iter().map(|segment| segment.saturating_add(1)).collect()
    }
}

/// An update that waits for its seats to be drawn.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Undrawn<AccountId> {
    /// The round that included it.
    pub round: RoundNumber,
    /// 0 for the first draw, 1 for the second.
    pub draw: u8,
    /// Who trained it.
    pub trainer: AccountId,
    /// Its index among the round's reveals.
    pub index: u8,
    /// Segments of its trace.
    pub segments: u16,
    /// Leaves of its trace that an earlier draw made known: their segments would not be audited
    /// blindly.
    pub known: BoundedVec<u16, ConstU32<MAX_KNOWN>>,
}

/// The audit of a round's updates, or of those that the first draw left undecided.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Audit<AccountId> {
    /// The round that included the updates.
    pub round: RoundNumber,
    /// 0 for the first draw, 1 for the second.
    pub draw: u8,
    /// Randomness fixed later than every commitment of the round.
    pub seed: Hash,
    /// What it waits for.
    pub stage: Stage,
    /// Block in which the stage began.
    pub since: BlockNumber,
    /// Shards nobody was assigned, which scores are measured on; none when the pool was empty, then
    /// held-out text is.
    pub probe: BoundedVec<ShardId, ConstU32<MAX_PROBE>>,
    /// The validators with seats, in account order.
    pub holders: BoundedVec<Holder<AccountId>, ConstU32<MAX_HOLDERS>>,
    /// The updates.
    pub cases: BoundedVec<Case<AccountId>, ConstU32<MAX_SUBMISSIONS>>,
}

impl<AccountId: Encode + Ord + Clone> Audit<AccountId> {
    /// Draws seats and segments for `updates`, all of one round and draw, among validators with
    /// these `stakes`.
    pub fn draw(
        config: &AuditConfig,
        seed: Hash,
        now: BlockNumber,
        updates: &[Undrawn<AccountId>],
        stakes: &[(AccountId, Balance)],
        probe: Vec<ShardId>,
    ) -> Self {
        let (round, draw) = updates.first().map_or((0, 0), |first| (first.round, first.draw));
        let count = if draw == 0 { config.seats } else { config.more_seats };
        let drawn: Vec<Vec<usize>> = updates
            .iter()
            .map(|update| draw_seats(&seed, &update.trainer, stakes, count.into()))
            .collect();
        let mut order: Vec<usize> = drawn.iter().flatten().copied().collect();
        order.sort_by(|a, b| {
            stakes
                .get(*a)
                .map(|(account, _)| account)
                .cmp(&stakes.get(*b).map(|(account, _)| account))
        });
        order.dedup();
        let holders = order.iter().filter_map(|&at| stakes.get(at));
        let holders = holders.map(|(account, stake)| Holder {
            account: account.clone(),
            stake: *stake,
            committed: false,
            revealed: false,
        });
        let place = |at: &usize| {
            order.iter().position(|other| other == at).and_then(|place| u16::try_from(place).ok())
        };
        let cases = updates.iter().zip(&drawn).map(|(update, seats)| Case {
            trainer: update.trainer.clone(),
            index: update.index,
            segments: BoundedVec::truncate_from(draw_segments(
                &seed,
                &update.trainer,
                update.segments,
                config.segments.into(),
                &update.known,
            )),
            of: update.segments,
            seats: BoundedVec::truncate_from(seats.iter().filter_map(place).collect()),
            served: false,
            opened: false,
            settled: false,
        });
        Self {
            round,
            draw,
            seed,
            stage: Stage::Serve,
            since: now,
            probe: BoundedVec::truncate_from(probe),
            holders: BoundedVec::truncate_from(holders.collect()),
            cases: BoundedVec::truncate_from(cases.collect()),
        }
    }

    /// Brings the stage up to block `now`. A stage ends when everybody it waits for is done, or
    /// when its blocks are over.
    ///
    /// Whoever acts calls it in that block, before and after; so it does not matter when, or
    /// whether, others call it.
    pub fn advance(&mut self, config: &AuditConfig, now: BlockNumber) {
        let mut reached = now;
        while let Some(blocks) = config.blocks(self.stage) {
            let deadline = self.since.saturating_add(blocks);
            let waits = self.waits();
            if waits && now < deadline {
                return;
            }
            // The last act was in this block, but a later stage that waits for nobody ends where it
            // begins.
            reached = if waits { deadline } else { reached.min(deadline) };
            self.since = reached;
            self.stage = self.stage.next();
        }
    }

    /// First block after the stage, unless it ends earlier.
    pub fn deadline(&self, config: &AuditConfig) -> Option<BlockNumber> {
        config.blocks(self.stage).map(|blocks| self.since.saturating_add(blocks))
    }

    /// Whether somebody still has to act in this stage.
    fn waits(&self) -> bool {
        match self.stage {
            Stage::Serve => self.cases.iter().any(|case| !case.served),
            Stage::Replay => {
                self.holders.iter().zip(0..).any(|(holder, place)| {
                    !holder.committed && self.seats_at(place).next().is_some()
                })
            }
            Stage::Open => self.cases.iter().any(|case| case.served && !case.opened),
            Stage::Reveal => self.holders.iter().any(|holder| holder.committed && !holder.revealed),
            Stage::Settle => true,
        }
    }

    /// The place of `account` among the holders.
    pub fn holder(&self, account: &AccountId) -> Option<u16> {
        self.holders
            .binary_search_by(|holder| holder.account.cmp(account))
            .ok()
            .and_then(|at| u16::try_from(at).ok())
    }

    /// The cases that `account` has a seat in and has to replay, those whose trainer showed the
    /// starts, each after its place in [`Audit::cases`].
    pub fn seats_of<'a>(
        &'a self,
        account: &AccountId,
    ) -> impl Iterator<Item = (u8, &'a Case<AccountId>)> + use<'a, AccountId> {
        self.holder(account).into_iter().flat_map(|place| self.seats_at(place))
    }

    fn seats_at(&self, place: u16) -> impl Iterator<Item = (u8, &Case<AccountId>)> {
        (0..).zip(&self.cases).filter(move |(_, case)| case.served && case.seats.contains(&place))
    }

    /// The case of `trainer`.
    pub fn case(&self, trainer: &AccountId) -> Option<&Case<AccountId>> {
        self.cases.iter().find(|case| case.trainer == *trainer)
    }
}

/// Draws `count` different validators for `trainer`'s update, each with a chance in proportion to
/// its stake among those left; all of them when there are no more. Never the trainer itself.
/// Returns places in `stakes`.
pub fn draw_seats<AccountId: Encode + PartialEq>(
    seed: &Hash,
    trainer: &AccountId,
    stakes: &[(AccountId, Balance)],
    count: usize,
) -> Vec<usize> {
    let mut prf = Prf::new("pol/seats/1", seed, &[&trainer.encode()]);
    let mut left: Vec<(usize, Balance)> = stakes
        .iter()
        .enumerate()
        .filter(|(_, (account, stake))| account != trainer && *stake > 0)
        .map(|(at, (_, stake))| (at, *stake))
        .collect();
    let mut total = left.iter().fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake));
    let mut seats = Vec::with_capacity(count.min(left.len()));
    while seats.len() < count {
        let mut point = prf.below_u128(total);
        let Some(found) = left.iter().position(|(_, stake)| {
            let here = point < *stake;
            if !here {
                point = point.saturating_sub(*stake);
            }
            here
        }) else {
            break;
        };
        let (at, stake) = left.swap_remove(found);
        total = total.saturating_sub(stake);
        seats.push(at);
    }
    seats
}

/// Draws up to `count` of `trainer`'s `segments` segments, uniformly among those whose end is not
/// one of the `known` leaves, in ascending order. Where all ends are known, it draws among all: a
/// replay that can be copied is better than none.
pub fn draw_segments<AccountId: Encode>(
    seed: &Hash,
    trainer: &AccountId,
    segments: u16,
    count: usize,
    known: &[u16],
) -> Vec<u16> {
    let blind: Vec<u16> =
        (0..segments).filter(|segment| !known.contains(&segment.saturating_add(1))).collect();
    let eligible = if blind.is_empty() { (0..segments).collect() } else { blind };
    let order =
        Prf::new("pol/segments/1", seed, &[&trainer.encode()]).permutation(eligible.len() as u32);
    let mut drawn: Vec<u16> =
        order.into_iter().take(count).filter_map(|at| eligible.get(at as usize).copied()).collect();
    drawn.sort_unstable();
    drawn
}

/// A state on a trace, by the hashes of its parts, which are also their addresses among peers.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct ServedState {
    /// Its leaf in the trace.
    pub leaf: u16,
    /// BLAKE3 of the parameters.
    pub root: Hash,
    /// Moments, error feedback and steps; all zero and no steps for a fresh trainer.
    pub carry: Carry,
}

impl ServedState {
    /// The leaf's digest.
    pub fn digest(&self) -> Hash {
        state_leaf(&self.root, &self.carry.hash())
    }
}

/// A state, and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Served {
    /// The state.
    pub state: ServedState,
    /// Its proof against the trace's root.
    pub proof: Proof,
}

/// The end of a drawn segment, and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OpenedEnd {
    /// Digest of the leaf.
    pub digest: Hash,
    /// Its proof against the trace's root.
    pub proof: Proof,
}

/// What a trainer has shown of an update under audit.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Shown {
    /// The states of [`Case::served_leaves`], in that order; empty until shown.
    pub states: BoundedVec<ServedState, ConstU32<MAX_SERVED>>,
    /// The digests of [`Case::opened_leaves`], in that order; empty until opened.
    pub ends: BoundedVec<Hash, ConstU32<MAX_AUDITED>>,
    /// Under the native profile, the states of these ends, with what the segments before them
    /// changed.
    pub sketched: BoundedVec<SketchedEnd, ConstU32<MAX_SKETCHED>>,
}

/// What an update did to the model, measured by a seat: differences of mean loss without and with
/// the update alone, positive where it helps, in millionths of a nat a token.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Measure {
    /// On text nobody was assigned.
    pub gain: i32,
    /// Standard error of that.
    pub error: u32,
    /// On the lease's own text.
    pub own: i32,
    /// How little the lease's text repeats itself: [`crate::data::quality`].
    pub quality: Ppm,
    /// On each of the lease's shards, in its order.
    pub shards: BoundedVec<i32, ConstU32<MAX_LEASE_SHARDS>>,
}

impl Measure {
    /// What pays: the improvement that is beyond doubt, none where it might be chance.
    pub fn score(&self) -> u32 {
        let sure = i64::from(self.gain).saturating_sub(i64::from(self.error).saturating_mul(2));
        u32::try_from(sure.max(0)).unwrap_or(u32::MAX)
    }
}

/// What a seat found.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Finding {
    /// It replayed the drawn segments.
    #[codec(index = 0)]
    Replayed {
        /// Digests of the states that its own replay of each drawn segment ended in.
        ends: BoundedVec<Hash, ConstU32<MAX_AUDITED>>,
        /// Whether payload and carry are what packing the final state gives.
        packed: bool,
        /// What the update did.
        measure: Measure,
    },
    /// The states shown cannot be trained from: they are not states of the model, or training them
    /// diverges.
    #[codec(index = 1)]
    Impossible,
    /// A state that was named could not be fetched.
    #[codec(index = 2)]
    Unavailable,
    /// It replayed the drawn segments under the native profile. Whether payload and carry are what
    /// packing gives is part of its [`Binding`](crate::sketch::Binding).
    #[codec(index = 3)]
    Sketched {
        /// Sketches of what its own replay of each drawn segment changed.
        ends: BoundedVec<Sketch, ConstU32<MAX_SKETCHED>>,
        /// What the update did.
        measure: Measure,
    },
}

/// What a validator found in all its seats of an audit: case, by its place in [`Audit::cases`], and
/// finding; ascending.
pub type Evidence = BoundedVec<(u8, Finding), ConstU32<MAX_SUBMISSIONS>>;

/// What hides `evidence` until it is revealed: bound to validator, chain and audit, so a copied one
/// is worthless.
pub fn evidence_commitment(
    account: &[u8],
    genesis: &Hash,
    audit: AuditId,
    evidence: &Evidence,
    salt: &Hash,
) -> Hash {
    crate::digest(b"pol/evidence/1", &(account, genesis, audit, evidence, salt))
}

/// What an audit says about an update.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A quorum replayed to what was opened.
    #[codec(index = 0)]
    Valid,
    /// A quorum replayed to one other thing.
    #[codec(index = 1)]
    Invalid,
    /// The trainer did not show a start or open an end, or a quorum could not fetch what it named.
    #[codec(index = 2)]
    Withheld,
    /// There was no quorum for anything.
    #[codec(index = 3)]
    Unresolved,
}

/// One seat on an update: stake, and finding if there is one.
pub type Seat<'a> = (Balance, Option<&'a Finding>);

/// What a finding says of the replay: a verdict, and for an invalid one what was found instead.
type Said<'a> = (Verdict, Option<(&'a [Hash], bool)>);

/// What `finding` says; nothing where it is of the other profile.
fn said<'a>(opened: &[Hash], finding: &'a Finding) -> Option<Said<'a>> {
    Some(match finding {
        Finding::Unavailable => (Verdict::Withheld, None),
        Finding::Replayed { ends, packed, .. } if agrees(opened, ends, *packed) => {
            (Verdict::Valid, None)
        }
        Finding::Replayed { ends, packed, .. } => {
            (Verdict::Invalid, Some((ends.as_slice(), *packed)))
        }
        Finding::Impossible => (Verdict::Invalid, None),
        Finding::Sketched { .. } => return None,
    })
}

/// What a quorum of the seats' stake says, also of those that said nothing.
fn decided<'a>(opened: &[Hash], seats: &[Seat<'a>]) -> Option<Said<'a>> {
    let whole = seats.iter().fold(0, |sum: Balance, (stake, _)| sum.saturating_add(*stake));
    let mut groups = BTreeMap::<_, Balance>::new();
    for (stake, finding) in seats {
        let Some(said) = finding.and_then(|finding| said(opened, finding)) else { continue };
        let sum = groups.entry(said).or_default();
        *sum = sum.saturating_add(*stake);
    }
    groups
        .into_iter()
        .find(|(_, stake)| whole > 0 && is_quorum(*stake, whole))
        .map(|(said, _)| said)
}

/// Compares what the seats found with the ends that were opened; no opening is no defence.
///
/// Findings are grouped by what they say of the replay: measures are not compared. The stake of all
/// seats counts, also of those that said nothing.
pub fn judge(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, seats).map_or(Verdict::Unresolved, |(verdict, _)| verdict)
}

/// Which of the seats found just what the quorum found; nobody where there was none. To have
/// guessed that an update is invalid is not enough: whoever did not replay it cannot know what its
/// segments end in.
pub fn right_seats(opened: Option<&[Hash]>, seats: &[Seat<'_>]) -> Vec<bool> {
    let decided = opened.and_then(|opened| Some((opened, decided(opened, seats)?)));
    let right = |finding: &Finding| {
        decided.is_some_and(|(opened, decided)| said(opened, finding) == Some(decided))
    };
    seats.iter().map(|(_, finding)| finding.is_some_and(right)).collect()
}

fn agrees(opened: &[Hash], ends: &[Hash], packed: bool) -> bool {
    packed && opened == ends
}

/// The stake-weighted median of each figure over the seats that are right about a valid update.
pub fn consensus(opened: &[Hash], seats: &[Seat<'_>]) -> Measure {
    let right = seats.iter().filter_map(|(stake, finding)| match finding {
        Some(Finding::Replayed { ends, packed, measure }) if agrees(opened, ends, *packed) => {
            Some((measure, *stake))
        }
        _ => None,
    });
    median(&right.collect::<Vec<_>>())
}

/// The median of each figure, by stake.
pub(crate) fn median(right: &[(&Measure, Balance)]) -> Measure {
    let median = |figure: &dyn Fn(&Measure) -> i64| {
        weighted_median(right.iter().map(|(measure, stake)| (figure(measure), *stake)))
    };
    let signed = |value: i64| i32::try_from(value).unwrap_or(0);
    let unsigned = |value: i64| u32::try_from(value).unwrap_or(0);
    let shards = right.iter().map(|(measure, _)| measure.shards.len()).max().unwrap_or(0);
    let shards = (0..shards)
        .map(|at| signed(median(&|measure| measure.shards.get(at).copied().unwrap_or(0).into())));
    Measure {
        gain: signed(median(&|measure| measure.gain.into())),
        error: unsigned(median(&|measure| measure.error.into())),
        own: signed(median(&|measure| measure.own.into())),
        quality: unsigned(median(&|measure| measure.quality.min(MILLION).into())),
        shards: BoundedVec::truncate_from(shards.collect()),
    }
}

/// The smallest value at or below which at least half of the weight lies; zero of nothing.
pub fn weighted_median(values: impl Iterator<Item = (i64, Balance)>) -> i64 {
    let mut values: Vec<(i64, Balance)> = values.collect();
    values.sort_unstable_by_key(|(value, _)| *value);
    let whole = values.iter().fold(0, |sum: Balance, (_, weight)| sum.saturating_add(*weight));
    let mut below: Balance = 0;
    for (value, weight) in &values {
        below = below.saturating_add(*weight);
        if below >= whole.saturating_sub(below) {
            return *value;
        }
    }
    0
}

/// What an update's share of the trainers' part is measured by: proven improvement, times the
/// tokens it was made of, times how much the kind and the quality of the data are worth.
pub fn weight(score: u32, tokens: u64, bonus: Ppm, quality: Ppm) -> u128 {
    let worth = u128::from(bonus)
        .saturating_mul(u128::from(quality.min(MILLION)))
        .checked_div(u128::from(MILLION))
        .unwrap_or(0);
    u128::from(score).saturating_mul(u128::from(tokens)).saturating_mul(worth)
}

/// An update that is taken out of the model: the next head is computed as if its round had never
/// included it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Excision {
    /// The round that included it.
    pub round: RoundNumber,
    /// Its index among that round's reveals.
    pub index: u8,
}

/// Moves a moving average by a sixteenth of the way to `target`; both in millionths.
pub fn move_reputation(reputation: Ppm, good: bool) -> Ppm {
    let step = |distance: Ppm| distance.div_ceil(16);
    let reputation = reputation.min(MILLION);
    if good {
        reputation.saturating_add(step(MILLION.saturating_sub(reputation)))
    } else {
        reputation.saturating_sub(step(reputation))
    }
}

#[cfg(test)]
mod tests;
