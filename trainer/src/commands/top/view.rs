// SPDX-License-Identifier: Apache-2.0

//! Texts and numbers of a frame, from facts.

use super::{
    facts::{AccountFacts, Facts},
    feed::{Link, Update},
    history::NewsLine,
    news::Tone,
};
use crate::{
    commands::balances::RewardTotals,
    display::{account_name, format_amount, role_name, short_hash},
};
use pol_chain::{AccountId, format_account};
use pol_primitives::{
    Balance, MILLION, Ppm,
    audit::{Audit, AuditId, Case},
    queries::Member,
    round::{BlockNumber, Phase, Round},
};
use serde_json::{Value, json};
use std::time::Instant;

/// Phases of a round, in their order.
pub(super) const PHASES: [Phase; 5] =
    [Phase::Idle, Phase::Train, Phase::Reveal, Phase::Hold, Phase::Attest];

/// Everything that a frame shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Address of the node, and heights of its blocks.
    pub(super) title: String,
    /// State of the connection.
    pub(super) link: (Tone, String),
    pub(super) clock: Clock,
    /// Account, role, bond, last action, and its age.
    pub(super) members: Vec<[String; 5]>,
    /// Rounds and losses of heads.
    pub(super) losses: Vec<(f64, f64)>,
    /// Names and values of the measures of the newest measured head; absent parts have none.
    pub(super) measures: Vec<(&'static str, Option<f64>)>,
    /// Title of the measures.
    pub(super) measured: String,
    /// Audit, round, stage, settled updates, and the updates.
    pub(super) audits: Vec<[String; 5]>,
    /// Names and values of the network's money.
    pub(super) economy: Vec<(&'static str, String)>,
    /// Names and values of the account, if one is shown.
    pub(super) account: Option<Vec<(&'static str, String)>>,
    /// Events, newest first.
    pub(super) events: Vec<EventRow>,
}

/// Round and phase.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Round and head.
    pub(super) round: String,
    pub(super) phase: Phase,
    /// Share of the longest time of the phase that is over; `None` while nothing runs.
    pub(super) share: Option<f64>,
    /// Remaining time, or the reason why none runs.
    pub(super) deadline: String,
    /// Progress of the round.
    pub(super) progress: String,
}

/// Event with its time.
#[derive(Clone, Debug)]
pub(super) struct EventRow {
    pub(super) time: String,
    pub(super) block: String,
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl View {
    /// Returns the view of an update from a node.
    pub(super) fn new(node: &str, update: &Update) -> Self {
        let facts = &*update.facts;
        let newest = facts.measured.last_key_value();
        Self {
            title: format!("{node}  block {} (final {})", facts.best.number, facts.finalised),
            link: link_text(update.link),
            clock: Clock::new(facts),
            members: facts.members.iter().map(|member| member_row(facts, member)).collect(),
            losses: losses(facts),
            measures: newest.map_or_else(Vec::new, |(_, found)| {
                let level = ("level", found.metrics.level().map(share));
                let parts = found.metrics.parts();
                let parts = parts.into_iter().map(|(name, _, value)| (name, value.map(share)));
                [level].into_iter().chain(parts).collect()
            }),
            measured: newest.map_or_else(
                || "Measures of the mind".to_owned(),
                |(round, found)| {
                    let percent = share(found.share) * 100.0;
                    format!("Measures of round {round}, by {percent:.0} % of the stake")
                },
            ),
            audits: facts.audits.iter().map(audit_row).collect(),
            economy: economy(facts),
            account: facts.account.as_ref().map(|account| account_rows(facts, account)),
            events: facts.history.lines().map(EventRow::new).collect(),
        }
    }
}

impl Clock {
    fn new(facts: &Facts) -> Self {
        let (overview, round) = (&facts.overview, &facts.overview.round);
        let head = overview.head.as_ref().map_or_else(
            || "no model yet".to_owned(),
            |head| {
                format!(
                    "model {} of round {}, {} tokens",
                    short_hash(&head.root),
                    head.round,
                    head.tokens
                )
            },
        );
        let elapsed = overview.now.saturating_sub(round.phase_since);
        let length = round
            .deadline
            .filter(|_| round.phase != Phase::Idle)
            .map(|deadline| deadline.saturating_sub(round.phase_since));
        let left = length.map(|length| length.saturating_sub(elapsed));
        Self {
            round: format!("round {} · {head}", round.number),
            phase: round.phase,
            share: length
                .filter(|&length| length > 0)
                .map(|length| (f64::from(elapsed) / f64::from(length)).clamp(0.0, 1.0)),
            deadline: match (round.phase, left) {
                (_, Some(left)) => format!(
                    "at most {left} more blocks, {}",
                    format_seconds(f64::from(left) * facts.block_seconds)
                ),
                (Phase::Idle, None) => "between two rounds".to_owned(),
                (_, None) => "waits for a trainer".to_owned(),
            },
            progress: progress(round),
        }
    }
}

/// Returns the progress of a round.
fn progress(round: &Round) -> String {
    let Round { due, committed, revealed, .. } = round;
    let mut text = format!("{due} leases, {committed} committed, {revealed} revealed");
    if !round.included.is_empty() {
        text.push_str(&format!(", {} included", round.included.len()));
    }
    if round.attempt > 0 {
        text.push_str(&format!(", {} failed attempts to attest", round.attempt));
    }
    text
}

impl EventRow {
    fn new(line: &NewsLine) -> Self {
        let seconds = line.time / 1_000;
        Self {
            time: format!(
                "{:02}:{:02}:{:02}",
                seconds / 3_600 % 24,
                seconds / 60 % 60,
                seconds % 60
            ),
            block: format!("#{}", line.block),
            tone: line.tone,
            text: line.text.clone(),
        }
    }
}

fn link_text(link: Link) -> (Tone, String) {
    let since = |time: Instant| format_seconds(time.elapsed().as_secs_f64());
    match link {
        Link::Live => (Tone::Good, "live".to_owned()),
        Link::Late(time) => (Tone::Plain, format!("no new block for {}", since(time))),
        Link::Lost(time) => (Tone::Bad, format!("node lost {} ago, reconnecting", since(time))),
    }
}

fn member_row(facts: &Facts, member: &Member<AccountId>) -> [String; 5] {
    let action = facts.history.action(&member.account);
    let state = if member.chilled {
        "set aside"
    } else if member.absent {
        "produced no blocks"
    } else if !member.bonded {
        "bond too small"
    } else if member.endpoint.is_none() {
        "not reachable"
    } else {
        ""
    };
    let text = match (state, action) {
        ("", Some(action)) => action.text.clone(),
        ("", None) => "—".to_owned(),
        (state, Some(action)) => format!("{state}; {}", action.text),
        (state, None) => state.to_owned(),
    };
    let age = action.map_or_else(String::new, |action| age(facts, action.block));
    [
        account_name(&member.account),
        role_name(member.role).to_owned(),
        format_amount(member.bond),
        text,
        age,
    ]
}

fn losses(facts: &Facts) -> Vec<(f64, f64)> {
    let loss = |millionths: u32| f64::from(millionths) / f64::from(MILLION);
    let points = facts.measured.iter();
    points.map(|(round, found)| (f64::from(*round), loss(found.metrics.loss))).collect()
}

fn audit_row((id, audit): &(AuditId, Audit<AccountId>)) -> [String; 5] {
    let draw = if audit.draw > 0 { " again" } else { "" };
    let settled = audit.cases.iter().filter(|case| case.settled).count();
    let updates: Vec<_> = audit.cases.iter().map(case_text).collect();
    let stage = format!("{:?}", audit.stage).to_lowercase();
    [
        id.to_string(),
        audit.round.to_string(),
        format!("{stage}{draw}"),
        format!("{settled} of {}", audit.cases.len()),
        updates.join(", "),
    ]
}

fn case_text(case: &Case<AccountId>) -> String {
    let state = match (case.settled, case.opened, case.served) {
        (true, _, _) => "settled",
        (_, true, _) => "opened",
        (_, _, true) => "shown",
        _ => "awaited",
    };
    format!("{} {state}", account_name(&case.trainer))
}

fn economy(facts: &Facts) -> Vec<(&'static str, String)> {
    let ledger = &facts.ledger;
    let bonded = |attests| {
        let members = facts.members.iter();
        members.filter(|member| member.bonded && member.role.attests() == attests).count()
    };
    vec![
        ("emitted", format_amount(ledger.emitted)),
        ("slashed", format_amount(ledger.seized)),
        ("paid", format_amount(ledger.paid)),
        ("in escrow", format_amount(ledger.waiting)),
        ("burned", format_amount(ledger.burned)),
        ("stake of validators", format_amount(facts.overview.validator_stake)),
        ("trainers", bonded(false).to_string()),
        ("validators", bonded(true).to_string()),
        ("free shards", facts.overview.free_shards.to_string()),
    ]
}

fn account_rows(facts: &Facts, own: &AccountFacts) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("account", account_name(&own.account)),
        ("address", format_account(&own.account)),
        ("free", format_amount(own.balance.free)),
        ("held", format_amount(own.balance.held)),
    ];
    match &own.member {
        Some(member) => {
            rows.push(("role", role_name(member.role).to_owned()));
            rows.push(("bond", format_amount(member.bond)));
            rows.push(("locked for audits", format_amount(member.locked)));
        }
        None => rows.push(("role", "none: not bonded".to_owned())),
    }
    if let Some(lease) = &own.lease {
        let tier = format!("{:?}", lease.tier).to_lowercase();
        rows.push(("lease", format!("round {}, {tier}", lease.due_round)));
    }
    let open = facts
        .audits
        .iter()
        .filter(|(_, audit)| audit.case(&own.account).is_some_and(|case| !case.settled));
    rows.push(("open audits", open.count().to_string()));
    rows.push(("rewards in escrow", waiting_text(own)));
    if let Some(action) = facts.history.action(&own.account) {
        let ago = age(facts, action.block);
        rows.push(("last action", format!("{}, {ago} ago", action.text)));
    }
    rows
}

/// Returns the rewards of an account that wait.
fn waiting_text(own: &AccountFacts) -> String {
    let known = own.rewards.iter().filter_map(|reward| reward.amount);
    let known: Balance = known.fold(0, Balance::saturating_add);
    let open = own.rewards.iter().filter(|reward| reward.amount.is_none()).count();
    match open {
        0 => format_amount(known),
        rounds => format!("{}; rounds not settled: {rounds}", format_amount(known)),
    }
}

/// Returns the expected age of a block.
fn age(facts: &Facts, block: BlockNumber) -> String {
    let blocks = facts.best.number.saturating_sub(block);
    format_seconds(f64::from(blocks) * facts.block_seconds)
}

/// Returns a duration in one unit.
fn format_seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn share(millionths: Ppm) -> f64 {
    f64::from(millionths) / f64::from(MILLION)
}

/// Returns the facts as a JSON object.
pub(super) fn to_json(facts: &Facts) -> Value {
    let Facts { overview, ledger, .. } = facts;
    let members = facts.members.iter().map(|member| {
        let action = facts.history.action(&member.account);
        json!({
            "account": format_account(&member.account),
            "role": member.role,
            "bond": member.bond.to_string(),
            "bonded": member.bonded,
            "chilled": member.chilled,
            "last_action": action.map(|action| &action.text),
            "last_action_block": action.map(|action| action.block),
        })
    });
    let audits = facts.audits.iter().map(|(id, audit)| {
        json!({
            "audit": id,
            "round": audit.round,
            "draw": audit.draw,
            "stage": audit.stage,
            "updates": audit.cases.len(),
            "settled": audit.cases.iter().filter(|case| case.settled).count(),
        })
    });
    let newest = facts.measured.last_key_value();
    json!({
        "best": facts.best.number,
        "final": facts.finalised,
        "block_seconds": facts.block_seconds,
        "round": overview.round,
        "head": overview.head,
        "free_shards": overview.free_shards,
        "validator_stake": overview.validator_stake.to_string(),
        "members": members.collect::<Vec<_>>(),
        "losses": losses(facts),
        "measured": newest.map(|(round, found)| json!({
            "round": round, "share": share(found.share), "metrics": found.metrics.summary(),
        })),
        "audits": audits.collect::<Vec<_>>(),
        "rewards": RewardTotals::from(*ledger),
        "account": facts.account.as_ref().map(account_json),
        "events": facts.history.lines().map(|line| json!({
            "block": line.block, "time": line.time, "text": line.text,
        })).collect::<Vec<_>>(),
    })
}

fn account_json(own: &AccountFacts) -> Value {
    json!({
        "account": format_account(&own.account),
        "free": own.balance.free.to_string(),
        "held": own.balance.held.to_string(),
        "role": own.member.as_ref().map(|member| member.role),
        "bond": own.member.as_ref().map(|member| member.bond.to_string()),
        "lease_round": own.lease.as_ref().map(|lease| lease.due_round),
        "rewards": own.rewards.iter().map(|reward| json!({
            "round": reward.round,
            "amount": reward.amount.map(|amount| amount.to_string()),
            "from_round": reward.from,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn json_has_all_parts() {
        let value = to_json(&fixture::facts());
        for (pointer, expected) in [
            ("/best", json!(200)),
            ("/final", json!(197)),
            ("/round/phase", json!("train")),
            ("/head/round", json!(6)),
            ("/members/1/bond", json!((100 * pol_primitives::POL).to_string())),
            ("/members/1/bonded", json!(false)),
            ("/members/0/last_action", json!("committed to 7")),
            ("/losses/5", json!([6.0, 6.404])),
            ("/measured/round", json!(6)),
            ("/audits/0/settled", json!(1)),
            ("/rewards/seized", json!((900 * pol_primitives::POL).to_string())),
            ("/account/rewards/0/amount", Value::Null),
            ("/events/0/text", json!("900 POL of the bond of eve were seized")),
        ] {
            assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn durations_have_one_unit() {
        for (seconds, text) in [(3.0, "3 s"), (300.0, "5 min"), (7_200.0, "2 h")] {
            assert_eq!(format_seconds(seconds), text);
        }
    }
}
