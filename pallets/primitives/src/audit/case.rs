//! Audits, their cases and the seats on them.

use super::{
    AuditConfig, MAX_AUDITED_SEGMENTS, MAX_KNOWN_LEAVES, MAX_PROBE_SHARDS, MAX_SEAT_HOLDERS,
    MAX_SEATS, Stage, draw_seats, draw_segments,
};
use crate::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber, data::ShardId,
    round::BlockNumber,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A validator with seats in an audit.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SeatHolder<AccountId> {
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
    pub segments: BoundedVec<u16, ConstU32<MAX_AUDITED_SEGMENTS>>,
    /// Segments of its trace.
    pub trace_segments: u16,
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
        let last = self.trace_segments.checked_sub(1).is_some_and(drawn);
        starts.chain((!last).then_some(self.trace_segments)).collect()
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
pub struct PendingAudit<AccountId> {
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
    pub known: BoundedVec<u16, ConstU32<MAX_KNOWN_LEAVES>>,
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
    pub probe: BoundedVec<ShardId, ConstU32<MAX_PROBE_SHARDS>>,
    /// The validators with seats, in account order.
    pub holders: BoundedVec<SeatHolder<AccountId>, ConstU32<MAX_SEAT_HOLDERS>>,
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
        updates: &[PendingAudit<AccountId>],
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
        let holders = holders.map(|(account, stake)| SeatHolder {
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
            trace_segments: update.segments,
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
