//! How audits are drawn and go on, and what follows from them.

use crate::{pallet::*, types::Found, weights::WeightInfo};
use alloc::{collections::BTreeMap, vec::Vec};
use codec::Encode;
use pol_primitives::{
    Balance, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        self, Audit, AuditConfig, AuditId, Case, Evidence, Excision, Finding, Measure, OpenedEnd,
        Served, Shown as Shows, Stage, Verdict, evidence_commitment, weight,
    },
    digest,
    head::MAX_EXCISIONS,
    lease::Lease,
    prf::Prf,
    recipe::{Numerics, Recipe as Spec},
    rewards::Earned,
    round::{BlockNumber, Phase, Round},
    sketch::{self, Binding, MAX_SKETCHED, Sketch, SketchedEnd},
    submission::{Included, Opened, Outcome, Settled, Status},
    trace::merkle_verify,
    traits::{Bonds, Payouts, ShardPool},
};
use polkadot_sdk::{
    frame_support::{pallet_prelude::*, traits::Randomness},
    sp_runtime::SaturatedConversion,
};

/// Audits that one query returns: more are open only while nobody settles any.
const AUDITS_PAGE: usize = 64;

/// A seat on a case: who, with which stake, and what it found if it said so.
type Panel<AccountId> = Vec<(AccountId, Balance, Option<Found>)>;

/// What a panel found together.
struct Ruling {
    verdict: Verdict,
    /// Whether each of the seats found just that.
    right: Vec<bool>,
    /// What a valid update did.
    measure: Measure,
}

impl Ruling {
    /// Compares what the seats found with what the trainer opened, which is none if it did not.
    fn new<AccountId>(numerics: Numerics, shown: Option<&Shows>, panel: &Panel<AccountId>) -> Self {
        let (verdict, right, measure) = match numerics {
            Numerics::Exact => {
                let ends = shown.map(|shown| shown.ends.as_slice());
                let seats: Vec<audit::Seat> = panel
                    .iter()
                    .map(|(_, stake, found)| (*stake, found.as_ref().map(|(finding, _)| finding)))
                    .collect();
                let measure = ends.map(|ends| audit::consensus(ends, &seats));
                (audit::judge(ends, &seats), audit::right_seats(ends, &seats), measure)
            }
            Numerics::Native { tolerance } => {
                let ends = shown.map(|shown| {
                    shown.sketched.iter().map(|end| end.sketch).collect::<Vec<Sketch>>()
                });
                let (ends, seats): (_, Vec<_>) =
                    (ends.as_deref(), panel.iter().map(sketched_seat).collect());
                let measure = ends.map(|ends| sketch::consensus(ends, tolerance, &seats));
                (
                    sketch::judge(ends, tolerance, &seats),
                    sketch::right_seats(ends, tolerance, &seats),
                    measure,
                )
            }
        };
        let measure = measure.filter(|_| verdict == Verdict::Valid).unwrap_or_default();
        Self { verdict, right, measure }
    }
}

/// A seat of the native profile.
fn sketched_seat<AccountId>(
    (_, stake, found): &(AccountId, Balance, Option<Found>),
) -> sketch::Seat<'_> {
    let finding = found.as_ref().map(|(finding, _)| finding);
    sketch::Seat {
        stake: *stake,
        finding,
        binding: found.as_ref().and_then(|(_, binding)| *binding),
    }
}

/// What everybody earned by an update.
type Earnings<AccountId> = BTreeMap<AccountId, Earned>;

// ---------------------------------------------------------------- drawing

impl<T: Config> Pallet<T> {
    /// Whether so much is not settled that no round should open.
    pub(crate) fn is_behind() -> bool {
        Audits::<T>::count() >= MAX_BEHIND
            || Undrawn::<T>::decode_len().unwrap_or(0) > MAX_SUBMISSIONS as usize
    }

    /// Marks the `included` ones of a round's reveals as part of the head: they wait for their
    /// seats from here on.
    pub(crate) fn include(
        round: RoundNumber,
        recipe: &Spec,
        revealed: &[T::AccountId],
        included: &Included,
    ) -> DispatchResult {
        if included.is_empty() {
            return Ok(());
        }
        let mut undrawn = Undrawn::<T>::get();
        for index in included.indices() {
            let trainer = revealed.get(usize::from(index)).ok_or(DispatchError::Corruption)?;
            let mut submission =
                Submissions::<T>::get(round, trainer).ok_or(DispatchError::Corruption)?;
            let steps = submission.opened.ok_or(DispatchError::Corruption)?.steps;
            let segments =
                steps.checked_div(recipe.steps_per_segment(submission.tier)).unwrap_or(0);
            let update = audit::Undrawn {
                round,
                draw: 0,
                trainer: trainer.clone(),
                index,
                segments,
                known: BoundedVec::new(),
            };
            undrawn.try_push((update, Self::now())).map_err(|_| DispatchError::Corruption)?;
            submission.status = Status::Included;
            Submissions::<T>::insert(round, trainer, submission);
        }
        Undrawn::<T>::put(undrawn);
        Ok(())
    }

    /// Draws seats and segments for those that have waited longest, all of one round and draw, once
    /// enough blocks have given their randomness since.
    pub(crate) fn draw() -> Weight {
        let undrawn = Undrawn::<T>::get();
        let Some((round, draw, since)) =
            undrawn.first().map(|(first, since)| (first.round, first.draw, *since))
        else {
            return T::WeightInfo::draw(0);
        };
        let config = AuditSettings::<T>::get();
        let (randomness, _) = T::Randomness::random(b"pol/audit");
        let mixed = digest(b"pol/mix/1", &(Mixed::<T>::get(), randomness));
        Mixed::<T>::put(mixed);
        let ready = |since: BlockNumber| Self::now() > since.saturating_add(config.mix);
        if !ready(since) {
            return T::WeightInfo::draw(0);
        }
        let (group, rest): (Vec<_>, Vec<_>) = undrawn.into_iter().partition(|(update, since)| {
            (update.round, update.draw) == (round, draw) && ready(*since)
        });
        let group: Vec<_> = group.into_iter().map(|(update, _)| update).collect();
        if rest.is_empty() {
            Undrawn::<T>::kill();
        } else {
            Undrawn::<T>::put(BoundedVec::truncate_from(rest));
        }
        let seed = digest(b"pol/audit-seed/1", &(mixed, round, draw));
        let probe = T::Pool::sample(config.probe.into(), &mut Prf::new("pol/probe/1", &seed, &[]));
        let native =
            group.first().and_then(|update| Self::audited_recipe(round, &update.trainer).ok());
        let segments = match native.map(|recipe| recipe.numerics) {
            Some(Numerics::Native { .. }) => config.segments.min(MAX_SKETCHED as u8),
            _ => config.segments,
        };
        let config = AuditConfig { segments, ..config };
        let audit = Audit::draw(&config, seed, Self::now(), &group, &T::Bonds::stakes(), probe);
        let id = NextAudit::<T>::get();
        NextAudit::<T>::put(id.saturating_add(1));
        let cases = audit.cases.len().saturated_into();
        Audits::<T>::insert(id, audit);
        Self::deposit_event(Event::AuditDrawn { audit: id, round, draw, cases });
        T::WeightInfo::draw(cases)
    }
}

// ---------------------------------------------------------------- stages

impl<T: Config> Pallet<T> {
    /// The audit, which must be in `stage` by now.
    fn audit_in(id: AuditId, stage: Stage) -> Result<(Audit<T::AccountId>, AuditConfig), Error<T>> {
        let config = AuditSettings::<T>::get();
        let mut audit = Audits::<T>::get(id).ok_or(Error::<T>::NoSuchAudit)?;
        audit.advance(&config, Self::now());
        ensure!(audit.stage == stage, Error::<T>::WrongStage);
        Ok((audit, config))
    }

    /// Stores the audit in the stage that it has come to, or removes it when all is settled.
    fn store(id: AuditId, mut audit: Audit<T::AccountId>, config: &AuditConfig) {
        if audit.cases.iter().all(|case| case.settled) {
            Audits::<T>::remove(id);
            Self::deposit_event(Event::AuditEnded { audit: id });
        } else {
            audit.advance(config, Self::now());
            Audits::<T>::insert(id, audit);
        }
    }

    /// What the trainer of an update under audit opened.
    fn opened(round: RoundNumber, trainer: &T::AccountId) -> Result<Opened, DispatchError> {
        Submissions::<T>::get(round, trainer)
            .and_then(|submission| submission.opened)
            .ok_or(DispatchError::Corruption)
    }

    /// The recipe of the update of `trainer` that is under audit.
    fn audited_recipe(round: RoundNumber, trainer: &T::AccountId) -> Result<Spec, DispatchError> {
        Self::audited_lease(round, trainer)
            .and_then(|lease| Recipes::<T>::get(lease.recipe))
            .ok_or(DispatchError::Corruption)
    }

    /// Takes down the states that `who` shows.
    pub(crate) fn serve(id: AuditId, who: &T::AccountId, states: &[Served]) -> DispatchResult {
        let (mut audit, config) = Self::audit_in(id, Stage::Serve)?;
        let round = audit.round;
        let case = audit
            .cases
            .iter_mut()
            .find(|case| case.trainer == *who)
            .ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(!case.served, Error::<T>::AlreadyServed);
        ensure!(
            states.iter().map(|served| served.state.leaf).eq(case.served_leaves()),
            Error::<T>::WrongStates
        );
        let (root, leaves) =
            (Self::opened(round, who)?.trace_root, u32::from(case.of).saturating_add(1));
        let proved = |Served { state, proof }: &Served| {
            merkle_verify(&root, leaves, state.leaf.into(), &state.digest(), proof)
        };
        ensure!(states.iter().all(proved), Error::<T>::WrongProof);
        case.served = true;
        let states = BoundedVec::truncate_from(states.iter().map(|served| served.state).collect());
        Shown::<T>::insert(id, who, Shows { states, ..Shows::default() });
        Self::store(id, audit, &config);
        Ok(())
    }

    /// Takes down the hidden evidence of `who`.
    pub(crate) fn commit_evidence(
        id: AuditId,
        who: &T::AccountId,
        commitment: Hash,
    ) -> DispatchResult {
        let (mut audit, config) = Self::audit_in(id, Stage::Replay)?;
        let place = audit
            .holder(who)
            .filter(|_| audit.seats_of(who).next().is_some())
            .ok_or(Error::<T>::NoSeat)?;
        let holder = audit.holders.get_mut(usize::from(place)).ok_or(DispatchError::Corruption)?;
        ensure!(!holder.committed, Error::<T>::SeatCommitted);
        holder.committed = true;
        Commits::<T>::insert(id, who, commitment);
        Self::store(id, audit, &config);
        Ok(())
    }

    /// Takes down the ends that `who` opens, with their states and sketches where the recipe is
    /// native.
    pub(crate) fn open_ends(
        id: AuditId,
        who: &T::AccountId,
        ends: &[OpenedEnd],
        sketched: &[SketchedEnd],
    ) -> DispatchResult {
        let (mut audit, config) = Self::audit_in(id, Stage::Open)?;
        let round = audit.round;
        let case = audit
            .cases
            .iter_mut()
            .find(|case| case.trainer == *who)
            .ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(case.served, Error::<T>::NotServed);
        ensure!(!case.opened, Error::<T>::AlreadyOpened);
        let at = case.opened_leaves();
        ensure!(ends.len() == at.len(), Error::<T>::WrongEnds);
        let (root, leaves) =
            (Self::opened(round, who)?.trace_root, u32::from(case.of).saturating_add(1));
        let proved = |(end, at): (&OpenedEnd, &u16)| {
            merkle_verify(&root, leaves, (*at).into(), &end.digest, &end.proof)
        };
        ensure!(ends.iter().zip(&at).all(proved), Error::<T>::WrongProof);
        let mut shown = Shown::<T>::get(id, who).ok_or(DispatchError::Corruption)?;
        let lease = Self::audited_lease(round, who).ok_or(DispatchError::Corruption)?;
        let recipe = Recipes::<T>::get(lease.recipe).ok_or(DispatchError::Corruption)?;
        if recipe.numerics == Numerics::Exact {
            ensure!(sketched.is_empty(), Error::<T>::OtherProfile);
        } else {
            ensure!(sketched.len() == at.len(), Error::<T>::OtherProfile);
            let steps = recipe.steps_per_segment(lease.tier);
            // No two drawn segments touch, so each has a start that was shown.
            let starts = case
                .segments
                .iter()
                .map(|&segment| (segment, shown.states.iter().find(|state| state.leaf == segment)));
            let follow = sketched.iter().zip(starts).all(|(end, (segment, start))| {
                start.is_some_and(|start| end.follows(start, segment, steps))
            });
            ensure!(follow, Error::<T>::DoesNotFollow);
        }
        case.opened = true;
        shown.ends = BoundedVec::truncate_from(ends.iter().map(|end| end.digest).collect());
        shown.sketched = BoundedVec::truncate_from(sketched.to_vec());
        Shown::<T>::insert(id, who, shown);
        Self::store(id, audit, &config);
        Ok(())
    }

    /// Takes down what `who` found; where the recipe is native, with one of the `bindings` for each
    /// finding.
    pub(crate) fn reveal_evidence(
        id: AuditId,
        who: &T::AccountId,
        evidence: Evidence,
        bindings: &[Binding],
        salt: Hash,
    ) -> DispatchResult {
        let (mut audit, config) = Self::audit_in(id, Stage::Reveal)?;
        let place = audit.holder(who).ok_or(Error::<T>::NoSeat)?;
        let fits = Self::fits(&audit, who, &evidence)?;
        let is_exact = Self::is_exact(&audit)?;
        let holder = audit.holders.get_mut(usize::from(place)).ok_or(DispatchError::Corruption)?;
        ensure!(holder.committed, Error::<T>::SeatNotCommitted);
        ensure!(!holder.revealed, Error::<T>::SeatRevealed);
        let commitment =
            evidence_commitment(&who.encode(), &Self::genesis_hash(), id, &evidence, &salt);
        ensure!(Commits::<T>::get(id, who) == Some(commitment), Error::<T>::WrongEvidence);
        ensure!(fits, Error::<T>::BadEvidence);
        ensure!(
            bindings.len() == if is_exact { 0 } else { evidence.len() },
            Error::<T>::OtherProfile
        );
        holder.revealed = true;
        Commits::<T>::remove(id, who);
        let bindings = bindings.iter().map(Some).chain(core::iter::repeat(None));
        for ((case, finding), binding) in evidence.into_iter().zip(bindings) {
            Findings::<T>::insert(id, (case, place), (finding, binding.copied()));
        }
        Self::store(id, audit, &config);
        Ok(())
    }

    /// Whether the audit, all of whose cases are of one round and so of one recipe, compares bits.
    fn is_exact(audit: &Audit<T::AccountId>) -> Result<bool, DispatchError> {
        let case = audit.cases.first().ok_or(DispatchError::Corruption)?;
        Ok(Self::audited_recipe(audit.round, &case.trainer)?.numerics == Numerics::Exact)
    }

    /// Whether `evidence` is of exactly the cases that `who` has to replay, each of the recipe's
    /// profile and with as many ends and figures as the case asks for.
    fn fits(
        audit: &Audit<T::AccountId>,
        who: &T::AccountId,
        evidence: &Evidence,
    ) -> Result<bool, DispatchError> {
        let is_exact = Self::is_exact(audit)?;
        let mut evidence = evidence.iter();
        for (at, case) in audit.seats_of(who) {
            let Some((_, finding)) = evidence.next().filter(|(of, _)| *of == at) else {
                return Ok(false);
            };
            let (ends, measure) = match finding {
                Finding::Replayed { ends, measure, .. } if is_exact => (ends.len(), measure),
                Finding::Sketched { ends, measure } if !is_exact => (ends.len(), measure),
                Finding::Impossible | Finding::Unavailable => continue,
                Finding::Replayed { .. } | Finding::Sketched { .. } => return Ok(false),
            };
            let shards =
                Self::audited_lease(audit.round, &case.trainer).map(|lease| lease.shards.len());
            if ends != case.segments.len() || shards != Some(measure.shards.len()) {
                return Ok(false);
            }
        }
        Ok(evidence.next().is_none())
    }
}

// ---------------------------------------------------------------- settling

impl<T: Config> Pallet<T> {
    /// Decides what becomes of `trainer`'s update, and does it.
    pub(crate) fn settle_case(
        id: AuditId,
        trainer: &T::AccountId,
    ) -> Result<Weight, DispatchError> {
        let (mut audit, config) = Self::audit_in(id, Stage::Settle)?;
        let (case, at) = audit
            .cases
            .iter()
            .zip(0u8..)
            .find(|(case, _)| case.trainer == *trainer)
            .ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(!case.settled, Error::<T>::AlreadySettled);
        let (round, case) = (audit.round, case.clone());
        let submission = Submissions::<T>::get(round, trainer).ok_or(DispatchError::Corruption)?;
        let opened = submission.opened.ok_or(DispatchError::Corruption)?;
        let lease = Self::audited_lease(round, trainer).ok_or(DispatchError::Corruption)?;

        let shown = Shown::<T>::get(id, trainer).filter(|_| case.opened);
        let recipe = Recipes::<T>::get(lease.recipe).ok_or(DispatchError::Corruption)?;
        let panel = Self::panel(id, at, &audit, &case);
        let Ruling { verdict, right, measure } =
            Ruling::new(recipe.numerics, shown.as_ref(), &panel);
        let outcome = Self::outcome(verdict, audit.draw, trainer, &lease)?;
        let cost = T::WeightInfo::settle(
            lease.shards.len().saturated_into(),
            panel.len().saturated_into(),
        );

        // Whatever was decided, nothing of the case stays with the audit. Who committed and did not
        // reveal leaves that with its cases.
        Shown::<T>::remove(id, trainer);
        case.seats.iter().for_each(|&place| Findings::<T>::remove(id, (at, place)));
        panel.iter().for_each(|(account, ..)| Commits::<T>::remove(id, account));
        audit
            .cases
            .iter_mut()
            .filter(|case| case.trainer == *trainer)
            .for_each(|case| case.settled = true);
        let Some(outcome) = outcome else {
            Self::draw_again(round, &case)?;
            Self::deposit_event(Event::Undecided { audit: id, account: trainer.clone(), round });
            Self::store(id, audit, &config);
            return Ok(cost);
        };

        if let Some(lease) = Leases::<T>::get(trainer).filter(|lease| lease.due_round == round) {
            Self::conclude_lease(trainer, lease);
        }
        AuditedLeases::<T>::remove(round, trainer);
        Submissions::<T>::remove(round, trainer);
        let settled = Settled {
            gain: measure.gain,
            error: measure.error,
            ..Self::settled(&submission, outcome)
        };
        History::<T>::insert(round, trainer, settled);

        let mut earned = Earnings::new();
        // Nobody is right or wrong in a seat about what was not replayed: not even those that could
        // not fetch it, who might as well not have tried.
        let decided = matches!(verdict, Verdict::Valid | Verdict::Invalid);
        let found = panel.iter().zip(right);
        let right: Vec<T::AccountId> = found
            .filter(|(_, right)| decided && *right)
            .map(|((account, ..), _)| account.clone())
            .collect();
        if decided {
            Self::judge_seats(id, trainer, &panel, &right, &mut earned);
        }
        match outcome {
            Outcome::Valid => Self::accept(round, trainer, &opened, &lease, &measure, &mut earned),
            _ => Self::take_out(round, opened.index, &lease)?,
        }
        match outcome {
            Outcome::Invalid => {
                Self::fine(id, trainer, T::InvalidPenalty::get(), &right);
                T::Payouts::forfeit(trainer, &right);
                T::Bonds::note_training(trainer, false);
            }
            Outcome::Withheld => {
                Self::fine(id, trainer, T::WithheldPenalty::get(), &[]);
                T::Bonds::note_training(trainer, false);
            }
            _ => {}
        }
        earned.retain(|_, earned| *earned != Earned::default());
        T::Payouts::settled(round, &earned.into_iter().collect::<Vec<_>>());
        Self::deposit_event(Event::Settled {
            audit: id,
            account: trainer.clone(),
            round,
            outcome,
            score: measure.score(),
        });
        Self::store(id, audit, &config);
        Ok(cost)
    }

    /// The seats on the case at `at`.
    fn panel(
        id: AuditId,
        at: u8,
        audit: &Audit<T::AccountId>,
        case: &Case<T::AccountId>,
    ) -> Panel<T::AccountId> {
        let seat = |place: &u16| {
            let holder = audit.holders.get(usize::from(*place))?;
            Some((holder.account.clone(), holder.stake, Findings::<T>::get(id, (at, *place))))
        };
        case.seats.iter().filter_map(seat).collect()
    }

    /// What becomes of the update; none when it waits for a second draw.
    fn outcome(
        verdict: Verdict,
        draw: u8,
        trainer: &T::AccountId,
        lease: &Lease,
    ) -> Result<Option<Outcome>, Error<T>> {
        Ok(Some(match verdict {
            Verdict::Valid if lease.carry == Hash::default() => Outcome::Valid,
            Verdict::Valid => {
                let earlier = History::<T>::get(lease.carry_round, trainer)
                    .ok_or(Error::<T>::EarlierUnsettled)?;
                if earlier.outcome.stays() { Outcome::Valid } else { Outcome::Tainted }
            }
            Verdict::Invalid => Outcome::Invalid,
            Verdict::Withheld => Outcome::Withheld,
            Verdict::Unresolved if draw > 0 => Outcome::Unresolved,
            Verdict::Unresolved => {
                let waiting = Undrawn::<T>::decode_len().unwrap_or(0);
                ensure!(waiting < MAX_SUBMISSIONS as usize, Error::<T>::TooManyUndrawn);
                return Ok(None);
            }
        }))
    }

    /// Lets the update wait for a second draw of segments that nobody has seen an end of.
    fn draw_again(round: RoundNumber, case: &Case<T::AccountId>) -> DispatchResult {
        let known = case.served_leaves().into_iter().chain(case.opened_leaves()).collect();
        let update = audit::Undrawn {
            round,
            draw: 1,
            trainer: case.trainer.clone(),
            index: case.index,
            segments: case.of,
            known: BoundedVec::truncate_from(known),
        };
        Undrawn::<T>::try_append((update, Self::now())).map_err(|()| DispatchError::Corruption)
    }

    /// Pays and fines the seats on an update that was replayed; `right` are those that are right
    /// about it.
    fn judge_seats(
        id: AuditId,
        trainer: &T::AccountId,
        panel: &Panel<T::AccountId>,
        right: &[T::AccountId],
        earned: &mut Earnings<T::AccountId>,
    ) {
        for (account, ..) in panel {
            let is_right = right.contains(account);
            let strikes = T::Bonds::note_seat(account, is_right);
            if is_right {
                let earned = earned.entry(account.clone()).or_default();
                earned.seats = earned.seats.saturating_add(1);
                continue;
            }
            Self::deposit_event(Event::SeatFailed {
                audit: id,
                account: account.clone(),
                trainer: trainer.clone(),
            });
            if strikes >= T::SeatStrikes::get() {
                Self::fine(id, account, T::SeatPenalty::get(), right);
            }
        }
    }

    /// Seizes up to `amount` of a bond and has it shared out.
    fn fine(id: AuditId, account: &T::AccountId, amount: Balance, provers: &[T::AccountId]) {
        let amount = T::Bonds::seize(account, amount, &T::Payouts::pot());
        if amount > 0 {
            T::Payouts::fined(amount, provers);
        }
        Self::deposit_event(Event::Fined { audit: id, account: account.clone(), amount });
    }

    /// Makes a valid update's data part of the model for good, and notes what it earns.
    fn accept(
        round: RoundNumber,
        trainer: &T::AccountId,
        opened: &Opened,
        lease: &Lease,
        measure: &Measure,
        earned: &mut Earnings<T::AccountId>,
    ) {
        let worth =
            weight(measure.score(), opened.tokens, T::Pool::bonus(&lease.shards), measure.quality);
        for (owner, shards) in T::Pool::owners(&lease.shards) {
            let earned = earned.entry(owner).or_default();
            earned.shards = earned.shards.saturating_add(shards);
        }
        T::Pool::consume(&lease.shards, round, opened.index, &measure.shards);
        let is_flagged = Standings::<T>::mutate(trainer, |standing| {
            standing.note_valid(measure);
            standing.is_flagged()
        });
        if !is_flagged {
            earned.entry(trainer.clone()).or_default().training = worth;
        }
        T::Bonds::note_training(trainer, true);
    }

    /// Has a later head take the update out of the model; its data can be leased again.
    fn take_out(round: RoundNumber, index: u8, lease: &Lease) -> DispatchResult {
        T::Pool::release(&lease.shards);
        let excision = (Excision { round, index }, Self::now());
        Excisions::<T>::try_append(excision).map_err(|()| DispatchError::Corruption)
    }
}

// ---------------------------------------------------------------- excisions

impl<T: Config> Pallet<T> {
    /// The updates that the head of `round` takes out, ascending: those settled before its attest
    /// phase began, so that all who compute the head know them, oldest first. One that rewrites
    /// takes nothing out.
    fn excisable(round: &Round) -> BoundedVec<Excision, ConstU32<MAX_EXCISIONS>> {
        if round.attests_only() {
            return BoundedVec::new();
        }
        let waiting = Excisions::<T>::get();
        let before = waiting
            .iter()
            .take_while(|(_, settled_at)| *settled_at < round.phase_since)
            .map(|(excision, _)| *excision);
        let mut excisable: Vec<_> = before.take(MAX_EXCISIONS as usize).collect();
        excisable.sort_unstable();
        BoundedVec::truncate_from(excisable)
    }

    /// Takes the excisions of the head of `round` off the list.
    pub(crate) fn take_excisions(round: &Round) -> BoundedVec<Excision, ConstU32<MAX_EXCISIONS>> {
        let taken = Self::excisable(round);
        if !taken.is_empty() {
            let rest: Vec<_> = Excisions::<T>::get().into_iter().skip(taken.len()).collect();
            if rest.is_empty() {
                Excisions::<T>::kill();
            } else {
                Excisions::<T>::put(BoundedVec::truncate_from(rest));
            }
        }
        taken
    }
}

// ---------------------------------------------------------------- what others read

/// Answers for the runtime API.
impl<T: Config> Pallet<T> {
    /// How much is audited, and how long it may take.
    pub fn audit_config() -> AuditConfig {
        AuditSettings::<T>::get()
    }

    /// Open audits in the stage that they are in by now, oldest first; at most 64.
    pub fn audits() -> Vec<(AuditId, Audit<T::AccountId>)> {
        let (config, now) = (AuditSettings::<T>::get(), Self::now());
        let mut open: Vec<AuditId> = Audits::<T>::iter_keys().collect();
        open.sort_unstable();
        let audit = |id| {
            let mut audit = Audits::<T>::get(id)?;
            audit.advance(&config, now);
            Some((id, audit))
        };
        open.into_iter().take(AUDITS_PAGE).filter_map(audit).collect()
    }

    /// What the trainer has shown of its update in an open audit.
    pub fn shown(id: AuditId, trainer: &T::AccountId) -> Option<Shows> {
        Shown::<T>::get(id, trainer)
    }

    /// The lease of the account's update to `round`, whether or not it is concluded, until the
    /// update is settled.
    pub fn audited_lease(round: RoundNumber, account: &T::AccountId) -> Option<Lease> {
        let open = || Leases::<T>::get(account).filter(|lease| lease.due_round == round);
        AuditedLeases::<T>::get(round, account).or_else(open)
    }

    /// The updates that the head being attested takes out of the model, ascending; none outside of
    /// the attest phase.
    pub fn excisions() -> Vec<Excision> {
        let round = CurrentRound::<T>::get();
        if round.phase == Phase::Attest { Self::excisable(&round).into_inner() } else { Vec::new() }
    }
}
