// SPDX-License-Identifier: Apache-2.0

//! Audits as the chain runs them.
//!
//! Draws, stages and verdicts are those of `pol-primitives`. Training and replay are replaced by
//! the result they would have.

use pol_primitives::{
    Balance, BoundedVec, Hash, MILLION, POL, RoundNumber,
    audit::{
        Audit, AuditConfig, Case, Finding, PendingAudit, Seat, Stage, UpdateMeasurement, Verdict,
        exact::{consensus, judge, right_seats},
    },
    digest,
    prf::Prf,
    round::BlockNumber,
};

/// A member of the network. Validators count from [`FIRST_VALIDATOR`].
pub type Account = u32;

/// Account of the first validator; lower ones are trainers.
pub const FIRST_VALIDATOR: Account = 1 << 24;

/// The facts of an update, which an audit may or may not find.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedUpdate {
    /// Segments of its trace.
    pub segments: u16,
    /// Bit set of the segments that end in a state that training does not give.
    pub forged: u64,
    /// `true` if the payload is the packed final state.
    pub packed: bool,
    /// `true` if its trainer stops answering once the draw would convict it.
    pub aborts: bool,
    /// `true` if its trainer never shows anything.
    pub withholds: bool,
    /// `true` if colluding validators support its trainer.
    pub accomplice: bool,
    /// Improvement that an honest seat measures, in millionths of a nat per token.
    pub gain: i32,
}

impl SimulatedUpdate {
    /// Returns honest work on `segments` segments.
    pub fn honest(segments: u16, gain: i32) -> Self {
        Self {
            segments,
            forged: 0,
            packed: true,
            aborts: false,
            withholds: false,
            accomplice: false,
            gain,
        }
    }

    /// Returns `true` if a replay of these segments, with its check of the payload, convicts.
    pub fn is_found_in(&self, segments: &[u16]) -> bool {
        !self.packed || segments.iter().any(|&segment| self.is_forged(segment))
    }

    fn is_forged(&self, segment: u16) -> bool {
        self.forged >> segment & 1 == 1
    }
}

/// The way a validator fills its seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidatorStrategy {
    /// Replays and reports the result.
    Honest,
    /// Does nothing.
    Silent,
    /// Claims to have replayed without doing so.
    Guessing,
    /// Replays in one round of three and is silent in the others.
    OneOfThree,
    /// Confirms the ends that an accomplice opens; is honest with everybody else.
    Vouching,
    /// Reports the same false ends as all others of its kind, about every update.
    Accusing,
    /// Replays honestly and exaggerates the measured improvement.
    Exaggerating,
}

/// Amount that an exaggerating seat adds to the gain, in millionths of a nat.
pub const EXAGGERATION: i32 = 1_000_000;

/// The validators' stakes and strategies, ascending by account.
#[derive(Clone, Debug)]
pub struct Validators {
    /// Stakes as the chain passes them to the draw.
    pub stakes: Vec<(Account, Balance)>,
    /// Strategies in the same order.
    pub strategies: Vec<ValidatorStrategy>,
}

impl Validators {
    /// Creates `count` validators with the smallest bond. The first `others` of them follow
    /// `strategy`, the rest are honest.
    pub fn equal(count: u32, others: u32, strategy: ValidatorStrategy) -> Self {
        let stakes =
            (0..count).map(|at| (FIRST_VALIDATOR.saturating_add(at), 5_000 * POL)).collect();
        let strategies = (0..count)
            .map(|at| if at < others { strategy } else { ValidatorStrategy::Honest })
            .collect();
        Self { stakes, strategies }
    }

    /// Returns the strategy of `account`.
    pub fn strategy_of(&self, account: Account) -> ValidatorStrategy {
        let place =
            account.checked_sub(FIRST_VALIDATOR).and_then(|at| self.strategies.get(at as usize));
        place.copied().unwrap_or(ValidatorStrategy::Honest)
    }
}

/// A seat after settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatResult {
    /// Its validator.
    pub account: Account,
    /// `true` if its finding agreed with the verdict.
    pub right: bool,
    /// `true` if its validator spent the compute.
    pub worked: bool,
}

/// The end of an audited update.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Verdict of the first draw.
    pub first: Verdict,
    /// Verdict of the last draw.
    pub verdict: Verdict,
    /// Measure that counts, where the update is valid.
    pub measure: UpdateMeasurement,
    /// Seats of the last draw.
    pub panel: Vec<SeatResult>,
    /// Seats of an undecided first draw, which are not paid.
    pub wasted: Vec<SeatResult>,
}

/// Returns seed number `number` for `purpose` in a simulation seeded with `world`.
pub fn seed(world: u64, purpose: &str, number: u64) -> Hash {
    digest(purpose.as_bytes(), &(world, number))
}

/// Audits all updates of a round, with a second draw for those that the first does not decide.
/// Decisions come back in the order of the updates.
pub fn audit(
    config: &AuditConfig,
    seed: Hash,
    round: RoundNumber,
    validators: &Validators,
    updates: &[(Account, SimulatedUpdate)],
) -> Vec<Decision> {
    let undrawn: Vec<_> = updates
        .iter()
        .zip(0u8..)
        .map(|(&(trainer, update), index)| PendingAudit {
            round,
            draw: 0,
            trainer,
            index,
            segments: update.segments,
            known: BoundedVec::new(),
        })
        .collect();
    let (first, mut decisions) = draw_once(config, seed, &undrawn, validators, updates);
    let open: Vec<usize> = decisions
        .iter()
        .enumerate()
        .filter(|(_, decision)| decision.verdict == Verdict::Unresolved)
        .map(|(at, _)| at)
        .collect();
    if open.is_empty() {
        return decisions;
    }
    let again: Vec<_> = open
        .iter()
        .map(|&at| {
            let case = &first.cases[at];
            let known = case.served_leaves().into_iter().chain(case.opened_leaves()).collect();
            PendingAudit { draw: 1, known: BoundedVec::truncate_from(known), ..undrawn[at].clone() }
        })
        .collect();
    let updates: Vec<_> = open.iter().map(|&at| updates[at]).collect();
    let (_, second) = draw_once(config, digest(b"second", &seed), &again, validators, &updates);
    for (at, decision) in open.into_iter().zip(second) {
        let wasted = core::mem::take(&mut decisions[at].panel);
        decisions[at] = Decision { first: Verdict::Unresolved, wasted, ..decision };
    }
    decisions
}

/// Runs one draw from the seats to the verdicts.
fn draw_once(
    config: &AuditConfig,
    seed: Hash,
    undrawn: &[PendingAudit<Account>],
    validators: &Validators,
    updates: &[(Account, SimulatedUpdate)],
) -> (Audit<Account>, Vec<Decision>) {
    let mut now: BlockNumber = 1_000;
    let mut audit = Audit::draw(config, seed, now, undrawn, &validators.stakes, Vec::new());
    for (case, (_, update)) in audit.cases.iter_mut().zip(updates) {
        case.served = !(update.withholds || update.aborts && update.is_found_in(&case.segments));
    }
    advance_to(&mut audit, config, &mut now, Stage::Replay);
    let findings: Vec<CaseFindings> = audit
        .cases
        .iter()
        .zip(updates)
        .map(|(case, (_, update))| findings_of(&seed, &audit, validators, case, update))
        .collect();
    commit_findings(&mut audit, &findings);
    advance_to(&mut audit, config, &mut now, Stage::Open);
    audit.cases.iter_mut().for_each(|case| case.opened = case.served);
    advance_to(&mut audit, config, &mut now, Stage::Reveal);
    audit.holders.iter_mut().for_each(|holder| holder.revealed = holder.committed);
    advance_to(&mut audit, config, &mut now, Stage::Settle);
    assert_eq!(audit.stage, Stage::Settle, "everybody has acted or missed the deadline");
    let decisions = audit
        .cases
        .iter()
        .zip(updates)
        .zip(&findings)
        .map(|((case, (_, update)), findings)| decide(&audit, validators, case, update, findings))
        .collect();
    (audit, decisions)
}

/// Findings of a case by seat; `None` where the seat is silent.
type CaseFindings = Vec<Option<Finding>>;

/// Collects the findings that the seats of a case commit to.
fn findings_of(
    seed: &Hash,
    audit: &Audit<Account>,
    validators: &Validators,
    case: &Case<Account>,
    update: &SimulatedUpdate,
) -> CaseFindings {
    let find = |at: &u16| {
        let holder = audit.holders.get(usize::from(*at)).filter(|_| case.served)?;
        finding_of(seed, holder.account, validators, case, update)
    };
    case.seats.iter().map(find).collect()
}

/// Marks the seat holders that have committed to at least one finding.
fn commit_findings(audit: &mut Audit<Account>, findings: &[CaseFindings]) {
    let mut committed = vec![false; audit.holders.len()];
    for (case, findings) in audit.cases.iter().zip(findings) {
        for (&at, _) in case.seats.iter().zip(findings).filter(|(_, finding)| finding.is_some()) {
            committed[usize::from(at)] = true;
        }
    }
    for (holder, committed) in audit.holders.iter_mut().zip(committed) {
        holder.committed = committed;
    }
}

/// Judges a case by the chain's own functions.
fn decide(
    audit: &Audit<Account>,
    validators: &Validators,
    case: &Case<Account>,
    update: &SimulatedUpdate,
    findings: &[Option<Finding>],
) -> Decision {
    let opened = case.opened.then(|| opened_ends(case, update));
    let holder = |at: &u16| audit.holders.get(usize::from(*at));
    let seats: Vec<Seat> = case
        .seats
        .iter()
        .zip(findings)
        .map(|(at, finding)| Seat {
            stake: holder(at).map_or(0, |holder| holder.stake),
            finding: finding.as_ref(),
            binding: None,
        })
        .collect();
    let verdict = judge(opened.as_deref(), &seats);
    let right = right_seats(opened.as_deref(), &seats);
    let panel = case
        .seats
        .iter()
        .zip(findings.iter().zip(right))
        .filter_map(|(at, (finding, right))| {
            let account = holder(at)?.account;
            let strategy = validators.strategy_of(account);
            let worked = case.served && spends_compute(strategy, update, finding.is_some());
            Some(SeatResult { account, right, worked })
        })
        .collect();
    let measure = match (&opened, verdict) {
        (Some(opened), Verdict::Valid) => consensus(opened, &seats),
        _ => UpdateMeasurement::default(),
    };
    Decision { first: verdict, verdict, measure, panel, wasted: Vec::new() }
}

/// Returns `true` if a seat with this strategy has replayed the update.
fn spends_compute(strategy: ValidatorStrategy, update: &SimulatedUpdate, found: bool) -> bool {
    match strategy {
        ValidatorStrategy::Honest | ValidatorStrategy::Exaggerating => true,
        ValidatorStrategy::OneOfThree => found,
        ValidatorStrategy::Vouching => !update.accomplice,
        ValidatorStrategy::Silent | ValidatorStrategy::Guessing | ValidatorStrategy::Accusing => {
            false
        }
    }
}

/// Advances the audit to `stage`: at once where everybody has acted, else at the deadline of the
/// stage before.
fn advance_to(
    audit: &mut Audit<Account>,
    config: &AuditConfig,
    now: &mut BlockNumber,
    stage: Stage,
) {
    *now = now.saturating_add(1);
    audit.advance(config, *now);
    while audit.stage < stage {
        *now = audit.deadline(config).unwrap_or(*now).max(*now);
        audit.advance(config, *now);
    }
}

/// Returns the digest of the state that a segment ends in, trained or forged.
fn segment_end(trainer: Account, segment: u16, forged: bool) -> Hash {
    let mut hash = [u8::from(forged); 32];
    let name = (u64::from(trainer) << 16 | u64::from(segment)).to_le_bytes();
    hash.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    hash
}

fn opened_ends(case: &Case<Account>, update: &SimulatedUpdate) -> Vec<Hash> {
    case.segments
        .iter()
        .map(|&segment| segment_end(case.trainer, segment, update.is_forged(segment)))
        .collect()
}

/// Returns the finding that a validator reports, or `None` if it is silent.
fn finding_of(
    seed: &Hash,
    account: Account,
    validators: &Validators,
    case: &Case<Account>,
    update: &SimulatedUpdate,
) -> Option<Finding> {
    let replayed = |ends: Vec<Hash>, packed: bool, gain: i32| {
        let measure = UpdateMeasurement {
            gain,
            error: 0,
            own: gain.saturating_add(gain / 10).saturating_add(100),
            quality: MILLION,
            ..Default::default()
        };
        Some(Finding::Replayed { ends: BoundedVec::truncate_from(ends), packed, measure })
    };
    let honest = |more: i32| {
        let end = |&segment: &u16| segment_end(case.trainer, segment, false);
        let ends = case.segments.iter().map(end).collect();
        replayed(ends, update.packed, update.gain.saturating_add(more))
    };
    match validators.strategy_of(account) {
        ValidatorStrategy::Honest => honest(0),
        ValidatorStrategy::Exaggerating => honest(EXAGGERATION),
        ValidatorStrategy::Silent => None,
        ValidatorStrategy::Guessing => {
            replayed(vec![digest(b"guess", &account); case.segments.len()], true, update.gain)
        }
        ValidatorStrategy::OneOfThree => {
            let mut random = Prf::new("one of three", seed, &[&account.to_le_bytes()]);
            (random.below(3) == 0).then(|| honest(0)).flatten()
        }
        ValidatorStrategy::Vouching if update.accomplice => {
            replayed(opened_ends(case, update), true, update.gain)
        }
        ValidatorStrategy::Vouching => honest(0),
        ValidatorStrategy::Accusing => replayed(vec![[0xff; 32]; case.segments.len()], true, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(validators: &Validators, update: SimulatedUpdate) -> Vec<Decision> {
        let updates: Vec<_> = (0..40).map(|trainer| (trainer, update)).collect();
        audit(&AuditConfig::default(), seed(1, "test", 0), 3, validators, &updates)
    }

    fn assert_all(validators: &Validators, update: SimulatedUpdate, verdict: Verdict) {
        for decision in decisions(validators, update) {
            assert_eq!(decision.verdict, verdict, "{update:?}");
        }
    }

    #[test]
    fn an_honest_network_settles_everything_in_one_draw() {
        let validators = Validators::equal(20, 0, ValidatorStrategy::Honest);
        for decision in decisions(&validators, SimulatedUpdate::honest(10, 500)) {
            assert_eq!((decision.first, decision.verdict), (Verdict::Valid, Verdict::Valid));
            assert_eq!((decision.measure.gain, decision.panel.len()), (500, 3));
            assert!(decision.panel.iter().all(|seat| seat.right && seat.worked));
            assert!(decision.wasted.is_empty());
        }
    }

    #[test]
    fn a_forged_update_is_invalid_or_withheld() {
        let validators = Validators::equal(20, 0, ValidatorStrategy::Honest);
        let honest = SimulatedUpdate::honest(10, 500);
        let forged = SimulatedUpdate { forged: u64::MAX, ..honest };
        let unpacked = SimulatedUpdate { packed: false, ..honest };
        assert_all(&validators, forged, Verdict::Invalid);
        assert_all(&validators, unpacked, Verdict::Invalid);
        let aborting = SimulatedUpdate { aborts: true, ..forged };
        let needless = SimulatedUpdate { aborts: true, ..honest };
        let withheld = SimulatedUpdate { withholds: true, ..honest };
        assert_all(&validators, aborting, Verdict::Withheld);
        assert_all(&validators, needless, Verdict::Valid);
        assert_all(&validators, withheld, Verdict::Withheld);
    }

    #[test]
    fn a_silent_minority_delays_and_does_not_decide() {
        let validators = Validators::equal(20, 4, ValidatorStrategy::Silent);
        let decisions = decisions(&validators, SimulatedUpdate::honest(10, 500));
        let again = decisions.iter().filter(|one| one.first == Verdict::Unresolved).count();
        assert!(again > 5, "{again} of 40 were drawn again");
        for decision in decisions.iter().filter(|one| one.verdict == Verdict::Valid) {
            for seat in decision.panel.iter().chain(&decision.wasted) {
                let honest = validators.strategy_of(seat.account) == ValidatorStrategy::Honest;
                assert_eq!(seat.worked, honest);
            }
            assert!(decision.panel.iter().all(|seat| seat.right == seat.worked));
        }
    }

    #[test]
    fn colluders_with_all_the_stake_decide_everything() {
        let vouching = Validators::equal(9, 9, ValidatorStrategy::Vouching);
        let accusing = Validators::equal(9, 9, ValidatorStrategy::Accusing);
        let honest = SimulatedUpdate::honest(10, 1);
        let cheat = SimulatedUpdate { forged: u64::MAX, packed: false, ..honest };
        let accomplice = SimulatedUpdate { accomplice: true, ..cheat };
        assert_all(&vouching, accomplice, Verdict::Valid);
        assert_all(&vouching, cheat, Verdict::Invalid);
        assert_all(&accusing, honest, Verdict::Invalid);
    }
}
