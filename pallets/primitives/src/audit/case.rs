// SPDX-License-Identifier: Apache-2.0

//! Audits, their cases and the seats on them.

use super::{
    AuditConfig, MAX_AUDITED_SEGMENTS, MAX_KNOWN_LEAVES, MAX_PROBE_SHARDS, MAX_SEAT_HOLDERS,
    MAX_SEATS, SeatResult, Stage, Verdict, draw_proportional_seats, draw_seats, draw_segments,
};
use crate::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber, data::ShardId,
    round::BlockNumber,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A validator that holds seats in an audit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SeatHolder<AccountId> {
    /// Account of the validator.
    pub account: AccountId,
    /// Set if it has committed to its findings.
    pub committed: bool,
    /// Set if it has revealed its findings.
    pub revealed: bool,
}

/// An update under audit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Case<AccountId> {
    /// Trainer of the update.
    pub trainer: AccountId,
    /// Index of the update among the round's reveals.
    pub index: u8,
    /// Segments to replay, in ascending order.
    pub segments: BoundedVec<u16, ConstU32<MAX_AUDITED_SEGMENTS>>,
    /// Number of segments of the whole trace.
    pub trace_segments: u16,
    /// Seats on the case, as indices into [`Audit::holders`]. In a second draw, an account may hold
    /// several: one replay, and as many votes.
    pub seats: BoundedVec<u16, ConstU32<MAX_SEATS>>,
    /// Seats of the first draw, if this is the second.
    pub earlier: BoundedVec<EarlierSeat<AccountId>, ConstU32<MAX_SEATS>>,
    /// Set if the trainer has served the starts.
    pub served: bool,
    /// Set if the trainer has opened the ends.
    pub opened: bool,
    /// Set if the case is settled.
    pub settled: bool,
}

impl<AccountId> Case<AccountId> {
    /// Returns the trace leaves whose states the trainer serves: the start of every run of drawn
    /// segments, and the final state unless the last segment is drawn.
    pub fn served_leaves(&self) -> Vec<u16> {
        let drawn = |segment: u16| self.segments.contains(&segment);
        let starts = self
            .segments
            .iter()
            .copied()
            .filter(|&segment| segment.checked_sub(1).is_none_or(|before| !drawn(before)));
        let last = self.trace_segments.checked_sub(1).is_some_and(drawn);
        starts.chain((!last).then_some(self.trace_segments)).collect()
    }

    /// Returns the trace leaves that the trainer opens: the end of every drawn segment.
    pub fn opened_leaves(&self) -> Vec<u16> {
        self.segments.iter().map(|segment| segment.saturating_add(1)).collect()
    }

    /// Returns the verdict on a trainer that serves or opens nothing: `Withheld`, or `Invalid`
    /// where most seats of the first draw found the update invalid. A cheat that was found out
    /// cannot choose the smaller penalty by falling silent.
    pub fn verdict_of_silence(&self) -> Verdict {
        let accuses = |seat: &&EarlierSeat<_>| seat.opinion == Some(Verdict::Invalid);
        let accusers = self.earlier.iter().filter(accuses).count();
        if accusers > self.earlier.len().saturating_sub(accusers) {
            Verdict::Invalid
        } else {
            Verdict::Withheld
        }
    }
}

/// A seat of the first draw, as the second draw keeps it.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct EarlierSeat<AccountId> {
    /// Account of the validator.
    pub account: AccountId,
    /// Opinion that follows from its finding; none if it revealed nothing.
    pub opinion: Option<Verdict>,
}

impl<AccountId> EarlierSeat<AccountId> {
    /// Returns the result of the seat; none if nobody knows.
    ///
    /// The second draw replays the disputed segments and further ones. If it acquits, then whoever
    /// found the update invalid was wrong. If it convicts, then they were right, but a seat that
    /// found nothing may have been shown honest segments only.
    pub fn result(&self, verdict: Verdict) -> Option<SeatResult> {
        match (verdict, self.opinion) {
            (Verdict::Invalid, None) => Some(SeatResult::Silent),
            (Verdict::Valid, opinion) => Some(SeatResult::new(opinion == Some(verdict), opinion)),
            (Verdict::Invalid, Some(opinion)) => (opinion == verdict).then_some(SeatResult::Right),
            (Verdict::Withheld | Verdict::Unresolved, _) => None,
        }
    }
}

/// Returns `true` if one of the `seats` is the account's.
fn has_seat<AccountId: PartialEq>(seats: &[EarlierSeat<AccountId>], account: &AccountId) -> bool {
    seats.iter().any(|seat| seat.account == *account)
}

/// An update that waits for the draw of its seats.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct PendingAudit<AccountId> {
    /// Round that included the update.
    pub round: RoundNumber,
    /// 0 for the first draw, 1 for the second.
    pub draw: u8,
    /// Trainer of the update.
    pub trainer: AccountId,
    /// Index of the update among the round's reveals.
    pub index: u8,
    /// Number of segments of its trace.
    pub segments: u16,
    /// Leaves of its trace that an earlier draw made known. Segments that end in them cannot be
    /// audited blindly.
    pub known: BoundedVec<u16, ConstU32<MAX_KNOWN_LEAVES>>,
    /// Segments of the first draw, which the second replays too: a seat objected to them, or said
    /// nothing.
    pub disputed: BoundedVec<u16, ConstU32<MAX_AUDITED_SEGMENTS>>,
    /// Seats of the first draw.
    pub earlier: BoundedVec<EarlierSeat<AccountId>, ConstU32<MAX_SEATS>>,
}

impl<AccountId: Encode> PendingAudit<AccountId> {
    /// Creates the wait of an update for its first draw.
    pub fn first(round: RoundNumber, trainer: AccountId, index: u8, segments: u16) -> Self {
        Self {
            round,
            draw: 0,
            trainer,
            index,
            segments,
            known: BoundedVec::new(),
            disputed: BoundedVec::new(),
            earlier: BoundedVec::new(),
        }
    }

    /// Creates the wait for a second draw of a `case` of `round` whose seats, by account, have
    /// these opinions.
    pub fn second(
        round: RoundNumber,
        case: &Case<AccountId>,
        seats: impl Iterator<Item = (AccountId, Option<Verdict>)>,
    ) -> Self
    where
        AccountId: Clone,
    {
        let earlier = seats.map(|(account, opinion)| EarlierSeat { account, opinion });
        Self {
            draw: 1,
            known: BoundedVec::truncate_from(
                case.served_leaves().into_iter().chain(case.opened_leaves()).collect(),
            ),
            // Silence disputes as well: a trainer can cause it, by serving the states too slowly.
            disputed: case.segments.clone(),
            earlier: BoundedVec::truncate_from(earlier.collect()),
            ..Self::first(round, case.trainer.clone(), case.index, case.trace_segments)
        }
    }

    /// Returns `true` if this is an update of `round`, and `account` had a seat in its first draw,
    /// about which the second says something.
    pub fn awaits(&self, round: RoundNumber, account: &AccountId) -> bool
    where
        AccountId: PartialEq,
    {
        self.round == round && has_seat(&self.earlier, account)
    }

    /// Draws the segments to replay, in ascending order: the disputed ones, and `count` others
    /// while there are no more than `limit` in all. Others are needed because the ends of the
    /// disputed ones are known, and could be copied.
    fn draw_segments(&self, seed: &Hash, count: usize, limit: usize) -> Vec<u16> {
        let room = limit.saturating_sub(self.disputed.len());
        let drawn = draw_segments(seed, &self.trainer, self.segments, count.min(room), &self.known);
        let others = drawn.into_iter().filter(|segment| !self.disputed.contains(segment));
        let mut segments: Vec<u16> = self.disputed.iter().copied().chain(others).collect();
        segments.sort_unstable();
        segments
    }

    /// Draws the validators with seats, as indices in `stakes`.
    fn draw_seats(
        &self,
        seed: &Hash,
        config: &AuditConfig,
        stakes: &[(AccountId, Balance)],
    ) -> Vec<usize>
    where
        AccountId: PartialEq + Clone,
    {
        if self.draw == 0 {
            return draw_seats(seed, &self.trainer, stakes, config.seats.into());
        }
        let earlier: Vec<_> = self.earlier.iter().map(|seat| seat.account.clone()).collect();
        let count = config.more_seats.into();
        draw_proportional_seats(seed, &self.trainer, stakes, count, &earlier)
    }
}

/// The audit of the updates of a round, or of those that the first draw did not acquit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Audit<AccountId> {
    /// Round that included the updates.
    pub round: RoundNumber,
    /// 0 for the first draw, 1 for the second.
    pub draw: u8,
    /// Randomness drawn after every commitment of the round.
    pub seed: Hash,
    /// Current stage.
    pub stage: Stage,
    /// Block in which the stage began.
    pub since: BlockNumber,
    /// Unassigned shards on which gains are measured. If it is empty because the pool was, held-out
    /// text is used.
    pub probe: BoundedVec<ShardId, ConstU32<MAX_PROBE_SHARDS>>,
    /// Validators with seats, in account order.
    pub holders: BoundedVec<SeatHolder<AccountId>, ConstU32<MAX_SEAT_HOLDERS>>,
    /// Updates under audit.
    pub cases: BoundedVec<Case<AccountId>, ConstU32<MAX_SUBMISSIONS>>,
}

impl<AccountId: Encode + Ord + Clone> Audit<AccountId> {
    /// Draws seats, and at most `limit` segments of each, for `updates` among validators with the
    /// given `stakes`.
    ///
    /// All `updates` must be of the same round and draw.
    pub fn draw(
        config: &AuditConfig,
        seed: Hash,
        now: BlockNumber,
        updates: &[PendingAudit<AccountId>],
        stakes: &[(AccountId, Balance)],
        probe: Vec<ShardId>,
        limit: u32,
    ) -> Self {
        let (round, draw) = updates.first().map_or((0, 0), |first| (first.round, first.draw));
        let drawn: Vec<Vec<usize>> =
            updates.iter().map(|update| update.draw_seats(&seed, config, stakes)).collect();
        let mut order: Vec<usize> = drawn.iter().flatten().copied().collect();
        order.sort_by(|a, b| {
            stakes
                .get(*a)
                .map(|(account, _)| account)
                .cmp(&stakes.get(*b).map(|(account, _)| account))
        });
        order.dedup();
        let holders = order.iter().filter_map(|&at| stakes.get(at));
        let holders = holders.map(|(account, _)| SeatHolder {
            account: account.clone(),
            committed: false,
            revealed: false,
        });
        let place = |at: &usize| {
            order.iter().position(|other| other == at).and_then(|place| u16::try_from(place).ok())
        };
        let cases = updates.iter().zip(&drawn).map(|(update, seats)| Case {
            trainer: update.trainer.clone(),
            index: update.index,
            segments: BoundedVec::truncate_from(update.draw_segments(
                &seed,
                config.segments.into(),
                limit as usize,
            )),
            trace_segments: update.segments,
            seats: BoundedVec::truncate_from(seats.iter().filter_map(place).collect()),
            earlier: update.earlier.clone(),
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

    /// Advances the stage to block `now`. A stage ends when every account it waits for has acted,
    /// or at its deadline.
    ///
    /// Each action on an audit must call this function before and after itself, in the same block.
    /// Any other calls then change nothing.
    pub fn advance(&mut self, config: &AuditConfig, now: BlockNumber) {
        let mut reached = now;
        while let Some(blocks) = config.blocks(self.stage) {
            let deadline = self.since.saturating_add(blocks);
            let waits = self.waits();
            if waits && now < deadline {
                return;
            }
            // A stage that waits for no account ends in the block in which it begins.
            reached = if waits { deadline } else { reached.min(deadline) };
            self.since = reached;
            self.stage = self.stage.next();
        }
    }

    /// Returns the first block after the stage, unless the stage ends early.
    pub fn deadline(&self, config: &AuditConfig) -> Option<BlockNumber> {
        config.blocks(self.stage).map(|blocks| self.since.saturating_add(blocks))
    }

    /// Returns `true` if an account still has to act in this stage.
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

    /// Returns the index of `account` in [`Self::holders`].
    pub fn holder(&self, account: &AccountId) -> Option<u16> {
        self.holders
            .binary_search_by(|holder| holder.account.cmp(account))
            .ok()
            .and_then(|at| u16::try_from(at).ok())
    }

    /// Returns the cases that `account` has to replay, each with its index in [`Self::cases`].
    ///
    /// These are the cases on which it holds a seat and whose trainer has served the starts.
    pub fn seats_of<'a>(
        &'a self,
        account: &AccountId,
    ) -> impl Iterator<Item = (u8, &'a Case<AccountId>)> + use<'a, AccountId> {
        self.holder(account).into_iter().flat_map(|place| self.seats_at(place))
    }

    fn seats_at(&self, place: u16) -> impl Iterator<Item = (u8, &Case<AccountId>)> {
        (0..).zip(&self.cases).filter(move |(_, case)| case.served && case.seats.contains(&place))
    }

    /// Returns `true` if a case that is not settled will say something about a seat of `account`,
    /// in this draw or in the one before.
    pub fn awaits(&self, account: &AccountId) -> bool {
        let place = self.holder(account);
        self.cases.iter().filter(|case| !case.settled).any(|case| {
            place.is_some_and(|place| case.seats.contains(&place))
                || has_seat(&case.earlier, account)
        })
    }

    /// Returns the case of `trainer`.
    pub fn case(&self, trainer: &AccountId) -> Option<&Case<AccountId>> {
        self.cases.iter().find(|case| case.trainer == *trainer)
    }
}
