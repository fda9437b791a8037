// SPDX-License-Identifier: Apache-2.0

//! Counts over whole tables, which are made now and then, and not for each request.

use pol_index::{
    Consumption, Index, IndexError, MAX_PAGE, State,
    facts::{ManifestState, MemberState, SourceState},
};
use pol_primitives::{data::ManifestId, member::Role};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use utoipa::ToSchema;

/// Time between two surveys.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between two looks for the first block.
const FIRST: Duration = Duration::from_millis(500);
/// Largest number of states of one kind that are counted.
const MAX_STATES: usize = 200_000;

/// Counts over whole tables.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Present manifests.
    pub(crate) manifests: Vec<ManifestState>,
    /// Consumed shards by manifest.
    pub(crate) consumed: BTreeMap<ManifestId, Consumption>,
    /// Shards in leases and in updates that are not settled, by manifest.
    pub(crate) leased: BTreeMap<ManifestId, u64>,
    /// Number of sources that were not withdrawn.
    pub(crate) sources: u32,
    /// Number of sources that were.
    pub(crate) withdrawn_sources: u32,
    /// Members by role.
    pub(crate) roles: RoleCounts,
}

/// Numbers of members by role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RoleCounts {
    /// Trainers.
    #[schema(example = 12)]
    trainers: u32,
    /// Validators that are no authorities.
    #[schema(example = 4)]
    validators: u32,
    /// Authorities.
    #[schema(example = 3)]
    authorities: u32,
}

/// Makes surveys for ever.
pub(crate) async fn survey(index: Index, publish: watch::Sender<Option<Arc<Survey>>>) {
    loop {
        let made = match index.last_block().await {
            Ok(Some(_)) => Survey::make(&index).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match made {
            Ok(Some(made)) => {
                publish.send_replace(Some(Arc::new(made)));
            }
            Ok(None) => {
                sleep(FIRST).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot count what the index holds");
                // Requests wait for the first survey alone.
                if publish.borrow().is_none() {
                    sleep(FIRST).await;
                    continue;
                }
            }
        }
        sleep(INTERVAL).await;
    }
}

impl Survey {
    /// Counts what an index holds.
    async fn make(index: &Index) -> Result<Self, IndexError> {
        let manifests = all(index, |manifest: &ManifestState| manifest.manifest).await?;
        let sources = all(index, |source: &SourceState| source.source).await?;
        let members = all(index, |member: &MemberState| member.account).await?;
        let count = |withdrawn| {
            let of = sources.iter().filter(|source| source.withdrawn == withdrawn);
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        let with = |role| {
            let of = members.iter().filter(|member| member.role == Some(role));
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        Ok(Self {
            sources: count(false),
            withdrawn_sources: count(true),
            consumed: index.consumptions().await?.into_iter().collect(),
            leased: index.leased_shards().await?,
            roles: RoleCounts {
                trainers: with(Role::Trainer),
                validators: with(Role::Validator),
                authorities: with(Role::Authority),
            },
            manifests,
        })
    }

    /// Returns the shards of a manifest in leases and in updates that are not settled.
    pub(crate) fn leased(&self, manifest: ManifestId) -> u64 {
        self.leased.get(&manifest).copied().unwrap_or_default()
    }

    /// Returns the consumed shards of a manifest.
    pub(crate) fn consumption(&self, manifest: ManifestId) -> Consumption {
        self.consumed.get(&manifest).copied().unwrap_or_default()
    }
}

/// Returns all present states of a kind.
async fn all<S: State>(index: &Index, key: impl Fn(&S) -> S::Key) -> Result<Vec<S>, IndexError> {
    let mut all = Vec::new();
    while all.len() < MAX_STATES {
        let after = all.last().map(&key);
        let page = index.states::<S>(after.as_ref(), MAX_PAGE).await?;
        let is_last = page.len() < MAX_PAGE as usize;
        all.extend(page.into_iter().map(|row| row.fact));
        if is_last {
            break;
        }
    }
    Ok(all)
}
