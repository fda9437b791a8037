// SPDX-License-Identifier: Apache-2.0

//! The network at a glance.

use super::balances::RewardTotals;
use crate::{
    display::{role_name, short_hash},
    metrics::format_metrics,
    options::NodeOptions,
};
use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use pol_chain::{AccountId, Chain, format_account};
use pol_primitives::{
    MAX_SUBMISSIONS, MILLION, POL, RoundNumber,
    audit::{Audit, AuditId},
    metrics::{HeadMeasurement, MetricsClaim},
    queries::{Member, Overview},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, pin::pin};

/// Rounds before the head's that are searched for the newest measurement.
const MEASUREMENT_WINDOW: RoundNumber = 8;

const EXAMPLES: &str = "\
Examples:
  pol-trainer status                           show a local node's network
  pol-trainer status --node ws://host:9944     show that of another node
  pol-trainer status --watch                   show it again with every block
  pol-trainer status --json                    one JSON object, for scripts";

/// Options of `status`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print again with every block.
    #[arg(long)]
    watch: bool,
}

/// Prints the status once, or with every block.
pub(crate) async fn run(options: StatusOptions) -> Result<()> {
    let chain = options.node.connect_soon().await?;
    print(&chain, options.json).await?;
    if options.watch {
        let mut blocks = pin!(chain.blocks().await?);
        while blocks.next().await.is_some() {
            print(&chain, options.json).await?;
        }
    }
    Ok(())
}

async fn print(chain: &Chain, as_json: bool) -> Result<()> {
    let status = NetworkStatus::read(chain).await?;
    if as_json {
        println!("{}", status.to_json());
    } else {
        status.print();
    }
    Ok(())
}

/// Metrics that a trainer claims for the head it started from.
struct Claim {
    account: AccountId,
    claimed: MetricsClaim,
    /// `true` if the claim deviates from the validators' measurement, `None` if there is none yet.
    deviates: Option<bool>,
}

/// State of the network at the best block.
struct NetworkStatus {
    overview: Overview,
    finalised: u32,
    members: Vec<Member<AccountId>>,
    audits: Vec<(AuditId, Audit<AccountId>)>,
    rewards: RewardTotals,
    /// Newest measurement of a recent head, with the head's round.
    measured: Option<(RoundNumber, HeadMeasurement)>,
    claims: Vec<Claim>,
}

impl NetworkStatus {
    async fn read(chain: &Chain) -> Result<Self> {
        let overview = chain.overview().await?;
        Ok(Self {
            members: chain.members().await?,
            finalised: chain.finalised_block().await?.number,
            audits: chain.audits().await?,
            rewards: RewardTotals::read(chain).await?,
            measured: last_measurement(chain, &overview).await?,
            claims: claims(chain, &overview).await?,
            overview,
        })
    }

    fn to_json(&self) -> Value {
        let (overview, round) = (&self.overview, &self.overview.round);
        json!({
            "best": overview.height,
            "finalised": self.finalised,
            "round": round.number,
            "phase": round.phase,
            "due": round.due,
            "committed": round.committed,
            "revealed": round.revealed,
            "deadline": round.deadline,
            "head": overview.head,
            "freeShards": overview.free_shards,
            "members": self.members.iter().map(member_json).collect::<Vec<_>>(),
            "rewards": self.rewards,
            "measured": self.measured.map(|(round, found)| json!({
                "round": round, "share": found.share, "metrics": found.metrics.summary(),
            })),
            "claims": self.claims.iter().map(Claim::to_json).collect::<Vec<_>>(),
            "audits": self.audits.iter().map(audit_json).collect::<Vec<_>>(),
        })
    }

    fn print(&self) {
        self.print_overview();
        for (id, audit) in &self.audits {
            let draw = if audit.draw > 0 { ", second draw" } else { "" };
            println!(
                "audit {id} of round {}{draw}: {:?}, {} of {} updates settled",
                audit.round,
                audit.stage,
                settled_cases(audit),
                audit.cases.len()
            );
        }
        if let Some((round, HeadMeasurement { metrics, share })) = &self.measured {
            let share = f64::from(*share) * 100.0 / f64::from(MILLION);
            println!(
                "model of round {round}, measured by {share:.0} % of the stake: {}",
                format_metrics(metrics)
            );
        }
        for claim in self.claims.iter().filter(|claim| claim.deviates == Some(true)) {
            println!(
                "  {} claims other metrics for round {}: {}",
                format_account(&claim.account),
                claim.claimed.round,
                format_metrics(&claim.claimed.metrics)
            );
        }
        println!("{}", self.rewards);
        self.members.iter().for_each(print_member);
    }

    fn print_overview(&self) {
        let (overview, round) = (&self.overview, &self.overview.round);
        let model = overview.head.as_ref().map_or("no model yet".into(), |head| {
            let root = short_hash(&head.root);
            format!("model {root} of round {}, {} tokens", head.round, head.tokens)
        });
        println!(
            "block {} (finalised {}) | round {} {:?}: {} of {MAX_SUBMISSIONS} places, {} \
             committed, {} revealed | {model} | {} free shards",
            overview.height,
            self.finalised,
            round.number,
            round.phase,
            round.due,
            round.committed,
            round.revealed,
            overview.free_shards
        );
    }
}

impl Claim {
    fn to_json(&self) -> Value {
        json!({
            "account": format_account(&self.account),
            "round": self.claimed.round,
            "metrics": self.claimed.metrics.summary(),
            "off": self.deviates,
        })
    }
}

fn member_json(member: &Member<AccountId>) -> Value {
    json!({
        "account": format_account(&member.account),
        "role": member.role,
        "bond": member.bond.to_string(),
        "chilled": member.chilled,
        "absent": member.absent,
        "reachable": member.endpoint.is_some(),
    })
}

fn audit_json((id, audit): &(AuditId, Audit<AccountId>)) -> Value {
    json!({
        "id": id,
        "round": audit.round,
        "draw": audit.draw,
        "stage": audit.stage,
        "updates": audit.cases.len(),
        "settled": settled_cases(audit),
    })
}

fn settled_cases(audit: &Audit<AccountId>) -> usize {
    audit.cases.iter().filter(|case| case.settled).count()
}

fn print_member(member: &Member<AccountId>) {
    let note = if member.chilled {
        ", chilled"
    } else if member.absent {
        ", produced no blocks"
    } else if member.endpoint.is_none() {
        ", not reachable"
    } else {
        ""
    };
    println!(
        "  {} {} with {} POL{note}",
        format_account(&member.account),
        role_name(member.role),
        member.bond / POL
    );
}

/// Returns the newest measurement of the head or of one of its predecessors.
async fn last_measurement(
    chain: &Chain,
    overview: &Overview,
) -> Result<Option<(RoundNumber, HeadMeasurement)>> {
    let Some(head) = &overview.head else { return Ok(None) };
    for round in (head.round.saturating_sub(MEASUREMENT_WINDOW)..=head.round).rev() {
        if let Some(measured) = chain.head_measurement(round).await? {
            return Ok(Some((round, measured)));
        }
    }
    Ok(None)
}

/// Returns the claims of the trainers of this round and of the newest head's round.
async fn claims(chain: &Chain, overview: &Overview) -> Result<Vec<Claim>> {
    let rounds: BTreeSet<_> =
        overview.head.map(|head| head.round).into_iter().chain([overview.round.number]).collect();
    let mut claims = Vec::new();
    for round in rounds {
        for (account, submission) in chain.submissions(round).await? {
            let Some(claimed) = submission.claims.metrics else { continue };
            let deviates = deviates(chain, &claimed).await?;
            claims.push(Claim { account, claimed, deviates });
        }
    }
    Ok(claims)
}

/// Returns `true` if a claim deviates from the validators' measurement, or `None` if there is none.
async fn deviates(chain: &Chain, claimed: &MetricsClaim) -> Result<Option<bool>> {
    let measured = chain.head_measurement(claimed.round).await?;
    let record = chain.round_record(claimed.round).await?;
    let (Some(measured), Some(head)) = (measured, record.and_then(|record| record.head)) else {
        return Ok(None);
    };
    let recipe = chain.recipe_by_hash(&head.recipe_hash).await?;
    Ok(recipe.map(|recipe| claimed.metrics.deviates_from(&measured.metrics, recipe.numerics)))
}
