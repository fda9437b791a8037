//! Attacks on the running network, many of them in the same rounds, judged by what the chain says
//! afterwards.

use crate::{
    byhand::{self, Gate},
    cheat::{Cheat, Kind, SKIPPED},
    floods,
    lab::Lab,
    network::{self, AUDITS, Network, TRAINERS, VALIDATORS},
    report::Row,
    watch::{Seen, Watch},
};
use anyhow::{Context, Result};
use clap::Parser;
use futures::future::join_all;
use pol_chain::{AccountId, Call};
use pol_engine::LeaseData;
use pol_primitives::{
    Balance, MILLION, POL, RoundNumber,
    audit::{AuditConfig, Measure, weight},
    peer::{Address, Endpoint, Role},
    recipe::Numerics,
    submission::Outcome,
};
use pol_trainer::{cli, commands};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What follows from being caught, in the runtime.
const INVALID_PENALTY: Balance = 1_000 * POL;
const WITHHELD_PENALTY: Balance = 200 * POL;
const SEAT_PENALTY: Balance = 50 * POL;
/// What an attacker gets, and what of it it bonds: enough to be caught several times.
pub(crate) const FUNDS: Balance = 12_000 * POL;
pub(crate) const BOND: Balance = 10_000 * POL;
/// Bonds of a minority of liars, and of colluders before and after they have a majority.
const LIAR: Balance = 5_000 * POL;
const HALF: Balance = 45_000 * POL;
const MORE: Balance = 250_000 * POL;

/// What the chain should say of an update.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Invalid,
    Withheld,
    /// Invalid where a false segment is drawn, valid otherwise.
    InvalidIfDrawn,
    Valid,
}

/// An attacker that is a role with some of its choices made otherwise.
struct Plan {
    class: u8,
    kind: Kind,
    account: &'static str,
    attack: &'static str,
    required: &'static str,
    expected: Expected,
}

const fn plan(class: u8, kind: Kind, account: &'static str, attack: &'static str) -> Plan {
    Plan { class, kind, account, attack, required: "100 %", expected: Expected::Invalid }
}

const PLANS: [Plan; 19] = [
    plan(1, Kind::Zeros, "attacker-zeros", "zeros, no training"),
    plan(1, Kind::Noise, "attacker-noise", "noise, no training"),
    plan(4, Kind::Interpolated, "attacker-interpolated", "interpolated states"),
    plan(4, Kind::Slow, "attacker-slow", "learning rate / 1,000"),
    Plan {
        required: "caught where drawn",
        expected: Expected::InvalidIfDrawn,
        ..plan(6, Kind::Skips, "attacker-skips", "skips 2 of 4")
    },
    plan(7, Kind::HalfBatch, "attacker-halfbatch", "half the batch"),
    plan(7, Kind::Faster, "attacker-faster", "learning rate + 1 %"),
    plan(8, Kind::OtherText, "attacker-othertext", "synthetic text"),
    plan(8, Kind::HeldOutText, "attacker-heldout", "held-out text"),
    plan(9, Kind::Moments, "attacker-moments", "invented moments"),
    plan(9, Kind::Feedback, "attacker-feedback", "invented feedback"),
    plan(9, Kind::Inflated, "attacker-inflated", "payload not the difference"),
    plan(10, Kind::Flipped, "attacker-flipped", "signs flipped"),
    plan(10, Kind::Scaled, "attacker-scaled", "scaled by 100"),
    plan(10, Kind::Backdoored, "attacker-backdoored", "backdoor trained in"),
    plan(12, Kind::Rounded, "attacker-rounded", "bfloat16 states"),
    Plan {
        required: "withheld, 200 POL",
        expected: Expected::Withheld,
        ..plan(16, Kind::HidesStart, "attacker-hidesstart", "shows no start")
    },
    Plan {
        required: "withheld, 200 POL",
        expected: Expected::Withheld,
        ..plan(16, Kind::HidesEnd, "attacker-hidesend", "opens no end")
    },
    Plan {
        required: "no effect",
        expected: Expected::Valid,
        ..plan(18, Kind::Boasts, "attacker-boasts", "false claims")
    },
];

/// Validators that lie: alone, and two together.
const GUESSER: &str = "validator-4";
const ACCUSER: &str = "validator-5";
const COLLUDERS: [&str; 2] = ["validator-6", "validator-7"];

/// Which attacks are tried.
pub struct Selection(pub BTreeSet<u8>);

impl Selection {
    /// Whether attacks of this class are.
    pub fn has(&self, class: u8) -> bool {
        self.0.contains(&class)
    }

    /// Whether anything needs a network.
    pub fn is_live(&self) -> bool {
        self.0.iter().any(|class| ![5, 15].contains(class))
    }
}

/// A role of an attacker, run as the released program runs it.
pub(crate) type Roles = JoinSet<(&'static str, Result<()>)>;

/// Tells what is going on.
pub type Say = fn(&str);

/// Everything that needs the network; `rounds` leases for each attacker. Rows are pushed as they
/// are found.
pub async fn run(
    selection: &Selection,
    rounds: u32,
    logs: &Path,
    rows: &mut Vec<Row>,
    say: Say,
) -> Result<()> {
    say("starting the node and preparing data");
    let network = Network::start(logs, Numerics::Exact).await?;
    let watch = Watch::default();
    let following = tokio::spawn(watch.clone().follow(network.chain.clone(), network.rpc));
    let outcome = attack(&network, &watch, selection, rounds, rows, say).await;
    following.abort();
    let casualties = network.casualties();
    if !casualties.is_empty() {
        let row = Row::new(21, "processes of the network", "none ends or panics").tried(1, 0);
        rows.push(row.held(false, casualties.join("; ")));
    }
    outcome
}

async fn attack(
    network: &Network,
    watch: &Watch,
    selection: &Selection,
    rounds: u32,
    rows: &mut Vec<Row>,
    say: Say,
) -> Result<()> {
    let plans: Vec<&Plan> = PLANS.iter().filter(|plan| selection.has(plan.class)).collect();
    let by_hand: Vec<&str> = byhand::ACCOUNTS
        .iter()
        .filter(|(class, _)| selection.has(*class))
        .map(|(_, name)| *name)
        .collect();
    let liars: Vec<&str> = [(14, GUESSER), (19, ACCUSER), (14, byhand::COPIER)]
        .into_iter()
        .filter(|(class, _)| selection.has(*class))
        .map(|(_, name)| name)
        .collect();
    let planned = plans.iter().map(|plan| plan.account);
    let everybody: Vec<&str> = planned.clone().chain(by_hand.iter().copied()).collect();
    say(&format!(
        "{} attacking trainers and {} lying validators get their bonds",
        everybody.len(),
        liars.len()
    ));
    network.fund(everybody.iter().copied(), FUNDS).await?;
    join_all(planned.clone().map(|name| network.bond(name, Role::Trainer, BOND)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    join_all(liars.iter().map(|name| network.bond(name, Role::Validator, LIAR)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let watched = everybody
        .iter()
        .chain(&liars)
        .chain(&TRAINERS)
        .chain(VALIDATORS.iter().map(|(name, _)| name))
        .chain(&COLLUDERS);
    watch
        .add(watched.map(|name| Ok(network::signer(name)?.account())).collect::<Result<Vec<_>>>()?);
    let honest = honest_accounts(selection)?;
    watch.add_paid(honest.iter().copied());
    watch.add_paid(
        liars
            .iter()
            .map(|name| Ok(network::signer(name)?.account()))
            .collect::<Result<Vec<_>>>()?,
    );
    let experiments = experiments(network, selection)?;
    network.start_validators().await?;
    say("round zero is attested; the attackers come in");
    let mut roles = Roles::new();
    for name in liars.iter().filter(|name| **name != byhand::COPIER) {
        let kind = if *name == GUESSER { Kind::Guesses } else { Kind::Accuses };
        enlist(network, &mut roles, name, "validator", kind)?;
    }
    if selection.has(14) {
        sit_down(network, byhand::COPIER).await?;
    }
    let (open, gate) = watch::channel(false);
    let sequences = sequences(network, selection, &gate);
    let led = join_all(sequences);
    let parade = async {
        // Those led by hand bond and register meanwhile.
        let ready = || async {
            let members = network.chain.members().await?;
            let there = |name: &&str| {
                network::signer(name).is_ok_and(|signer| {
                    members.iter().any(|m| m.account == signer.account() && m.endpoint.is_some())
                })
            };
            Ok(by_hand.iter().all(there).then_some(()))
        };
        network.until("the attackers led by hand are members", 30, ready).await?;
        Ok::<_, anyhow::Error>(())
    };
    tokio::pin!(led);
    let mut finished_by_hand = None;
    tokio::select! {
        ready = parade => ready?,
        rows = &mut led => finished_by_hand = Some(rows),
    }
    for plan in &plans {
        enlist(network, &mut roles, plan.account, "trainer", plan.kind)?;
    }
    // The first attackers of a round start its clock, so everybody comes at once.
    start_honest(network, &open).await?;
    let wave = async {
        let leaving = leave_after(network, watch, &plans, rounds, say);
        match finished_by_hand {
            Some(rows) => (rows, leaving.await),
            None => futures::join!(led, leaving),
        }
    };
    let (by_hand_rows, left) = wave.await;
    let mut found: Vec<Row> = by_hand_rows.into_iter().flatten().collect();
    left?;
    // The copier has left already.
    for name in liars.iter().filter(|name| **name != byhand::COPIER) {
        network.insist(name, Call::Unbond, 40).await?;
    }
    {
        let seen = watch.seen();
        found.extend(plans.iter().map(|plan| judge(plan, &seen, &honest, network)));
        if selection.has(14) {
            found.push(liar(
                &seen,
                GUESSER,
                Row::new(14, "guessed evidence", "unpaid, then slashed"),
            )?);
        }
        if selection.has(19) {
            found.push(liar(
                &seen,
                ACCUSER,
                Row::new(19, "false accusations", "accuser pays, then slashed"),
            )?);
        }
    }
    if selection.has(21) {
        say("malformed bytes at the node's RPC");
        found.push(
            floods::malformed(network).await.unwrap_or_else(|error| {
                Row::new(21, "extrinsics and RPC", "no panic").failed(&error)
            }),
        );
    }
    if selection.has(22) {
        say("floods of extrinsics, connections and requests while the others work");
        found.push(
            floods::flood(network).await.unwrap_or_else(|error| {
                Row::new(22, "floods", "honest work goes on").failed(&error)
            }),
        );
    }
    if selection.has(10) {
        say("replaying the model without what was found");
        found.push(floods::harm(network).await.unwrap_or_else(|error| {
            Row::new(10, "model after excision", "loss within 2 %").failed(&error)
        }));
    }
    found.extend(experiments.await?);
    let wrongs = false_positives(&watch.seen(), &honest);
    rows.extend(found.into_iter().map(|row| Row { false_positives: wrongs, ..row }));
    // Whatever is attacked, the honest must come through it.
    rows.push(honest_fleet(&watch.seen(), &honest, wrongs)?);
    // From here on honest members are wronged, as the class says.
    if selection.has(13) {
        collude(network, watch, &mut roles, rows, say).await?;
    }
    while let Some(ended) = roles.try_join_next() {
        if let Ok((name, Err(error))) = ended {
            tracing::warn!("{name} ended: {error:#}");
        }
    }
    Ok(())
}

async fn start_honest(network: &Network, open: &watch::Sender<bool>) -> Result<()> {
    network.start_trainers()?;
    open.send(true).context("nobody waits for the attacks to begin")
}

/// Attacks on training that need no network, on a thread of their own.
fn experiments(network: &Network, selection: &Selection) -> Result<JoinHandle<Vec<Row>>> {
    let shards = network.shards(pol_data::TRAIN, 0, u32::MAX)?;
    let lab = Lab {
        recipe: network.recipe.clone(),
        shards,
        held_out: network.shards(pol_data::HELD_OUT, 0, 4)?,
    };
    let [skips, poison, drift, decoders] = [6, 10, 11, 21].map(|class| selection.has(class));
    Ok(tokio::task::spawn_blocking(move || {
        let tried =
            |row: Row, outcome: Result<Row>| outcome.unwrap_or_else(|error| row.failed(&error));
        let mut rows = Vec::new();
        if skips {
            rows.push(tried(Row::new(6, "skips j of M, drawn", "p = j/M ± CI"), lab.skips()));
        }
        if poison {
            rows.push(tried(
                Row::new(10, "a fifth poisons, excised", "loss within 2 %"),
                lab.poison(),
            ));
        }
        if drift {
            rows.push(tried(
                Row::new(11, "drift inside a tolerance", "measured harm < 1 %"),
                lab.drift(),
            ));
        }
        if decoders {
            rows.push(tried(
                Row::new(21, "payload and state bytes", "no panic, typed errors"),
                lab.decoders(),
            ));
        }
        rows
    }))
}

/// Members of the run that are honest, in what they train or validate.
fn honest_accounts(selection: &Selection) -> Result<Vec<AccountId>> {
    let by_hand = byhand::ACCOUNTS
        .iter()
        .filter(|(class, name)| selection.has(*class) && byhand::HONEST.contains(name))
        .map(|(_, name)| *name);
    let boasting = PLANS
        .iter()
        .filter(|plan| selection.has(plan.class) && plan.expected == Expected::Valid)
        .map(|plan| plan.account);
    TRAINERS
        .into_iter()
        .chain(by_hand)
        .chain(boasting)
        .map(|name| Ok(network::signer(name)?.account()))
        .collect()
}

/// An attack that is led by hand.
type Sequence<'a> = Pin<Box<dyn Future<Output = Vec<Row>> + 'a>>;

/// The attacks that are led by hand.
fn sequences<'a>(network: &'a Network, selection: &Selection, gate: &Gate) -> Vec<Sequence<'a>> {
    let mut all: Vec<Sequence<'a>> = Vec::new();
    let gate = || gate.clone();
    if selection.has(2) {
        all.push(Box::pin(byhand::copies(network, gate())));
    }
    for class in [3, 9].into_iter().filter(|class| selection.has(*class)) {
        all.push(Box::pin(byhand::starts(network, gate(), class)));
    }
    if selection.has(14) {
        let gate = gate();
        all.push(Box::pin(async move {
            let rows = byhand::copies_evidence(network, gate).await;
            // Silent seats would hold up every audit to come.
            if let Err(error) = network.insist(byhand::COPIER, Call::Unbond, 40).await {
                tracing::warn!("{error:#}");
            }
            rows
        }));
    }
    if selection.has(16) {
        all.push(Box::pin(byhand::stops_early(network, gate())));
    }
    if selection.has(17) {
        all.push(Box::pin(byhand::commits_late(network, gate())));
        all.push(Box::pin(byhand::withholds(network, gate(), true)));
        all.push(Box::pin(byhand::withholds(network, gate(), false)));
    }
    if selection.has(21) {
        all.push(Box::pin(byhand::garbage_payload(network, gate())));
        all.push(Box::pin(byhand::garbage_states(network, gate())));
    }
    all
}

/// Runs an attacker as the released program would, but for its conduct.
pub(crate) fn enlist(
    network: &Network,
    roles: &mut Roles,
    name: &'static str,
    role: &str,
    kind: Kind,
) -> Result<()> {
    let (url, path) = (network.rpc.url(), network.path(name));
    let path = path.to_str().context("the temporary folder's name is no text")?;
    let arguments = [
        "pol-trainer",
        "--node",
        &url,
        "--dev-account",
        name,
        "--role",
        role,
        "--tier",
        "whale",
        "--workers",
        "1",
        "--base-path",
        path,
    ];
    let options = cli::Options::try_parse_from(arguments)?.run;
    let text = Arc::new(network.shards(pol_data::HELD_OUT, 0, 4)?);
    let shards = network.recipe.shards_per_lease(pol_primitives::recipe::Tier::Whale) as usize;
    let cheat = Cheat { kind, text, shards };
    roles.spawn(async move { (name, commands::run::run(options, cheat).await) });
    Ok(())
}

/// Makes a validator of the account that does nothing by itself.
async fn sit_down(network: &Network, name: &str) -> Result<()> {
    let addresses = [Address::V4([127, 0, 0, 1], 9)]
        .to_vec()
        .try_into()
        .ok()
        .context("one address is not too many")?;
    network
        .insist(name, Call::SetEndpoint { endpoint: Endpoint { id: [8; 32], addresses } }, 40)
        .await
}

/// Lets every attacker lease `rounds` times, takes its role away then, and waits until all it did
/// is settled.
async fn leave_after(
    network: &Network,
    watch: &Watch,
    plans: &[&Plan],
    rounds: u32,
    say: Say,
) -> Result<()> {
    let blocks = 120 + 60 * rounds;
    let mut accounts: BTreeMap<&str, (AccountId, bool)> = BTreeMap::new();
    for plan in plans {
        accounts.insert(plan.account, (network::signer(plan.account)?.account(), false));
    }
    // Without attackers of this kind the honest ones still finish some rounds.
    let wanted = RoundNumber::from(u16::try_from(rounds)?);
    let accounts = tokio::sync::Mutex::new((accounts, String::new()));
    let done = || async {
        let mut guard = accounts.lock().await;
        let (accounts, said) = &mut *guard;
        let overview = network.chain.overview().await?;
        let now = overview.round.number;
        let mut open = 0;
        for (name, (account, left)) in accounts.iter_mut() {
            if !*left && network.chain.standing(account).await?.nonce >= rounds {
                // Refused while votes are counted, and tried again then.
                *left = network.chain.submit(&network::signer(name)?, Call::Unbond).await.is_ok();
            }
            let lease = network.chain.lease(account).await?;
            open += usize::from(!*left || lease.is_some_and(|lease| lease.due_round >= now));
        }
        let mut pending = 0;
        for round in now.saturating_sub(6)..now {
            let updates = network.chain.updates(round).await?;
            let seen = watch.seen();
            pending += updates
                .iter()
                .filter(|update| accounts.values().any(|(account, _)| *account == update.account))
                .filter(|update| !seen.ended.contains_key(&(round, update.account)))
                .count();
        }
        let phase = format!(
            "round {now}, {:?}: {open} leases of attackers open, {pending} of their updates not settled",
            overview.round.phase
        );
        if *said != phase {
            say(&format!("block {}, {phase}", overview.now));
            *said = phase;
        }
        let honest_settled =
            watch.seen().ended.keys().map(|(round, _)| *round).collect::<BTreeSet<_>>().len()
                as u32;
        Ok((open == 0 && pending == 0 && honest_settled >= wanted).then_some(()))
    };
    network.until("all attacks are settled", blocks, done).await
}

/// Honest updates that did not stay in the model.
pub fn false_positives(seen: &Seen, honest: &[AccountId]) -> u64 {
    let wronged = [Outcome::Invalid, Outcome::Withheld, Outcome::Unresolved, Outcome::Tainted];
    honest
        .iter()
        .map(|account| {
            wronged.into_iter().map(|outcome| seen.ended_as(account, outcome)).sum::<u64>()
        })
        .sum()
}

/// What the chain said of an attacker's updates.
fn judge(plan: &Plan, seen: &Seen, honest: &[AccountId], network: &Network) -> Row {
    let row = Row::new(plan.class, plan.attack, plan.required);
    let Ok(signer) = network::signer(plan.account) else { return row };
    let account = signer.account();
    let (mut attempts, mut sampled, mut detected, mut wrong) = (0, 0, 0, Vec::new());
    for (round, settled) in seen.ended_of(&account) {
        if matches!(settled.outcome, Outcome::NoShow | Outcome::Excluded) {
            wrong.push(format!("round {round} ended as {:?}", settled.outcome));
            continue;
        }
        attempts += 1;
        let drawn = seen
            .last_draw(round, &account)
            .is_some_and(|case| case.segments.iter().any(|segment| SKIPPED.contains(segment)));
        let expected = match plan.expected {
            Expected::Invalid => Outcome::Invalid,
            Expected::Withheld => Outcome::Withheld,
            Expected::InvalidIfDrawn if drawn => Outcome::Invalid,
            Expected::InvalidIfDrawn | Expected::Valid => Outcome::Valid,
        };
        // An update that goes on from one that was taken out is so too.
        let follows = expected == Outcome::Valid
            && plan.expected == Expected::InvalidIfDrawn
            && settled.outcome == Outcome::Tainted;
        if expected != Outcome::Valid {
            sampled += 1;
            detected += u64::from(settled.outcome == expected);
        }
        if settled.outcome != expected && !follows {
            wrong.push(format!(
                "round {round} ended as {:?} and not as {expected:?}",
                settled.outcome
            ));
        }
    }
    let penalty =
        if plan.expected == Expected::Withheld { WITHHELD_PENALTY } else { INVALID_PENALTY };
    let slashed = u64::try_from(seen.lost(&account) / penalty).unwrap_or(u64::MAX);
    let row = row.counted(attempts, sampled, detected).slashed(slashed);
    let held = attempts > 0 && wrong.is_empty() && slashed == detected;
    if plan.expected == Expected::Valid {
        return match proportional(seen, &account, honest, network) {
            Ok(compared) => row.held(
                held,
                format!(
                    "{compared} rounds paid in proportion to what others measured; {}",
                    wrong.join("; ")
                ),
            ),
            Err(error) => row.failed(&error),
        };
    }
    if slashed != detected {
        wrong.push(format!("lost {} POL for {detected} detections", seen.lost(&account) / POL));
    }
    row.held(held, wrong.join("; "))
}

/// Checks that the account was paid, like everybody honest in the same rounds, in proportion to
/// measured improvement, tokens and quality; in how many rounds.
fn proportional(
    seen: &Seen,
    account: &AccountId,
    honest: &[AccountId],
    network: &Network,
) -> Result<u64> {
    let weight_of = |round: RoundNumber, who: &AccountId| -> Result<Option<u128>> {
        let (Some(settled), Some(lease)) =
            (seen.ended.get(&(round, *who)), seen.leases.get(&(round, *who)))
        else {
            return Ok(None);
        };
        if settled.outcome != Outcome::Valid {
            return Ok(None);
        }
        let score =
            Measure { gain: settled.gain, error: settled.error, ..Measure::default() }.score();
        let shard = |id: &pol_primitives::data::ShardId| -> Result<Vec<u32>> {
            network
                .shards(pol_data::TRAIN, id.index, 1)?
                .pop()
                .context("the lease's shard is not in the folder")
        };
        let data = LeaseData::new(
            &network.recipe,
            lease.shards.iter().map(shard).collect::<Result<_>>()?,
        )?;
        let quality =
            pol_primitives::data::quality((0..data.sequences()).filter_map(|at| data.sequence(at)));
        Ok(Some(weight(score, settled.tokens, MILLION, quality)))
    };
    let mut compared = 0;
    for (round, _) in seen.ended_of(account) {
        let Some(own) = weight_of(round, account)? else { continue };
        for other in honest.iter().filter(|other| *other != account) {
            let Some(theirs) = weight_of(round, other)? else { continue };
            let pay = |who: &AccountId| seen.pay.get(&(round, *who)).copied().unwrap_or(0);
            let (paid, paid_other) =
                (pay(account) as f64 * theirs as f64, pay(other) as f64 * own as f64);
            let even = (paid - paid_other).abs() <= 0.005 * paid.max(paid_other);
            anyhow::ensure!(
                even,
                "round {round} paid {} for a weight of {own} and {} for {theirs}",
                pay(account),
                pay(other)
            );
            compared += 1;
        }
    }
    Ok(compared)
}

/// What became of a validator that lied in every seat.
fn liar(seen: &Seen, name: &str, row: Row) -> Result<Row> {
    let account = network::signer(name)?.account();
    let seats = seen.seats.get(&account).copied().unwrap_or(0);
    let slashed = u64::try_from(seen.lost(&account) / SEAT_PENALTY).unwrap_or(u64::MAX);
    let paid: Balance =
        seen.pay.iter().filter(|((_, who), _)| *who == account).map(|(_, paid)| *paid).sum();
    let held = slashed > 0 && paid == 0;
    let note = format!(
        "{seats} seats, lost {} POL of its bond, paid {} POL",
        seen.lost(&account) / POL,
        paid / POL
    );
    Ok(row.tried(seats, seats).slashed(slashed).held(held, note))
}

/// 20: what became of everybody honest.
fn honest_fleet(seen: &Seen, honest: &[AccountId], wrongs: u64) -> Result<Row> {
    let settled: u64 = honest
        .iter()
        .map(|account| {
            seen.ended_of(account)
                .filter(|(_, settled)| settled.outcome != Outcome::Excluded)
                .count() as u64
        })
        .sum();
    let members = TRAINERS.into_iter().chain(VALIDATORS.iter().map(|(name, _)| *name));
    let mut lost = Vec::new();
    for name in members {
        let loss = seen.lost(&network::signer(name)?.account());
        // A lease that a busy machine missed costs a tenth of a POL.
        if loss >= POL {
            lost.push(format!("{name} lost {} POL", loss / POL));
        }
    }
    let interval = crate::report::wilson(wrongs, settled);
    let row = Row {
        interval,
        ..Row::new(20, "honest members of this run", "0 slashed").counted(settled, 0, 0)
    };
    let row = Row { false_positives: wrongs, ..row }.slashed(lost.len() as u64);
    Ok(row.held(
        settled > 0 && wrongs == 0 && lost.is_empty(),
        format!("{settled} updates settled; the interval is of those wronged. {}", lost.join("; ")),
    ))
}

/// 13: validators that agree on a lie, with about half of the stake and then with more than two
/// thirds of it.
async fn collude(
    network: &Network,
    watch: &Watch,
    roles: &mut Roles,
    rows: &mut Vec<Row>,
    say: Say,
) -> Result<()> {
    say("two validators with half of the stake agree on lies");
    // Everybody sits on every update, so that shares of the stake are shares of the seats.
    let everybody = AuditConfig { seats: 15, more_seats: 16, ..AUDITS };
    network.govern([Call::SetAudits(everybody)]).await?;
    for name in COLLUDERS {
        network.bond(name, Role::Validator, HALF).await?;
        enlist(network, roles, name, "validator", Kind::Colludes)?;
    }
    let total: Balance = VALIDATORS.iter().map(|(_, bond)| bond).sum();
    let share = |bond: Balance| (2 * bond) as f64 / (total + 2 * bond) as f64;
    for (attack, required, expected, bond) in [
        ("half of the stake lies", "undecided: unpaid, unslashed", Outcome::Unresolved, HALF),
        ("four fifths lie", "decide: the honest are slashed", Outcome::Invalid, HALF + MORE),
    ] {
        let row = Row::new(13, attack, required);
        if expected == Outcome::Invalid {
            say("and now with more than two thirds of it");
            for name in COLLUDERS {
                network.insist(name, Call::BondExtra { amount: MORE }, 40).await?;
            }
        }
        rows.push(match stand_trial(network, watch, expected, bond).await {
            Ok((attempts, as_said, lost)) => {
                let slashes = u64::try_from(lost / INVALID_PENALTY)?;
                let held = attempts > 0 && as_said == attempts && (expected == Outcome::Invalid) == (slashes > 0);
                let note = format!(
                    "{:.0} % of the stake: {as_said} of {attempts} honest updates ended as {expected:?}, the honest lost {} POL",
                    share(bond) * 100.0,
                    lost / POL
                );
                // Lies are what is looked for: none was found out.
                row.counted(attempts, attempts, attempts - as_said).slashed(slashes).held(held, note)
            }
            Err(error) => row.failed(&error),
        });
    }
    Ok(())
}

/// How the honest trainers' updates of the next round end under seats that lie: how many there
/// were, how many ended as `expected`, and what the honest lost.
async fn stand_trial(
    network: &Network,
    watch: &Watch,
    expected: Outcome,
    bond: Balance,
) -> Result<(u64, u64, Balance)> {
    let mut accounts = Vec::new();
    for name in TRAINERS {
        accounts.push(network::signer(name)?.account());
    }
    let seated = || async {
        let member = network.chain.member(&network::signer(COLLUDERS[1])?.account()).await?;
        Ok(member.filter(|member| member.endpoint.is_some() && member.bond >= bond).map(drop))
    };
    network.until("the colluders have their stake", 40, seated).await?;
    let lost = |seen: &Seen| accounts.iter().map(|account| seen.lost(account)).sum::<Balance>();
    // Seats on the updates of the round under way are drawn when it is over.
    let (first, before) = (network.chain.overview().await?.round.number, lost(&watch.seen()));
    let settled = || async {
        let seen = watch.seen();
        let of_round = |round: RoundNumber| {
            let outcomes = accounts
                .iter()
                .filter_map(|account| Some(seen.ended.get(&(round, *account))?.outcome));
            outcomes
                .filter(|outcome| *outcome != Outcome::Excluded && *outcome != Outcome::NoShow)
                .collect::<Vec<_>>()
        };
        // The next round whose updates of both were drawn after the colluders came.
        Ok((first..=seen.round()).map(of_round).find(|outcomes| !outcomes.is_empty()))
    };
    let outcomes = network.until("updates are settled by liars", 130, settled).await?;
    let as_said = outcomes.iter().filter(|outcome| **outcome == expected).count() as u64;
    // The block that settles the last one also shows its penalty.
    tokio::time::sleep(network::PAUSE * 6).await;
    let after = lost(&watch.seen());
    Ok((outcomes.len() as u64, as_said, after.saturating_sub(before)))
}
