//! What a validator's seats in an audit find.

use crate::{
    context::NodeContext,
    data::ShardReader,
    error::{Result, RoleError, explain},
    model,
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, format_account};
use pol_engine::{LeaseData, LeaseJob, Probe};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Audit, AuditId, Case, Evidence, Finding, Measure, Shown},
    lease::Lease,
    payload::Payload,
    recipe::{Numerics, Recipe},
    round::BlockNumber,
    sketch::Binding,
    submission::Opened,
};
use pol_swarm::SwarmError;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
    time::timeout,
};

/// Blocks come every three seconds.
const BLOCK: Duration = Duration::from_secs(3);
/// Pause before what could not be fetched is tried again.
const PAUSE: Duration = BLOCK;
/// Longest try to fetch what a replay needs, before others get their turn; what has arrived is
/// kept.
const TRY: Duration = Duration::from_secs(15);
/// Cases whose material is fetched and held in memory at a time.
const AT_ONCE: usize = 8;
/// Held-out sequences to draw from where the audit names no text.
const HELD_OUT_SEQUENCES: usize = 64;

/// The seats of one validator in one audit.
#[derive(Clone)]
pub struct ReplayJob<C> {
    /// Blobs, and the chain they are named on.
    pub peer: NodeContext,
    /// The validator.
    pub account: AccountId,
    /// Threads that replay.
    pub workers: usize,
    /// How it behaves.
    pub strategy: C,
    /// Number of the audit.
    pub id: AuditId,
    /// The audit.
    pub audit: Audit<AccountId>,
}

/// Everything that a replay needs.
struct Material {
    recipe: Arc<Recipe>,
    case: Case<AccountId>,
    lease: Lease,
    opened: Opened,
    shown: Shown,
    blobs: Blobs,
    data: LeaseData,
    base: Arc<Vec<f32>>,
    payload: Payload,
}

/// In which the cases of all audits take turns.
pub struct ReplayScheduler {
    fetching: Semaphore,
    replaying: Mutex<()>,
}

impl ReplayScheduler {
    /// Nobody's.
    pub fn new() -> Self {
        Self { fetching: Semaphore::new(AT_ONCE), replaying: Mutex::default() }
    }
}

/// What there is of an update under audit.
enum Gathered {
    /// All of it.
    All(Box<Material>),
    /// A blob that was shown as part of a state is too large to be one.
    NoState,
    /// A blob that nobody serves, not even the trainer, who needed it to train.
    Missing,
}

/// Label of the blobs that an audit needs.
pub fn audit_tag(id: AuditId) -> String {
    format!("audit/{id}")
}

impl<C: Strategy> ReplayJob<C> {
    /// The cases to replay, with their places in the audit.
    fn cases(&self) -> Vec<(u8, Case<AccountId>)> {
        self.audit.seats_of(&self.account).map(|(at, case)| (at, case.clone())).collect()
    }

    /// Fetches the models that the audit needs while peers still keep them.
    pub async fn keep_models(&self) -> Result<()> {
        let recipe = self.recipe().await?;
        self.head(&recipe).await?;
        let place = self.audit.holder(&self.account);
        for case in self
            .audit
            .cases
            .iter()
            .filter(|case| place.is_some_and(|place| case.seats.contains(&place)))
        {
            if let Some(lease) =
                self.peer.chain.audited_lease(self.audit.round, &case.trainer).await?
            {
                model::fetch_model(
                    &self.peer,
                    &lease.base_root,
                    &recipe,
                    &[case.trainer],
                    &audit_tag(self.id),
                )
                .await?;
            }
        }
        Ok(())
    }

    /// What the seats find. What can't be fetched is tried again until block `give_up`, and then
    /// found to be unavailable.
    pub async fn examine(
        self,
        turns: Arc<ReplayScheduler>,
        give_up: BlockNumber,
    ) -> Result<Evidence> {
        let (recipe, cases) = (Arc::new(self.recipe().await?), self.cases());
        let probe = self.measure_on(&recipe, give_up).await?;
        let found = cases.iter().map(|(at, case)| {
            let (strategy, judged, probe, seed, workers) =
                (self.strategy.clone(), case.clone(), probe.clone(), self.audit.seed, self.workers);
            let find = move |gathered: Gathered| {
                strategy
                    .audit_finding(&judged, || gathered.finding(probe.as_deref(), &seed, workers))
            };
            let finding = self.when_gathered(&recipe, case, &turns, give_up, find);
            async move { finding.await.map(|finding| (*at, finding)) }
        });
        let found = try_join_all(found).await?;
        Evidence::try_from(found)
            .map_err(|_| RoleError::fatal(anyhow!("an audit has more cases than it may")))
    }

    /// What the round's updates are measured on; nothing where it can't be had until block
    /// `give_up`: replays are compared all the same.
    async fn measure_on(
        &self,
        recipe: &Arc<Recipe>,
        give_up: BlockNumber,
    ) -> Result<Option<Arc<Probe>>> {
        let mut shards = ShardReader::new(self.peer.clone());
        loop {
            let last = self.peer.chain.best().await?.number >= give_up;
            match self.probe(&mut shards, recipe, last).await {
                Ok(probe) => return Ok(Some(Arc::new(probe))),
                Err(RoleError::Transient(error)) => {
                    tracing::warn!(
                        "round {}: cannot measure updates yet: {}",
                        self.audit.round,
                        explain(&error)
                    )
                }
                Err(fatal) => return Err(fatal),
            }
            if last {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the seats say, in the order of the cases, of the ends that were opened since they
    /// committed; nothing where the recipe compares bits. What can't be fetched is tried again
    /// until block `give_up`.
    pub async fn bind(
        self,
        turns: Arc<ReplayScheduler>,
        give_up: BlockNumber,
    ) -> Result<Option<Vec<Binding>>> {
        let (recipe, cases) = (Arc::new(self.recipe().await?), self.cases());
        if recipe.numerics == Numerics::Exact {
            return Ok(None);
        }
        let bound = cases.iter().map(async |(_, case)| {
            if !case.opened {
                // Nobody asks what was bound to nothing.
                return Ok(Binding::Unavailable);
            }
            let (seed, workers) = (self.audit.seed, self.workers);
            self.when_gathered(&recipe, case, &turns, give_up, move |gathered| {
                gathered.binding(&seed, workers)
            })
            .await
        });
        try_join_all(bound).await.map(Some)
    }

    /// What `work` makes of what there is of `case`, on a thread that may compute. The cases take
    /// turns, so that one whose states nobody serves holds up none of the others.
    async fn when_gathered<T: Send + 'static>(
        &self,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
        turns: &ReplayScheduler,
        give_up: BlockNumber,
        work: impl FnOnce(Gathered) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut shards = ShardReader::new(self.peer.clone());
        loop {
            let turn = turns.fetching.acquire().await.map_err(RoleError::fatal)?;
            let left = give_up.saturating_sub(self.peer.chain.best().await?.number);
            let patience = (BLOCK * left).clamp(BLOCK, TRY);
            let gathered = match timeout(patience, self.gather(&mut shards, recipe, case)).await {
                Ok(Err(RoleError::Transient(error))) => {
                    tracing::warn!(
                        "round {}: cannot replay {} yet: {}",
                        self.audit.round,
                        format_account(&case.trainer),
                        explain(&error)
                    );
                    // Blame only for what its trainer has to serve.
                    let missing =
                        matches!(error.downcast_ref(), Some(SwarmError::Unavailable { .. }));
                    match left {
                        0 if missing => Some(Gathered::Missing),
                        0 => return Err(RoleError::Transient(error)),
                        _ => None,
                    }
                }
                Ok(gathered) => Some(gathered?),
                // Peers that do not answer are asked last: its trainer was among the first.
                Err(_) => (left == 0).then_some(Gathered::Missing),
            };
            if let Some(gathered) = gathered {
                let _alone = turns.replaying.lock().await;
                return tokio::task::spawn_blocking(move || work(gathered)).await?;
            }
            drop(turn);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The recipe of the round.
    async fn recipe(&self) -> Result<Recipe> {
        let record =
            self.peer.chain.round_record(self.audit.round).await?.and_then(|record| record.head);
        let head = record.ok_or_else(|| {
            RoleError::transient(anyhow!("the node has no head of round {}", self.audit.round))
        })?;
        self.peer.recipe(&head.recipe_hash).await
    }

    /// The model that the round moved.
    async fn head(&self, recipe: &Recipe) -> Result<Arc<Vec<f32>>> {
        let head = model::head_before(&self.peer, self.audit.round).await?;
        let head = head.ok_or_else(|| {
            RoleError::transient(anyhow!("there is no model before round {}", self.audit.round))
        })?;
        Ok(model::fetch_model(&self.peer, &head.root, recipe, &[], &audit_tag(self.id))
            .await?
            .parameters)
    }

    /// What the round's updates are measured on: the text that the audit names, as much of it as
    /// can be had when this is the last try, or else held-out text.
    async fn probe(
        &self,
        shards: &mut ShardReader,
        recipe: &Arc<Recipe>,
        last: bool,
    ) -> Result<Probe> {
        let head = self.head(recipe).await?;
        let mut tokens = Vec::new();
        for id in &self.audit.probe {
            match shards.shard(recipe, *id, &[], &audit_tag(self.id)).await {
                Ok(shard) => tokens.push(shard),
                Err(RoleError::Transient(error)) if last => {
                    tracing::debug!("measuring without a shard: {}", explain(&error))
                }
                Err(error) => return Err(error),
            }
        }
        let text = match tokens.is_empty() {
            true => shards.held_out(recipe, HELD_OUT_SEQUENCES).await?,
            false => None,
        };
        let text = text.map_or_else(|| LeaseData::new(recipe, tokens), Ok)?;
        let (recipe, seed, workers) = (recipe.clone(), self.audit.seed, self.workers);
        Ok(tokio::task::spawn_blocking(move || Probe::new(&recipe, head, &seed, &text, workers))
            .await??)
    }

    /// Fetches everything that the replay of `case` needs, its trainer first: it has to serve all
    /// of it.
    async fn gather(
        &self,
        shards: &mut ShardReader,
        recipe: &Arc<Recipe>,
        case: &Case<AccountId>,
    ) -> Result<Gathered> {
        let (round, trainer, tag) = (self.audit.round, case.trainer, audit_tag(self.id));
        let gone = || {
            RoleError::transient(anyhow!(
                "the node does not know the audit's lease or what was shown of it"
            ))
        };
        let chain = &self.peer.chain;
        let lease = chain.audited_lease(round, &trainer).await?.ok_or_else(gone)?;
        let shown = chain.shown(self.id, &trainer).await?.ok_or_else(gone)?;
        let submissions = chain.submissions(round).await?;
        let opened = submissions
            .into_iter()
            .find(|(account, _)| *account == trainer)
            .and_then(|(_, submission)| submission.opened);
        let opened = opened.ok_or_else(gone)?;
        let bytes = recipe.model.size().saturating_mul(size_of::<f32>() as u64);
        let blobs = Blobs { peer: self.peer.clone(), trainer, bytes, tag: tag.clone() };
        for hash in pol_engine::binding_blobs(case, &shown) {
            match blobs.fetch(&hash).await {
                Err(RoleError::Transient(error))
                    if matches!(error.downcast_ref(), Some(SwarmError::TooLarge { .. })) =>
                {
                    return Ok(Gathered::NoState);
                }
                fetched => drop(fetched?),
            }
        }
        let data = shards.lease_data(recipe, &lease.shards, &[trainer], &tag).await?;
        let base = model::fetch_model(&self.peer, &lease.base_root, recipe, &[trainer], &tag)
            .await?
            .parameters;
        let payload = self.peer.fetch_payload(recipe, &trainer, &opened.payload_hash).await?;
        let (recipe, case) = (recipe.clone(), case.clone());
        Ok(Gathered::All(Box::new(Material {
            recipe,
            case,
            lease,
            opened,
            shown,
            blobs,
            data,
            base,
            payload,
        })))
    }
}

impl Gathered {
    /// Replays and measures.
    fn finding(&self, probe: Option<&Probe>, seed: &Hash, workers: usize) -> Result<Finding> {
        self.judged(Finding::Impossible, Finding::Unavailable, |material| {
            let Material { case, opened, shown, base, payload, .. } = material;
            let job = material.job(workers);
            let replayed =
                pol_engine::audit(&job, base, case, opened, &shown.states, seed, |hash| {
                    material.open(hash)
                })?;
            let shards = || BoundedVec::truncate_from(vec![0; job.lease.shards.len()]);
            let nothing = || Ok(Measure { shards: shards(), ..Measure::default() });
            Ok(replayed.finding(|| {
                probe.map_or_else(nothing, |probe| pol_engine::score(probe, &job, payload))
            })?)
        })
    }

    /// Compares what was opened with the states it is of.
    fn binding(&self, seed: &Hash, workers: usize) -> Result<Binding> {
        self.judged(Binding::Other, Binding::Unavailable, |material| {
            let Material { case, opened, shown, base, .. } = material;
            Ok(pol_engine::check_binding(
                &material.job(workers),
                base,
                case,
                opened,
                shown,
                seed,
                |hash| material.open(hash),
            )?)
        })
    }

    fn judged<T>(
        &self,
        no_state: T,
        missing: T,
        judge: impl FnOnce(&Material) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::All(material) => judge(material),
            Self::NoState => Ok(no_state),
            Self::Missing => Ok(missing),
        }
    }
}

impl Material {
    fn job(&self, workers: usize) -> LeaseJob<'_> {
        LeaseJob {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &self.case.trainer,
            data: &self.data,
            workers,
        }
    }

    /// The blob with this hash, which is on this machine by now. Called where blocking is no harm.
    fn open(&self, hash: &Hash) -> io::Result<io::Cursor<Vec<u8>>> {
        let blob = Handle::current().block_on(self.blobs.fetch(hash));
        blob.map(io::Cursor::new).map_err(|failure| io::Error::other(failure.to_string()))
    }
}

/// The blobs of the states that a trainer shows. Whoever needs one reads it then: all of them are
/// gigabytes where the model is large.
struct Blobs {
    peer: NodeContext,
    trainer: AccountId,
    bytes: u64,
    tag: String,
}

impl Blobs {
    async fn fetch(&self, hash: &Hash) -> Result<Vec<u8>> {
        self.peer.fetch_blob(hash, self.bytes, &[self.trainer], &self.tag).await
    }
}
