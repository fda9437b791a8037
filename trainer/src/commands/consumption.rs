// SPDX-License-Identifier: Apache-2.0

//! Consumption of data, their effect, and the rewards for it, by the chain.

use super::{
    acquire::state::{ChainRecord, SourceState},
    earnings::{EarningsBook, rewards_of},
};
use crate::display::format_amount;
use anyhow::Result;
use pol_chain::{AccountId, Chain};
use pol_data::{IngestRecord, ManifestSummary};
use pol_primitives::{
    Balance,
    data::{Manifest, ManifestId, ManifestStatus, SourceKind},
    lineage::Retirement,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Ingested folder, with what its acquisition knows about it.
#[derive(Debug)]
pub(super) struct DataFolder {
    /// Name of the source.
    pub(super) source: String,
    /// Record of the ingestion.
    pub(super) record: IngestRecord,
    /// State of the source, and the number of the folder among its data.
    pub(super) batch: Option<(SourceState, usize)>,
}

/// Manifest of a folder, by the chain.
#[derive(Debug, Serialize)]
pub(super) struct ManifestReport {
    /// Name of the source.
    source: String,
    held_out: bool,
    /// Shards of the folder.
    shards: u32,
    /// Number of the manifest, unless the chain has none.
    manifest: Option<ManifestId>,
    status: Stage,
    kind: Option<SourceKind>,
    /// Shards that can be leased.
    free: u32,
    leased: u32,
    consumed: u32,
    /// Sum of the improvements of the model on its shards, in billionths of a nat per token.
    effect: i64,
    /// Rewards for it in the smallest unit, as a decimal number.
    #[serde(serialize_with = "as_text")]
    earned: Balance,
    deposit: Deposit,
}

/// Stage of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// The chain has no such manifest.
    Unregistered,
    /// The chain keeps it no more.
    Gone,
    #[serde(untagged)]
    Registered(ManifestStatus),
}

/// Deposit of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
enum Deposit {
    /// None was made.
    None,
    /// It is on hold.
    Held {
        #[serde(serialize_with = "as_text")]
        amount: Balance,
    },
    /// It came back.
    Returned,
    /// It was burned.
    Burned,
}

fn as_text<S: serde::Serializer>(amount: &Balance, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

/// Sums of a source's training manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Shards that are consumed, leased, and left.
    pub(super) shards: [u64; 3],
    /// Rewards.
    pub(super) earned: Balance,
}

/// Reports of the manifests of all folders, and of their sources.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Consumption(Vec<ManifestReport>);

impl Consumption {
    /// Asks the chain about the manifests of `folders`. `first_block` names the chain, and `book`
    /// has the rewards that were claimed.
    pub(super) async fn ask(
        chain: &Chain,
        first_block: &str,
        folders: &[DataFolder],
        book: &mut EarningsBook,
    ) -> Result<Self> {
        let (mut reports, mut owned) = (Vec::new(), BTreeSet::new());
        for folder in folders {
            let record = folder.on_chain(first_block);
            let mut ids = record.into_iter().flat_map(|record| record.manifests.iter().copied());
            let sides = [(&folder.record.train, false), (&folder.record.held_out, true)];
            for (split, held_out) in sides.into_iter().filter(|(split, _)| split.shards > 0) {
                let id = match ids.next() {
                    Some(id) => Some(id),
                    None => chain.manifest_of_content(&split.content_hash).await?,
                };
                let (report, owner) = ask(chain, folder, split, held_out, id).await?;
                owned.extend(id.zip(owner).map(|(id, owner)| (owner, id)));
                reports.push(report);
            }
        }
        note_unclaimed(chain, &owned, book).await?;
        for report in &mut reports {
            report.earned = report.manifest.map_or(0, |id| book.of(id));
        }
        Ok(Self(reports))
    }

    /// Adds the reports of other folders.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the totals of each source.
    pub(super) fn by_source(&self) -> BTreeMap<String, Totals> {
        let mut sources = BTreeMap::<String, Totals>::new();
        for report in self.0.iter().filter(|report| !report.held_out) {
            let totals = sources.entry(report.source.clone()).or_default();
            let left = report.shards.saturating_sub(report.consumed + report.leased);
            for (sum, part) in totals.shards.iter_mut().zip([report.consumed, report.leased, left])
            {
                *sum = sum.saturating_add(part.into());
            }
            totals.earned = totals.earned.saturating_add(report.earned);
        }
        sources
    }

    /// Returns the reports for people, a line for each manifest.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|report| format!("  {}\n", report.line())).collect()
    }
}

impl DataFolder {
    /// Returns what the acquisition knows about the folder's place on a chain.
    fn on_chain(&self, first_block: &str) -> Option<&ChainRecord> {
        let (state, number) = self.batch.as_ref()?;
        let record = state.sealed.get(*number)?.on_chain.as_ref()?;
        (record.chain == first_block).then_some(record)
    }
}

/// Notes the rewards of all `owned` manifests that are settled and not claimed.
async fn note_unclaimed(
    chain: &Chain,
    owned: &BTreeSet<(AccountId, ManifestId)>,
    book: &mut EarningsBook,
) -> Result<()> {
    let owners: BTreeSet<_> = owned.iter().map(|(owner, _)| *owner).collect();
    for owner in owners {
        for reward in chain.pending_rewards(&owner).await? {
            let manifests = owned.iter().filter(|(other, _)| *other == owner).map(|(_, id)| *id);
            if let Some(rewards) = rewards_of(chain, &owner, reward.round, manifests).await? {
                book.note(reward.round, &rewards);
            }
        }
    }
    Ok(())
}

/// Asks about one manifest. Returns its owner too.
async fn ask(
    chain: &Chain,
    folder: &DataFolder,
    split: &ManifestSummary,
    held_out: bool,
    id: Option<ManifestId>,
) -> Result<(ManifestReport, Option<AccountId>)> {
    let mut report = ManifestReport {
        source: folder.source.clone(),
        held_out,
        shards: split.shards,
        manifest: id,
        status: Stage::Unregistered,
        kind: None,
        free: 0,
        leased: 0,
        consumed: 0,
        effect: 0,
        earned: 0,
        deposit: Deposit::None,
    };
    let Some(id) = id else { return Ok((report, None)) };
    let found = chain.manifest(id).await?;
    let retirement = chain.retirement(id).await?;
    let held = chain.manifest_deposit(id).await?;
    report.deposit = deposit(held, found.as_ref(), retirement.as_ref());
    let Some(manifest) = found else {
        report.status = Stage::Gone;
        return Ok((report, None));
    };
    report.status = Stage::Registered(manifest.status);
    (report.kind, report.consumed) = (manifest.kind, manifest.consumed);
    (report.free, report.leased) = (manifest.free, manifest.leased);
    if manifest.consumed > 0 {
        let records = chain.shard_records(id, None).await?;
        let deltas = records.iter().map(|(_, record)| i64::from(record.delta));
        report.effect = deltas.fold(0, i64::saturating_add);
    }
    Ok((report, Some(manifest.owner)))
}

/// Returns the state of a deposit of which `held` is on hold.
fn deposit(
    held: Balance,
    manifest: Option<&Manifest<AccountId>>,
    retirement: Option<&Retirement>,
) -> Deposit {
    let is_lost = retirement.is_some_and(|retirement| retirement.for_cause)
        || manifest.is_some_and(|manifest| manifest.status == ManifestStatus::Paused);
    match held {
        0 if is_lost => Deposit::Burned,
        0 => Deposit::Returned,
        amount => Deposit::Held { amount },
    }
}

impl ManifestReport {
    /// Returns the report for people.
    fn line(&self) -> String {
        let Self { source, shards, free, leased, consumed, .. } = self;
        let Some(id) = self.manifest else {
            return format!("{source}: not registered: {shards} shards{}", self.side());
        };
        let mut line = format!("{source}: manifest {id} ({})", self.stage());
        if self.held_out || self.status == Stage::Gone {
            line += &format!(": {shards} shards{}", self.side());
        } else {
            line +=
                &format!(": {consumed} of {shards} shards consumed, {leased} leased, {free} left");
        }
        if *consumed > 0 {
            let mean = self.effect as f64 / f64::from(*consumed) / 1e9;
            line += &format!("; {mean:+.6} nats a token");
        }
        if self.earned > 0 {
            line += &format!("; {} earned", format_amount(self.earned));
        }
        line += &match self.deposit {
            Deposit::None => String::new(),
            Deposit::Held { amount } => format!("; deposit of {}", format_amount(amount)),
            Deposit::Returned => "; deposit returned".into(),
            Deposit::Burned => "; deposit burned".into(),
        };
        line
    }

    fn side(&self) -> &'static str {
        if self.held_out { ", held out" } else { "" }
    }

    fn stage(&self) -> String {
        let status = match self.status {
            Stage::Unregistered => "not registered".into(),
            Stage::Gone => "no longer kept".into(),
            Stage::Registered(status) => format!("{status:?}").to_lowercase(),
        };
        match self.kind.filter(|_| !self.held_out) {
            Some(kind) => format!("{}, {status}", format!("{kind:?}").to_lowercase()),
            None => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{POL, lineage::RetirementReason};

    fn report(source: &str, held_out: bool) -> ManifestReport {
        ManifestReport {
            source: source.into(),
            held_out,
            shards: 100,
            manifest: Some(3),
            status: Stage::Registered(ManifestStatus::Admitted),
            kind: Some(SourceKind::Web),
            free: 60,
            leased: 10,
            consumed: 30,
            effect: 60_000_000,
            earned: 2 * POL,
            deposit: Deposit::Held { amount: 101 * POL },
        }
    }

    #[test]
    fn manifests_are_described() {
        let line = report("pages", false).line();
        assert_eq!(
            line,
            "pages: manifest 3 (web, admitted): 30 of 100 shards consumed, 10 leased, 60 left; \
             +0.002000 nats a token; 2 POL earned; deposit of 101 POL"
        );
        let held_out = ManifestReport { consumed: 0, earned: 0, ..report("pages", true) };
        assert_eq!(
            held_out.line(),
            "pages: manifest 3 (admitted): 100 shards, held out; deposit of 101 POL"
        );
        let new = ManifestReport { manifest: None, ..report("pages", false) };
        assert_eq!(new.line(), "pages: not registered: 100 shards");
    }

    #[test]
    fn training_text_is_summed_by_source() {
        let all = ["a", "b", "a"].map(|source| report(source, false));
        let consumption = Consumption(all.into_iter().chain([report("a", true)]).collect());
        let sources = consumption.by_source();
        assert_eq!(sources["a"], Totals { shards: [60, 20, 120], earned: 4 * POL });
        assert_eq!(sources["b"].shards, [30, 10, 60]);
        let json = serde_json::to_value(&consumption).unwrap();
        assert_eq!((&json[0]["status"], &json[0]["kind"]), (&"admitted".into(), &"web".into()));
        assert_eq!(json[0]["deposit"]["amount"], (101 * POL).to_string());
    }

    #[test]
    fn deposits_are_held_returned_or_burned() {
        let retired =
            |for_cause| Retirement { reason: RetirementReason::Other, evidence: None, for_cause };
        assert_eq!(deposit(5, None, None), Deposit::Held { amount: 5 });
        assert_eq!(deposit(0, None, Some(&retired(true))), Deposit::Burned);
        assert_eq!(deposit(0, None, Some(&retired(false))), Deposit::Returned);
        assert_eq!(deposit(0, None, None), Deposit::Returned);
    }
}
