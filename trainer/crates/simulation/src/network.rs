//! Audits as the chain runs them: the draws, stages and verdicts are `pol-primitives`' own; only
//! training and replay are replaced by what they would have found.

use pol_primitives::{
    Balance, BoundedVec, Hash, MILLION, POL, RoundNumber,
    audit::{
        Audit, AuditConfig, Case, Finding, Measure, Seat, Stage, Undrawn, Verdict, consensus,
        judge, right_seats,
    },
    digest,
    prf::Prf,
    round::BlockNumber,
};

/// A member of the network. Validators count from [`FIRST_VALIDATOR`].
pub type Account = u32;

/// The first validator's account; those below are trainers.
pub const FIRST_VALIDATOR: Account = 1 << 24;

/// What an update really is.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    /// Segments of its trace.
    pub segments: u16,
    /// Which of them end in a state that training does not give.
    pub forged: u64,
    /// Whether the payload is what packing the final state gives.
    pub packed: bool,
    /// Whether its trainer falls silent when it would be found out.
    pub aborts: bool,
    /// Whether its trainer shows nothing in any case.
    pub withholds: bool,
    /// Whether colluding validators are with its trainer.
    pub accomplice: bool,
    /// What an honest seat measures of it, in millionths of a nat a token.
    pub gain: i32,
}

impl Deed {
    /// Honest work on `segments` segments.
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

    /// Whether a replay of these segments, with its check of the payload, finds something wrong.
    pub fn is_found_in(&self, segments: &[u16]) -> bool {
        !self.packed || segments.iter().any(|&segment| self.forged >> segment & 1 == 1)
    }
}

/// How a validator fills its seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It replays and says what it found.
    Honest,
    /// It does nothing.
    Silent,
    /// It says that it replayed, without having done so.
    Guesses,
    /// It replays in one round of three, and is silent in the others.
    OneOfThree,
    /// It says what the trainer opens where the trainer is an accomplice, and is honest otherwise.
    Vouches,
    /// It says one and the same false thing as the others of its kind about everybody.
    Accuses,
    /// It replays honestly and exaggerates what the update did.
    Exaggerates,
}

/// What an exaggerating seat adds to the gain, in millionths of a nat.
pub const EXAGGERATION: i32 = 1_000_000;

/// The validators: their stakes by account, ascending, and their conduct.
#[derive(Clone, Debug)]
pub struct Validators {
    /// As the chain gives them to the draw.
    pub stakes: Vec<(Account, Balance)>,
    /// In the same order.
    pub conduct: Vec<Conduct>,
}

impl Validators {
    /// `count` validators with the smallest bond, the first `others` of whom conduct themselves as
    /// told.
    pub fn equal(count: u32, others: u32, conduct: Conduct) -> Self {
        let stakes =
            (0..count).map(|at| (FIRST_VALIDATOR.saturating_add(at), 5_000 * POL)).collect();
        Self {
            stakes,
            conduct: (0..count)
                .map(|at| if at < others { conduct } else { Conduct::Honest })
                .collect(),
        }
    }

    /// How `account` conducts itself.
    pub fn conduct_of(&self, account: Account) -> Conduct {
        let place =
            account.checked_sub(FIRST_VALIDATOR).and_then(|at| self.conduct.get(at as usize));
        place.copied().unwrap_or(Conduct::Honest)
    }
}

/// A seat after settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seated {
    /// Whose it is.
    pub account: Account,
    /// Whether it was right.
    pub right: bool,
    /// Whether its validator did the work.
    pub worked: bool,
}

/// What became of an update.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// What the first draw said.
    pub first: Verdict,
    /// What the last one said.
    pub verdict: Verdict,
    /// What counts as its measure, where it is valid.
    pub measure: Measure,
    /// The seats of the last draw.
    pub panel: Vec<Seated>,
    /// Seats of a first draw that decided nothing: they worked for nothing.
    pub wasted: Vec<Seated>,
}

/// The `number`-th seed of a `purpose` in the world of `seed`.
pub fn seed(world: u64, purpose: &str, number: u64) -> Hash {
    digest(purpose.as_bytes(), &(world, number))
}

/// Audits the updates of a round, each the deed of the trainer at the same place, to the end: with
/// a second draw where the first decides nothing.
pub fn audit(
    config: &AuditConfig,
    seed: Hash,
    round: RoundNumber,
    validators: &Validators,
    deeds: &[(Account, Deed)],
) -> Vec<Ruling> {
    let updates: Vec<_> = deeds
        .iter()
        .zip(0u8..)
        .map(|(&(trainer, deed), index)| Undrawn {
            round,
            draw: 0,
            trainer,
            index,
            segments: deed.segments,
            known: BoundedVec::new(),
        })
        .collect();
    let (first, mut rulings) = draw_once(config, seed, &updates, validators, deeds);
    let open: Vec<usize> = rulings
        .iter()
        .enumerate()
        .filter(|(_, ruling)| ruling.verdict == Verdict::Unresolved)
        .map(|(at, _)| at)
        .collect();
    if open.is_empty() {
        return rulings;
    }
    let again: Vec<_> = open
        .iter()
        .map(|&at| {
            let case = &first.cases[at];
            let known = case.served_leaves().into_iter().chain(case.opened_leaves()).collect();
            Undrawn { draw: 1, known: BoundedVec::truncate_from(known), ..updates[at].clone() }
        })
        .collect();
    let deeds: Vec<_> = open.iter().map(|&at| deeds[at]).collect();
    let (_, second) = draw_once(config, digest(b"second", &seed), &again, validators, &deeds);
    for (at, ruling) in open.into_iter().zip(second) {
        let wasted = core::mem::take(&mut rulings[at].panel);
        rulings[at] = Ruling { first: Verdict::Unresolved, wasted, ..ruling };
    }
    rulings
}

/// One draw, from the seats to the verdicts.
fn draw_once(
    config: &AuditConfig,
    seed: Hash,
    updates: &[Undrawn<Account>],
    validators: &Validators,
    deeds: &[(Account, Deed)],
) -> (Audit<Account>, Vec<Ruling>) {
    let mut now: BlockNumber = 1_000;
    let mut audit = Audit::draw(config, seed, now, updates, &validators.stakes, Vec::new());
    for (case, (_, deed)) in audit.cases.iter_mut().zip(deeds) {
        case.served = !(deed.withholds || deed.aborts && deed.is_found_in(&case.segments));
    }
    step(&mut audit, config, &mut now, Stage::Replay);

    let findings: Vec<Vec<Option<Finding>>> = audit
        .cases
        .iter()
        .zip(deeds)
        .map(|(case, (_, deed))| {
            let seat = |&at: &u16| audit.holders.get(usize::from(at)).map(|holder| holder.account);
            case.seats
                .iter()
                .map(|at| {
                    seat(at)
                        .filter(|_| case.served)
                        .and_then(|account| find(&seed, account, validators, case, deed))
                })
                .collect()
        })
        .collect();
    let mut committed = vec![false; audit.holders.len()];
    for (case, findings) in audit.cases.iter().zip(&findings) {
        for (&at, _) in case.seats.iter().zip(findings).filter(|(_, finding)| finding.is_some()) {
            committed[usize::from(at)] = true;
        }
    }
    audit
        .holders
        .iter_mut()
        .zip(&committed)
        .for_each(|(holder, &committed)| holder.committed = committed);
    step(&mut audit, config, &mut now, Stage::Open);
    audit.cases.iter_mut().for_each(|case| case.opened = case.served);
    step(&mut audit, config, &mut now, Stage::Reveal);
    audit.holders.iter_mut().for_each(|holder| holder.revealed = holder.committed);
    step(&mut audit, config, &mut now, Stage::Settle);
    assert_eq!(audit.stage, Stage::Settle, "everybody has acted or missed the deadline");

    let rulings =
        audit.cases.iter().zip(deeds).zip(&findings).map(|((case, (_, deed)), findings)| {
            let opened = case.opened.then(|| opened_ends(case, deed));
            let holder = |at: &u16| audit.holders.get(usize::from(*at));
            let seats: Vec<Seat> = case
                .seats
                .iter()
                .zip(findings)
                .map(|(at, finding)| {
                    (holder(at).map_or(0, |holder| holder.stake), finding.as_ref())
                })
                .collect();
            let (verdict, right) =
                (judge(opened.as_deref(), &seats), right_seats(opened.as_deref(), &seats));
            let panel = case
                .seats
                .iter()
                .zip(findings.iter().zip(right))
                .filter_map(|(at, (finding, right))| {
                    let account = holder(at)?.account;
                    let worked = case.served
                        && match validators.conduct_of(account) {
                            Conduct::Honest | Conduct::Exaggerates => true,
                            Conduct::OneOfThree => finding.is_some(),
                            Conduct::Vouches => !deed.accomplice,
                            Conduct::Silent | Conduct::Guesses | Conduct::Accuses => false,
                        };
                    Some(Seated { account, right, worked })
                })
                .collect();
            let measure = match (&opened, verdict) {
                (Some(opened), Verdict::Valid) => consensus(opened, &seats),
                _ => Measure::default(),
            };
            Ruling { first: verdict, verdict, measure, panel, wasted: Vec::new() }
        });
    let rulings = rulings.collect();
    (audit, rulings)
}

/// Lets the network come to `stage`: at once if everybody has acted, else at the deadline of the
/// one before.
fn step(audit: &mut Audit<Account>, config: &AuditConfig, now: &mut BlockNumber, stage: Stage) {
    *now = now.saturating_add(1);
    audit.advance(config, *now);
    while audit.stage < stage {
        *now = audit.deadline(config).unwrap_or(*now).max(*now);
        audit.advance(config, *now);
    }
}

/// The digest of the state that a segment ends in: what training gives, or what its trainer made
/// up.
fn end(trainer: Account, segment: u16, forged: bool) -> Hash {
    let mut hash = [u8::from(forged); 32];
    let name = (u64::from(trainer) << 16 | u64::from(segment)).to_le_bytes();
    hash.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    hash
}

fn opened_ends(case: &Case<Account>, deed: &Deed) -> Vec<Hash> {
    case.segments
        .iter()
        .map(|&segment| end(case.trainer, segment, deed.forged >> segment & 1 == 1))
        .collect()
}

/// What a validator says it found.
fn find(
    seed: &Hash,
    account: Account,
    validators: &Validators,
    case: &Case<Account>,
    deed: &Deed,
) -> Option<Finding> {
    let replayed = |ends: Vec<Hash>, packed: bool, gain: i32| {
        let measure = Measure {
            gain,
            error: 0,
            own: gain.saturating_add(gain / 10).saturating_add(100),
            quality: MILLION,
            ..Default::default()
        };
        Some(Finding::Replayed { ends: BoundedVec::truncate_from(ends), packed, measure })
    };
    let honest = |more: i32| {
        let ends = case.segments.iter().map(|&segment| end(case.trainer, segment, false)).collect();
        replayed(ends, deed.packed, deed.gain.saturating_add(more))
    };
    match validators.conduct_of(account) {
        Conduct::Honest => honest(0),
        Conduct::Exaggerates => honest(EXAGGERATION),
        Conduct::Silent => None,
        Conduct::Guesses => {
            replayed(vec![digest(b"guess", &account); case.segments.len()], true, deed.gain)
        }
        Conduct::OneOfThree => (Prf::new("one of three", seed, &[&account.to_le_bytes()]).below(3)
            == 0)
            .then(|| honest(0))
            .flatten(),
        Conduct::Vouches if deed.accomplice => replayed(opened_ends(case, deed), true, deed.gain),
        Conduct::Vouches => honest(0),
        Conduct::Accuses => replayed(vec![[0xff; 32]; case.segments.len()], true, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: fn() -> AuditConfig = AuditConfig::default;

    fn rulings(validators: &Validators, deed: Deed) -> Vec<Ruling> {
        let deeds: Vec<_> = (0..40).map(|trainer| (trainer, deed)).collect();
        audit(&CONFIG(), seed(1, "test", 0), 3, validators, &deeds)
    }

    #[test]
    fn an_honest_network_settles_everything_in_one_draw() {
        for ruling in rulings(&Validators::equal(20, 0, Conduct::Honest), Deed::honest(10, 500)) {
            assert_eq!(
                (ruling.first, ruling.verdict, ruling.measure.gain),
                (Verdict::Valid, Verdict::Valid, 500)
            );
            assert_eq!(ruling.panel.len(), 3);
            assert!(
                ruling.panel.iter().all(|seat| seat.right && seat.worked)
                    && ruling.wasted.is_empty()
            );
        }
    }

    #[test]
    fn a_forged_update_is_invalid_or_withheld() {
        let validators = Validators::equal(20, 0, Conduct::Honest);
        let forged = Deed { forged: u64::MAX, ..Deed::honest(10, 500) };
        let of = |deed| {
            rulings(&validators, deed).into_iter().map(|ruling| ruling.verdict).collect::<Vec<_>>()
        };
        assert!(of(forged).into_iter().all(|verdict| verdict == Verdict::Invalid));
        assert!(
            of(Deed { packed: false, ..Deed::honest(10, 500) })
                .into_iter()
                .all(|verdict| verdict == Verdict::Invalid)
        );
        assert!(
            of(Deed { aborts: true, ..forged })
                .into_iter()
                .all(|verdict| verdict == Verdict::Withheld)
        );
        assert!(
            of(Deed { aborts: true, ..Deed::honest(10, 5) })
                .into_iter()
                .all(|verdict| verdict == Verdict::Valid)
        );
        assert!(
            of(Deed { withholds: true, ..Deed::honest(10, 5) })
                .into_iter()
                .all(|verdict| verdict == Verdict::Withheld)
        );
    }

    #[test]
    fn a_silent_minority_delays_and_does_not_decide() {
        let validators = Validators::equal(20, 4, Conduct::Silent);
        let rulings = rulings(&validators, Deed::honest(10, 500));
        let again = rulings.iter().filter(|ruling| ruling.first == Verdict::Unresolved).count();
        assert!(again > 5, "{again} of 40 were drawn again");
        for ruling in rulings.iter().filter(|ruling| ruling.verdict == Verdict::Valid) {
            for seat in ruling.panel.iter().chain(&ruling.wasted) {
                let honest = validators.conduct_of(seat.account) == Conduct::Honest;
                assert_eq!(seat.worked, honest);
            }
            assert!(ruling.panel.iter().all(|seat| seat.right == seat.worked));
        }
    }

    #[test]
    fn colluders_with_all_the_stake_decide_everything() {
        let (vouching, accusing) =
            (Validators::equal(9, 9, Conduct::Vouches), Validators::equal(9, 9, Conduct::Accuses));
        let cheat =
            Deed { forged: u64::MAX, packed: false, accomplice: true, ..Deed::honest(10, 1) };
        assert!(rulings(&vouching, cheat).iter().all(|ruling| ruling.verdict == Verdict::Valid));
        assert!(
            rulings(&vouching, Deed { accomplice: false, ..cheat })
                .iter()
                .all(|ruling| ruling.verdict == Verdict::Invalid)
        );
        assert!(
            rulings(&accusing, Deed::honest(10, 1))
                .iter()
                .all(|ruling| ruling.verdict == Verdict::Invalid)
        );
    }
}
