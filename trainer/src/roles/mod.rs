//! What a process does in the network: state machines driven by the chain's blocks.
//!
//! A role looks at the chain at every block and does the one next thing. Nothing is remembered that
//! the chain or the state folder could not tell, so a process may be killed and started again at
//! any moment.

pub mod auditor;
pub mod measurer;
mod replay;
pub mod responder;
mod rewards;
pub mod trainer;
pub mod validator;

use crate::{
    context::NodeContext,
    data::lease_tag,
    display::short_hash,
    error::{Result, RoleError},
    model::{self, GlobalModel, ModelKeeper},
};
use anyhow::{Context, anyhow};
use futures::{FutureExt, StreamExt, future::join_all};
use pol_chain::AccountId;
use pol_engine::determinism::{self, NumericsMode};
use pol_primitives::{
    Hash,
    lease::Lease,
    recipe::{Numerics, Recipe},
    view::Overview,
};
use std::{future::Future, pin::pin, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Longest that a step waits for work in the background: about as long as a block takes.
const MOMENT: Duration = Duration::from_secs(2);

/// One step of a role, taken at every block.
pub trait Role {
    /// Does what is due at `overview`.
    fn step(&mut self, overview: &Overview<AccountId>) -> impl Future<Output = Result<()>> + Send;
}

/// Takes steps until only a person can help. `first_block` is that of the chain this process
/// belongs to.
pub async fn run(
    peer: &NodeContext,
    first_block: &Hash,
    role: &mut impl Role,
) -> anyhow::Result<()> {
    let mut blocks = pin!(peer.chain.blocks().await?);
    while blocks.next().await.is_some() {
        // Of the blocks that came during the last step, only the newest matters.
        while let Some(Some(_)) = blocks.next().now_or_never() {}
        step(peer, first_block, role)
            .await
            .or_else(RoleError::pass)
            .map_err(RoleError::into_inner)
            .context("cannot go on")?;
    }
    Err(anyhow!("the node ended the stream of blocks; start this process again"))
}

async fn step(peer: &NodeContext, first_block: &Hash, role: &mut impl Role) -> Result<()> {
    // The node may be gone and another in its place.
    match peer.chain.first_block().await? {
        Some(found) if found == *first_block => {}
        Some(found) => {
            return Err(RoleError::fatal(anyhow!(
                "the node serves another chain now: its first block was {} and is {}. Start again to take part in that one",
                short_hash(first_block),
                short_hash(&found)
            )));
        }
        None => {
            return Err(RoleError::transient(anyhow!(
                "the node has lost its chain or is still loading it"
            )));
        }
    }
    let overview = peer.chain.overview().await?;
    role.step(&overview).await
}

/// A role beside another one of the same process: its steps are taken in a task of their own, so
/// that neither waits for the other. It ends when this is dropped.
pub struct RoleTask {
    blocks: watch::Sender<Option<Overview<AccountId>>>,
    task: JoinHandle<RoleError>,
}

impl RoleTask {
    /// Starts taking the steps of `role`.
    pub fn new(mut role: impl Role + Send + 'static) -> Self {
        let (blocks, mut newest) = watch::channel(None);
        let task = tokio::spawn(async move {
            while newest.changed().await.is_ok() {
                let overview = newest.borrow_and_update().clone();
                let Some(overview) = overview else { continue };
                if let Err(fatal) = role.step(&overview).await.or_else(RoleError::pass) {
                    return fatal;
                }
            }
            RoleError::transient(anyhow!("nobody asks for steps any more"))
        });
        Self { blocks, task }
    }

    /// Has the step for `overview` taken, once the one before it ends. Fails as the role does where
    /// only a person can help.
    pub async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        if self.task.is_finished() {
            return Err((&mut self.task).await?);
        }
        // Of blocks that come during a step, only the newest matters.
        self.blocks.send_replace(Some(overview.clone()));
        Ok(())
    }
}

impl Drop for RoleTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Work that goes on between steps. It ends when this is dropped.
struct BackgroundTask<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> BackgroundTask<T> {
    fn start(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// What the work gave; nothing where that takes longer than a step may wait.
    async fn wait(&mut self) -> Option<Result<T>> {
        let done = tokio::time::timeout(MOMENT, &mut self.0).await.ok()?;
        Some(done.unwrap_or_else(|error| Err(error.into())))
    }
}

impl<T> Drop for BackgroundTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What each of `work` gives, all at the same time, since every submission waits for a block. Work
/// that cannot go on now holds up none of the others.
async fn all_at_once<T>(
    work: impl IntoIterator<Item = impl Future<Output = Result<T>>>,
) -> Result<Vec<T>> {
    let mut done = Vec::new();
    for result in join_all(work).await {
        match result {
            Ok(result) => done.push(result),
            Err(failure) => failure.pass()?,
        }
    }
    Ok(done)
}

/// Ends on Ctrl-C or a request to terminate.
pub async fn shutdown_signal() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                tracing::warn!("cannot listen for SIGTERM: {error}");
                return std::future::pending().await;
            }
        };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The recipe in force and the model at the head, for roles that follow both.
pub struct Follower {
    peer: NodeContext,
    keeper: ModelKeeper,
    recipe: Option<Recipe>,
}

impl Follower {
    /// Knows nothing yet.
    pub fn new(peer: NodeContext) -> Self {
        Self { keeper: ModelKeeper::new(peer.clone()), peer, recipe: None }
    }

    /// The recipe in force; none before governance set one.
    pub async fn recipe(&mut self, overview: &Overview<AccountId>) -> Result<Option<Recipe>> {
        let known = self.recipe.as_ref().map(Recipe::hash);
        if overview.recipe_hash != known {
            let recipe = self.peer.chain.recipe().await?;
            if recipe.as_ref().is_some_and(|recipe| recipe.numerics == Numerics::Exact)
                && !determinism::is_applied(NumericsMode::Exact)
            {
                return Err(RoleError::fatal(anyhow!(
                    "the network computes exactly now, and this process was started for the native profile: start it again"
                )));
            }
            self.recipe = recipe;
        }
        Ok(self.recipe.clone())
    }

    /// The model at the head, which `recipe` in force may be about to rewrite; none before round
    /// zero is attested.
    pub async fn model(
        &mut self,
        overview: &Overview<AccountId>,
        recipe: &Recipe,
    ) -> Result<Option<GlobalModel>> {
        match &overview.head {
            Some(head) if head.recipe_hash == recipe.hash() => {
                self.keeper.at(head, recipe).await.map(Some)
            }
            Some(head) => {
                self.keeper.at(head, &self.peer.recipe(&head.recipe_hash).await?).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// The model that `lease` starts from, kept until its update is settled: its heirs may be all
    /// that peers keep.
    pub async fn lease_base(&self, lease: &Lease, recipe: &Recipe) -> Result<GlobalModel> {
        model::fetch_model(&self.peer, &lease.base_root, recipe, &[], &lease_tag(lease.nonce)).await
    }
}
