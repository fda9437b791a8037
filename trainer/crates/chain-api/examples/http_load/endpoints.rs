// SPDX-License-Identifier: Apache-2.0

//! Endpoints, and what they are asked for.

use crate::{Result, client::Connection};
use serde_json::Value;
use std::net::SocketAddr;

/// Pages of rewards, of accounts and rounds that are asked for.
const REWARD_PAGES: u32 = 10;

/// Function that makes the path of a request.
type MakePath = fn(&Facts, &mut Numbers) -> String;

/// Names and paths of requests. The same weight is on each.
pub(crate) const ENDPOINTS: &[(&str, MakePath)] = &[
    ("/audits", |f, n| f.page("/audits?limit=50", n)),
    ("/audits?round", |f, n| format!("/audits?round={}", f.round(n))),
    ("/audits/{id}", |f, n| format!("/audits/{}", f.audit(n))),
    ("/consciousness", |_, _| "/consciousness".into()),
    ("/consciousness/history", |f, n| f.page("/consciousness/history?limit=100", n)),
    ("/consensus/authors", |_, _| "/consensus/authors".into()),
    ("/consensus/blocks", |_, _| "/consensus/blocks?limit=100".into()),
    ("/consensus/members", |_, _| "/consensus/members".into()),
    ("/consensus/phases", |f, n| f.page("/consensus/phases?limit=100", n)),
    ("/consensus/phases?round", |f, n| format!("/consensus/phases?round={}", f.round(n))),
    ("/consensus/rounds", |f, n| f.page("/consensus/rounds?limit=100", n)),
    ("/consensus/rounds?round", |f, n| format!("/consensus/rounds?round={}", f.round(n))),
    ("/data", |_, _| "/data".into()),
    ("/data/manifests", |_, _| "/data/manifests?limit=100".into()),
    ("/data/manifests?source", |f, n| format!("/data/manifests?source={}", f.manifest(n))),
    ("/data/sources", |_, _| "/data/sources?limit=100".into()),
    ("/data-lineage?hash", |f, n| format!("/data-lineage?hash={}", f.root(n))),
    ("/data-lineage?manifest", |f, n| format!("/data-lineage?manifest={}", f.manifest(n))),
    ("/data-lineage?round", |f, n| format!("/data-lineage?round={}", f.round(n))),
    ("/data-lineage?shard", |f, n| {
        format!("/data-lineage?shard={}/{}", f.manifest(n), n.below(10_000))
    }),
    ("/data-lineage?source", |f, n| format!("/data-lineage?source={}", f.manifest(n))),
    ("/peers", |_, _| "/peers".into()),
    ("/penalties", |f, n| f.page("/penalties?limit=100", n)),
    ("/penalties?account", |f, n| format!("/penalties?account={}", f.account(n))),
    ("/pretrained-models", |_, _| "/pretrained-models".into()),
    ("/rewards", |f, n| f.page("/rewards?limit=100", n)),
    ("/rewards?account", |f, n| format!("/rewards?account={}", f.account(n))),
    ("/rewards?account&round", |f, n| {
        format!("/rewards?account={}&round={}", f.account(n), f.round(n))
    }),
    ("/rewards?round", |f, n| format!("/rewards?round={}", f.round(n))),
    ("/rewards/earners", |_, _| "/rewards/earners".into()),
    ("/rewards/explanation", |f, n| format!("/rewards/explanation?{}", n.of(&f.rewards))),
    ("/rewards/rounds", |f, n| f.page("/rewards/rounds?limit=100", n)),
    ("/rewards/totals", |_, _| "/rewards/totals".into()),
    ("/rewards/totals/history", |f, n| f.page("/rewards/totals/history?limit=100", n)),
    ("/training-deltas?account", |f, n| format!("/training-deltas?account={}", f.account(n))),
    ("/training-deltas?round", |f, n| format!("/training-deltas?round={}", f.round(n))),
    ("/training-deltas/shards", |f, n| f.page("/training-deltas/shards?limit=100", n)),
    ("/training-deltas/shards?account", |f, n| {
        format!("/training-deltas/shards?account={}", f.account(n))
    }),
    ("/training-deltas/shards?manifest", |f, n| {
        format!("/training-deltas/shards?manifest={}", f.manifest(n))
    }),
    ("/v1/models", |_, _| "/v1/models".into()),
    ("/wallet?account", |f, n| format!("/wallet?account={}", f.account(n))),
    ("/wallet/history?account", |f, n| {
        f.page(&format!("/wallet/history?limit=100&account={}", f.account(n)), n)
    }),
];

/// Numbers that look random and are the same each time.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    /// Returns a number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let high = self.0 >> 33;
        u32::try_from(high % u64::from(end.max(1))).unwrap_or(0)
    }

    fn of<'a>(&mut self, all: &'a [String]) -> &'a str {
        let at = self.below(u32::try_from(all.len()).unwrap_or(u32::MAX));
        all.get(at as usize).map_or("", String::as_str)
    }
}

/// Content of the index, as the server tells it.
pub(crate) struct Facts {
    pub(crate) last_round: u32,
    last_block: u32,
    last_audit: u32,
    manifests: u32,
    accounts: Vec<String>,
    /// Accounts and rounds of rewards, as parameters.
    rewards: Vec<String>,
    roots: Vec<String>,
}

impl Facts {
    pub(crate) async fn read(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let mut get = async |path: &str| -> Result<Value> {
            let (status, body) = connection.get(path).await?;
            if status != 200 {
                return Err(format!("{status} for {path}: {body}").into());
            }
            Ok(serde_json::from_str(&body)?)
        };
        let rounds = get("/consensus/rounds?limit=1000").await?;
        let last_block = number(&rounds["as_of"]["block"])?;
        let (mut accounts, mut rewards) = (Vec::new(), Vec::new());
        for part in 0..REWARD_PAGES {
            let block = last_block / REWARD_PAGES * part;
            let page = get(&format!("/rewards?limit=200&order=oldest&after={block}-0")).await?;
            accounts.extend(distinct(&page, "account"));
            rewards.extend(list(&page).iter().filter_map(|reward| {
                let (account, round) = (reward["account"].as_str()?, &reward["round"]);
                Some(format!("account={account}&round={round}"))
            }));
        }
        let audits = get("/audits?limit=1").await?;
        let mut manifests = 0;
        // Their numbers begin at 0 and have no gaps.
        let mut page = get("/data/manifests?limit=1000").await?;
        loop {
            manifests += u32::try_from(list(&page).len())?;
            let Some(next) = page["next"].as_str() else { break };
            page = get(&format!("/data/manifests?limit=1000&after={next}")).await?;
        }
        Ok(Self {
            last_round: number(&rounds["items"][0]["round"])?,
            last_block,
            last_audit: number(&audits["items"][0]["audit"])?,
            manifests,
            accounts,
            rewards,
            roots: distinct(&rounds, "root"),
        })
    }

    /// Returns the path of a page: of the first, or of one that continues in the middle.
    fn page(&self, path: &str, numbers: &mut Numbers) -> String {
        match numbers.below(2) {
            0 => path.to_owned(),
            _ => format!("{path}&after={}-5", numbers.below(self.last_block)),
        }
    }

    fn round(&self, numbers: &mut Numbers) -> u32 {
        numbers.below(self.last_round)
    }

    fn audit(&self, numbers: &mut Numbers) -> u32 {
        numbers.below(self.last_audit)
    }

    fn manifest(&self, numbers: &mut Numbers) -> u32 {
        numbers.below(self.manifests)
    }

    fn account<'a>(&'a self, numbers: &mut Numbers) -> &'a str {
        numbers.of(&self.accounts)
    }

    fn root<'a>(&'a self, numbers: &mut Numbers) -> &'a str {
        numbers.of(&self.roots)
    }
}

fn list(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Result<u32> {
    Ok(u32::try_from(value.as_u64().ok_or("the index lacks a number")?)?)
}

/// Returns the values of a field, each once.
fn distinct(page: &Value, field: &str) -> Vec<String> {
    let mut values: Vec<_> =
        list(page).iter().filter_map(|item| Some(item[field].as_str()?.to_owned())).collect();
    values.sort_unstable();
    values.dedup();
    values
}
