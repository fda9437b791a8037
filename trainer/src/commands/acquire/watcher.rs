// SPDX-License-Identifier: Apache-2.0

//! A provider's look at the chain: what the network has to lease, the provider's own manifests, and
//! its rewards.

use super::{
    super::earnings::{EarningsBook, rewards_of},
    config::Kind,
    counts::state_supply,
    demand::Supply,
    events::Events,
};
use crate::{
    context::NodeContext,
    display::format_amount,
    error::{Result, RoleError},
    roles::{BlockHandler, RewardClaimer, SoleProcess},
};
use pol_chain::{AccountId, Chain, Signer};
use pol_primitives::{
    RoundNumber,
    data::{Manifest, ManifestId, SourceKind},
    lineage::Retirement,
    queries::Overview,
    recipe::Tier,
    round::BlockNumber,
};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf};
use tokio::sync::watch;

/// Blocks between two looks.
const LOOK_INTERVAL: BlockNumber = 4;
/// Past rounds whose use of shards is averaged.
const AVERAGED_ROUNDS: RoundNumber = 8;
/// Newest manifests that are looked at again, as a fork may give their numbers to others.
const UNCERTAIN_MANIFESTS: ManifestId = 16;

/// Watcher of the chain for a provider.
pub(super) struct Watcher {
    context: NodeContext,
    account: AccountId,
    claimer: RewardClaimer,
    events: Events,
    /// Folder of the acquisition, with the book of earnings.
    out: PathBuf,
    book: EarningsBook,
    supply: watch::Sender<Option<Supply>>,
    /// Manifests of the account.
    own: BTreeMap<ManifestId, Manifest<AccountId>>,
    /// Number of manifests that were looked at.
    seen: ManifestId,
    /// Round, and the shards that those before it used on average.
    usage: Option<(RoundNumber, u32)>,
    next_look: BlockNumber,
    /// The book has all rewards that a claim may make the chain forget.
    is_noted: bool,
    /// The book is on the disk as it is here.
    is_written: bool,
    /// Watch over the account, if it serves.
    sole: Option<SoleProcess>,
}

impl Watcher {
    /// Creates a watcher that states the supply to `supply`. `chain` names the chain. `serves` is
    /// set if the account does.
    pub(super) fn new(
        context: NodeContext,
        signer: Signer,
        events: Events,
        out: PathBuf,
        chain: &str,
        serves: bool,
        supply: watch::Sender<Option<Supply>>,
    ) -> anyhow::Result<Self> {
        let sole = serves.then(|| SoleProcess::new(context.clone(), signer.clone()));
        Ok(Self {
            account: signer.account(),
            claimer: RewardClaimer::new(context.clone(), signer),
            context,
            events,
            book: EarningsBook::read(&out, chain)?,
            out,
            supply,
            own: BTreeMap::new(),
            seen: 0,
            usage: None,
            next_look: 0,
            is_noted: false,
            is_written: true,
            sole,
        })
    }

    async fn look(&mut self, overview: &Overview) -> Result<()> {
        self.find_own().await?;
        self.refresh_own().await?;
        let chain = self.context.chain.clone();
        let mut free = BTreeMap::new();
        for kind in SourceKind::ALL {
            let shards = chain.pool(kind).await?.iter().map(|entry| entry.free).sum();
            state_supply(kind.into(), shards);
            free.insert(Kind::from(kind), shards);
        }
        let per_round = self.per_round(overview).await?;
        let own = self.own.iter().map(|(id, manifest)| (*id, manifest.status)).collect();
        self.supply.send_replace(Some(Supply { free, per_round, own }));
        self.is_noted = false;
        self.note_rewards().await?;
        self.is_noted = true;
        Ok(())
    }

    /// Looks at manifests that were registered since the last look.
    async fn find_own(&mut self) -> Result<()> {
        let count = self.context.chain.manifest_count().await?;
        for id in self.seen.saturating_sub(UNCERTAIN_MANIFESTS)..count {
            let manifest = self.context.chain.manifest(id).await?;
            if let Some(manifest) = manifest.filter(|manifest| manifest.owner == self.account) {
                self.own.entry(id).or_insert(manifest);
            }
        }
        self.seen = count;
        Ok(())
    }

    /// Looks at the account's manifests again, and tells what became of them.
    async fn refresh_own(&mut self) -> Result<()> {
        let live = self.own.iter().filter(|(_, manifest)| manifest.ended.is_none());
        for id in live.map(|(id, _)| *id).collect::<Vec<_>>() {
            let manifest = self.context.chain.manifest(id).await?;
            match manifest.filter(|manifest| manifest.owner == self.account) {
                Some(manifest) => {
                    let before = self.own.insert(id, manifest.clone());
                    self.tell(id, before.as_ref(), &manifest);
                }
                None => {
                    self.own.remove(&id);
                    let retirement = self.context.chain.retirement(id).await?;
                    self.tell_removed(id, retirement);
                }
            }
        }
        Ok(())
    }

    fn tell(
        &self,
        id: ManifestId,
        before: Option<&Manifest<AccountId>>,
        now: &Manifest<AccountId>,
    ) {
        if before == Some(now) {
            return;
        }
        let fields = json!({
            "manifest": id,
            "status": now.status,
            "free": now.free,
            "leased": now.leased,
            "consumed": now.consumed,
        });
        if before.is_some_and(|before| before.status == now.status) {
            return self.events.print_json("manifest", fields);
        }
        let text =
            || format!("manifest {id} is {} now", format!("{:?}", now.status).to_lowercase());
        self.events.print("manifest", fields, text);
    }

    fn tell_removed(&self, id: ManifestId, retirement: Option<Retirement>) {
        let reason = retirement.map(|retirement| retirement.reason);
        let fields = json!({ "manifest": id, "status": "removed", "reason": reason });
        let text = || match reason {
            Some(reason) => format!("manifest {id} was refused by governance: {reason:?}"),
            None => format!("manifest {id} is no longer on the chain"),
        };
        self.events.print("manifest", fields, text);
    }

    /// Notes the rewards that are settled and not claimed.
    async fn note_rewards(&mut self) -> Result<()> {
        let chain = &self.context.chain;
        let consumed = || self.own.iter().filter(|(_, manifest)| manifest.consumed > 0);
        for reward in chain.pending_rewards(&self.account).await? {
            let (round, manifests) = (reward.round, consumed().map(|(id, _)| *id));
            let Some(rewards) = rewards_of(chain, &self.account, round, manifests).await? else {
                continue;
            };
            if !self.book.note(round, &rewards) {
                continue;
            }
            self.is_written = false;
            for (manifest, amount) in rewards {
                let fields =
                    json!({ "round": round, "manifest": manifest, "amount": amount.to_string() });
                let text = || {
                    format!("round {round}: manifest {manifest} earned {}", format_amount(amount))
                };
                self.events.print("reward", fields, text);
            }
        }
        if !self.is_written {
            // A full disk stops claims, and nothing else.
            self.book.write(&self.out).map_err(RoleError::Transient)?;
            self.is_written = true;
        }
        Ok(())
    }

    /// Returns the shards that a round uses on average; those of the largest lease, before any was
    /// used.
    async fn per_round(&mut self, overview: &Overview) -> Result<u32> {
        let round = overview.round.number;
        if let Some((_, shards)) = self.usage.filter(|(known, _)| *known == round) {
            return Ok(shards);
        }
        let Some(recipe) = self.context.chain.recipe().await? else { return Ok(1) };
        let first = round.saturating_sub(AVERAGED_ROUNDS);
        let used = tokens_used(&self.context.chain, first..round).await?;
        let shards = match used {
            (0, _) | (_, 0) => recipe.shards_per_lease(Tier::Whale),
            (tokens, rounds) => {
                let per_round = tokens.div_ceil(rounds * u64::from(recipe.shard_tokens.max(1)));
                u32::try_from(per_round).unwrap_or(u32::MAX)
            }
        };
        self.usage = Some((round, shards.max(1)));
        Ok(shards.max(1))
    }
}

/// Returns the tokens of the updates in `rounds`, and the number of rounds that had some.
async fn tokens_used(chain: &Chain, rounds: std::ops::Range<RoundNumber>) -> Result<(u64, u64)> {
    let (mut tokens, mut count) = (0u64, 0);
    for round in rounds {
        let updates = chain.updates(round).await?;
        let sum = updates.iter().fold(0u64, |sum, update| sum.saturating_add(update.tokens));
        tokens = tokens.saturating_add(sum);
        count += u64::from(sum > 0);
    }
    Ok((tokens, count))
}

impl BlockHandler for Watcher {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        if let Some(sole) = &mut self.sole {
            sole.check(overview.height).await?;
        }
        if overview.now >= self.next_look || overview.now + LOOK_INTERVAL < self.next_look {
            self.next_look = overview.now.saturating_add(LOOK_INTERVAL);
            self.look(overview).await?;
        }
        // Behind the look, which notes what a claim makes the chain forget.
        if self.is_noted { self.claimer.claim_due(overview).await } else { Ok(()) }
    }
}
