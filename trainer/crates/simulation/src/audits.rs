// SPDX-License-Identifier: Apache-2.0

//! Audits as the chain runs them.
//!
//! Draws, stages and verdicts are those of `pol-primitives`. Training and replay are replaced by
//! the result they would have.

use pol_primitives::{
    Balance, BoundedVec, Hash, MILLION, POL, RoundNumber,
    audit::{
        Audit, AuditConfig, Case, Finding, MAX_AUDITED_SEGMENTS, PendingAudit, Seat, SeatResult,
        Stage, UpdateMeasurement, Verdict,
        exact::{consensus, judge, opinions, right_seats},
        verdict_of_draw,
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
    /// Improvement that an honest seat measures, in billionths of a nat per token.
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

/// Amount that an exaggerating seat adds to the gain, in billionths of a nat.
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

    /// Creates validators that follow `strategy` with the stakes `others`, and `honest` ones.
    pub fn with_stakes(
        others: &[Balance],
        honest: &[Balance],
        strategy: ValidatorStrategy,
    ) -> Self {
        let stakes = (FIRST_VALIDATOR..).zip(others.iter().chain(honest).copied()).collect();
        let strategies = others.iter().map(|_| strategy);
        let honest = honest.iter().map(|_| ValidatorStrategy::Honest);
        Self { stakes, strategies: strategies.chain(honest).collect() }
    }

    /// Returns the strategy of `account`.
    pub fn strategy_of(&self, account: Account) -> ValidatorStrategy {
        let place =
            account.checked_sub(FIRST_VALIDATOR).and_then(|at| self.strategies.get(at as usize));
        place.copied().unwrap_or(ValidatorStrategy::Honest)
    }
}

/// A validator with seats on an update, after settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatRecord {
    /// Its account.
    pub account: Account,
    /// Result of the seat; none if nobody knows.
    pub result: Option<SeatResult>,
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
    /// Validators with seats in the last draw, each once.
    pub panel: Vec<SeatRecord>,
    /// Validators with seats in the first of two draws.
    pub earlier: Vec<SeatRecord>,
}

/// Returns seed number `number` for `purpose` in a simulation seeded with `world`.
pub fn seed(world: u64, purpose: &str, number: u64) -> Hash {
    digest(purpose.as_bytes(), &(world, number))
}

/// Audits all updates of a round, with a second draw for those that the first does not acquit.
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
        .map(|(&(trainer, update), index)| {
            PendingAudit::first(round, trainer, index, update.segments)
        })
        .collect();
    let (first, opinions, mut decisions) = draw_once(config, seed, &undrawn, validators, updates);
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
            let account = |place: &u16| first.holders[usize::from(*place)].account;
            let seats = case.seats.iter().map(account).zip(opinions[at].iter().copied());
            PendingAudit::second(round, case, seats)
        })
        .collect();
    let updates: Vec<_> = open.iter().map(|&at| updates[at]).collect();
    let (_, _, second) = draw_once(config, digest(b"second", &seed), &again, validators, &updates);
    for ((at, decision), waited) in open.into_iter().zip(second).zip(again) {
        let mut earlier = core::mem::take(&mut decisions[at].panel);
        let judged = decision.panel.iter().any(|seat| seat.result.is_some());
        for (seat, said) in earlier.iter_mut().zip(&waited.earlier) {
            seat.result = judged.then(|| said.result(decision.verdict)).flatten();
        }
        decisions[at] = Decision { first: Verdict::Unresolved, earlier, ..decision };
    }
    decisions
}

/// Opinions of the seats of each case.
type Opinions = Vec<Vec<Option<Verdict>>>;

/// Runs one draw from the seats to the verdicts.
fn draw_once(
    config: &AuditConfig,
    seed: Hash,
    undrawn: &[PendingAudit<Account>],
    validators: &Validators,
    updates: &[(Account, SimulatedUpdate)],
) -> (Audit<Account>, Opinions, Vec<Decision>) {
    let mut now: BlockNumber = 1_000;
    let stakes = &validators.stakes;
    let mut audit =
        Audit::draw(config, seed, now, undrawn, stakes, Vec::new(), MAX_AUDITED_SEGMENTS);
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
    let (opinions, decisions) = audit
        .cases
        .iter()
        .zip(updates)
        .zip(&findings)
        .map(|((case, (_, update)), findings)| decide(&audit, validators, case, update, findings))
        .unzip();
    (audit, opinions, decisions)
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

/// Judges a case by the chain's own functions, and returns the opinions of its seats too.
fn decide(
    audit: &Audit<Account>,
    validators: &Validators,
    case: &Case<Account>,
    update: &SimulatedUpdate,
    findings: &[Option<Finding>],
) -> (Vec<Option<Verdict>>, Decision) {
    let opened = case.opened.then(|| opened_ends(case, update));
    let holder = |at: &u16| audit.holders.get(usize::from(*at));
    let seats: Vec<Seat> =
        findings.iter().map(|finding| Seat { finding: finding.as_ref(), binding: None }).collect();
    let opinions = opinions(opened.as_deref(), &seats);
    let verdict = match &opened {
        Some(opened) => verdict_of_draw(audit.draw, judge(Some(opened), &seats), &opinions),
        None => case.verdict_of_silence(),
    };
    let judged = opened.is_some() && matches!(verdict, Verdict::Valid | Verdict::Invalid);
    let right = right_seats(opened.as_deref(), &seats);
    let mut panel: Vec<SeatRecord> = case
        .seats
        .iter()
        .zip(findings.iter().zip(right).zip(&opinions))
        .filter_map(|(at, ((finding, right), opinion))| {
            let account = holder(at)?.account;
            let strategy = validators.strategy_of(account);
            let worked = case.served && spends_compute(strategy, update, finding.is_some());
            let result = judged.then(|| SeatResult::new(right, *opinion));
            Some(SeatRecord { account, result, worked })
        })
        .collect();
    if audit.draw > 0 {
        panel.sort_unstable_by_key(|seat| seat.account);
        panel.dedup_by_key(|seat| seat.account);
    }
    let measure = match (&opened, verdict) {
        (Some(opened), Verdict::Valid) => consensus(opened, &seats),
        _ => UpdateMeasurement::default(),
    };
    (opinions, Decision { first: verdict, verdict, measure, panel, earlier: Vec::new() })
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
            assert!(
                decision
                    .panel
                    .iter()
                    .all(|seat| seat.result == Some(SeatResult::Right) && seat.worked)
            );
            assert!(decision.earlier.is_empty());
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
    fn a_minority_delays_and_pays_for_it() {
        for (strategy, least) in [(ValidatorStrategy::Silent, 0), (ValidatorStrategy::Accusing, 9)]
        {
            let validators = Validators::equal(20, 4, strategy);
            let decisions = decisions(&validators, SimulatedUpdate::honest(10, 500));
            let again = decisions.iter().filter(|one| one.first == Verdict::Unresolved).count();
            assert!(again > least, "{again} of 40 were drawn again");
            for decision in decisions.iter().filter(|one| one.verdict == Verdict::Valid) {
                for seat in decision.panel.iter().chain(&decision.earlier) {
                    let honest = validators.strategy_of(seat.account) == ValidatorStrategy::Honest;
                    let is_right = seat.result == Some(SeatResult::Right);
                    assert_eq!((seat.worked, is_right), (honest, honest));
                }
            }
        }
    }

    #[test]
    fn a_cheat_that_falls_silent_after_it_was_found_out_is_convicted() {
        let validators = Validators::equal(20, 0, ValidatorStrategy::Honest);
        let updates = [(1, SimulatedUpdate { forged: u64::MAX, ..SimulatedUpdate::honest(10, 1) })];
        let undrawn = [PendingAudit::first(1, 1, 0, 10)];
        let (first, opinions, _) =
            draw_once(&AuditConfig::default(), seed(1, "x", 0), &undrawn, &validators, &updates);
        let seats = (0..).zip(opinions[0].iter().copied());
        let again = [PendingAudit::second(1, &first.cases[0], seats)];
        let silent = [(1, SimulatedUpdate { withholds: true, ..updates[0].1 })];
        let (_, _, decisions) =
            draw_once(&AuditConfig::default(), seed(1, "x", 1), &again, &validators, &silent);
        assert_eq!(decisions[0].verdict, Verdict::Invalid);
        assert!(decisions[0].panel.iter().all(|seat| seat.result.is_none()));
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
