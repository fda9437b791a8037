//! Attacks on draws and arithmetic, many thousand times over in this process: the chain's own
//! functions, fixed seeds.

use crate::report::{Row, wilson};
use pol_primitives::{
    Balance, Hash, MILLION, POL,
    audit::{Finding, Measure, Verdict, draw_seats, draw_segments, judge, weight},
    prf::Prf,
    rewards::{Earned, Emission, RoundPool},
};

/// Draws of each kind.
const DRAWS: u32 = 10_000;
/// Segments of a lease in these draws.
const SEGMENTS: u16 = 10;
/// What a trainer pays at least for one identity's lease: five calls of a hundred bytes.
const FEES: Balance = 5 * 100 * 1_000_000;

fn seed(domain: &[u8], number: u32) -> Hash {
    pol_primitives::digest(domain, &number)
}

fn within(expected: f64, [low, high]: [f64; 2]) -> bool {
    (low..=high).contains(&expected)
}

/// 5: honest large segments and forged small ones. All segments are of equal steps, so that what is
/// saved by a forged one is its share of the work, and it is drawn at just that rate.
pub fn small_segments() -> Row {
    const FORGED: [u16; 2] = [3, 8];
    let trainer = [5u8; 32];
    let hit = |draw: &u32| {
        let drawn =
            draw_segments(&seed(b"pol/attacks/segments", *draw), &trainer, SEGMENTS, 1, &[]);
        drawn.iter().any(|segment| FORGED.contains(segment))
    };
    let hits = (0..DRAWS).filter(hit).count() as u64;
    let share = FORGED.len() as f64 / f64::from(SEGMENTS);
    let row = Row::new(5, "forged segments, drawn", "rate = forged share").counted(
        DRAWS.into(),
        hits,
        hits,
    );
    let interval = wilson(hits, DRAWS.into());
    let held = within(share, interval);
    Row { interval, ..row }.held(
        held,
        format!(
            "2 of {SEGMENTS} segments forged: drawn at {:.4}, their share is {share}",
            hits as f64 / f64::from(DRAWS)
        ),
    )
}

/// What a thousandth of lying stake does to honest updates: how many are found valid, condemned and
/// left undecided.
struct Collusion {
    valid: u32,
    condemned: u32,
    undecided: u32,
}

/// Audits of honest updates by `validators` of equal stake, `liars` of which agree on something
/// else.
fn collude(validators: u32, liars: u32, seats: usize, more: usize, updates: u32) -> Collusion {
    let stakes: Vec<(u32, Balance)> = (0..validators).map(|who| (who, 5_000 * POL)).collect();
    let (right, wrong) = ([1u8; 32], [2u8; 32]);
    let found = |end: Hash| Finding::Replayed {
        ends: pol_primitives::BoundedVec::truncate_from(vec![end]),
        packed: true,
        measure: Measure::default(),
    };
    let (honest, lie) = (found(right), found(wrong));
    let verdict = |seed: &Hash, seats: usize| {
        let drawn = draw_seats(seed, &u32::MAX, &stakes, seats);
        let said: Vec<_> = drawn
            .into_iter()
            .map(|at| (stakes[at].1, Some(if (at as u32) < liars { &lie } else { &honest })))
            .collect();
        judge(Some(&[right]), &said)
    };
    let mut counted = Collusion { valid: 0, condemned: 0, undecided: 0 };
    for update in 0..updates {
        let first = verdict(&seed(b"pol/attacks/seats/0", update), seats);
        let last = if first == Verdict::Unresolved {
            verdict(&seed(b"pol/attacks/seats/1", update), more)
        } else {
            first
        };
        match last {
            Verdict::Valid => counted.valid += 1,
            Verdict::Invalid => counted.condemned += 1,
            Verdict::Withheld | Verdict::Unresolved => counted.undecided += 1,
        }
    }
    counted
}

/// 13: which part of honest updates a lying part of the stake condemns, by numbers of seats. Draws
/// are by stake, so that small numbers of seats are decided by minorities now and then: this is the
/// price of few seats, and it is stated.
pub fn collusion() -> Row {
    const VALIDATORS: u32 = 100;
    let shares = [10, 20, 30, 50, 75];
    let mut notes = Vec::new();
    let mut held = true;
    for (seats, more) in [(3, 7), (7, 15), (15, 16)] {
        let rates: Vec<String> = shares
            .iter()
            .map(|&liars| {
                let Collusion { valid, condemned, undecided } =
                    collude(VALIDATORS, liars, seats, more, DRAWS);
                // Below a third, lies may delay and seldom win; above two thirds they decide.
                held &= valid + condemned + undecided == DRAWS;
                held &= match liars {
                    30 if seats >= 15 => {
                        condemned == 0 || f64::from(condemned) / f64::from(DRAWS) < 0.001
                    }
                    10 => f64::from(valid) / f64::from(DRAWS) > 0.99,
                    75 => condemned > valid,
                    _ => true,
                };
                let percent = |count: u32| f64::from(count) * 100.0 / f64::from(DRAWS);
                format!(
                    "{liars} %: {:.2}/{:.2}/{:.2}",
                    percent(valid),
                    percent(condemned),
                    percent(undecided)
                )
            })
            .collect();
        notes.push(format!("{seats} seats then {more}: {}", rates.join(", ")));
    }
    let (tries, found) = {
        let Collusion { valid, .. } = collude(VALIDATORS, 30, 3, 7, DRAWS);
        (u64::from(DRAWS), u64::from(valid))
    };
    Row::new(13, "lying stake, drawn", "rates stated").tried(tries, found).held(
        held,
        format!(
            "valid/condemned/undecided % of honest updates by share of lying stake. {}",
            notes.join("; ")
        ),
    )
}

/// 15: one trainer's work split over several identities. Weights add up at best, and every identity
/// pays fees and a bond.
pub fn sybils() -> Row {
    let mut prf = Prf::new("pol/attacks/sybils", &[15; 32], &[]);
    let (mut gains, mut best) = (0u64, i128::MIN);
    for _ in 0..DRAWS {
        let (tokens, score) = (u64::from(prf.below(1 << 24)) + 8, prf.below(2_000_000));
        let (quality, others) = (prf.below(MILLION + 1), prf.next_u64());
        let parts = u64::from(prf.below(7)) + 2;
        // Less work never helps more, and at best as much.
        let split: Vec<(u32, u64)> = (0..parts)
            .map(|part| {
                let score =
                    if prf.below(2) == 0 { score } else { prf.below(score.saturating_add(1)) };
                (score, tokens / parts + u64::from(part < tokens % parts))
            })
            .collect();
        let paid = |work: &[(u32, u64)]| {
            let mut pool = RoundPool::new(&Emission::default().of(1), 64);
            let earned: Vec<Earned> = work
                .iter()
                .map(|(score, tokens)| Earned {
                    training: weight(*score, *tokens, MILLION, quality),
                    ..Earned::default()
                })
                .collect();
            pool.add(&Earned { training: others.into(), ..Earned::default() });
            earned.iter().for_each(|earned| pool.add(earned));
            earned.iter().map(|earned| pool.take(earned)).sum::<Balance>()
        };
        let costs = |identities: usize| FEES.saturating_mul(identities as Balance);
        let profit = |paid: Balance, identities: usize| paid as i128 - costs(identities) as i128;
        let gain = profit(paid(&split), split.len()) - profit(paid(&[(score, tokens)]), 1);
        best = best.max(gain);
        gains += u64::from(gain > 0);
    }
    let tries = u64::from(DRAWS);
    Row::new(15, "one trainer as 2 to 8", "profit gain <= 0").tried(tries, tries - gains).held(
        gains == 0,
        format!("best gain {best} units of {POL} to the POL, before the interest on one bond an identity; a copied update is refused (2)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_segments_are_drawn_at_their_share() {
        let row = small_segments();
        assert!(row.held, "{row:?}");
    }

    #[test]
    fn splitting_gains_nothing() {
        let row = sybils();
        assert!(row.held, "{row:?}");
    }

    #[test]
    fn a_third_of_the_stake_delays_and_two_thirds_decide() {
        let row = collusion();
        assert!(row.held, "{row:?}");
    }
}
