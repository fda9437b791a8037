//! What a process does in the network: state machines driven by the chain's blocks.
//!
//! A role looks at the chain at every block and does the one next thing. Nothing is remembered that the chain or the
//! state folder could not tell, so a process may be killed and started again at any moment.

pub mod trainer;
pub mod validator;

use crate::{
    failure::{Failure, Result},
    model::{Model, ModelKeeper},
    peer::Peer,
};
use anyhow::Context;
use futures::{FutureExt, StreamExt};
use pol_chain::AccountId;
use pol_primitives::{Hash, recipe::Recipe, view::Overview};
use std::{future::Future, pin::pin};

/// One step of a role, taken at every block.
pub trait Role {
    /// Does what is due at `overview`.
    fn step(&mut self, overview: &Overview<AccountId>) -> impl Future<Output = Result<()>> + Send;
}

/// Takes steps until interrupted or until only a person can help.
pub async fn run(peer: &Peer, role: &mut impl Role) -> anyhow::Result<()> {
    let mut blocks = pin!(peer.chain.blocks().await?);
    let mut interrupted = pin!(interruption());
    loop {
        tokio::select! {
            block = blocks.next() => {
                if block.is_none() {
                    anyhow::bail!("the node ended the stream of blocks; start this process again");
                }
                // Of the blocks that came during the last step, only the newest matters.
                while let Some(Some(_)) = blocks.next().now_or_never() {}
            }
            () = &mut interrupted => {
                tracing::info!("stopping");
                return Ok(());
            }
        }
        let step = async {
            let overview = peer.chain.overview().await?;
            role.step(&overview).await
        };
        tokio::select! {
            outcome = step => match outcome {
                Ok(()) => {}
                Err(Failure::Passing(error)) => tracing::warn!("{error:#}; trying again with the next block"),
                Err(Failure::Fatal(error)) => return Err(error).context("cannot go on"),
            },
            () = &mut interrupted => {
                tracing::info!("stopping");
                return Ok(());
            }
        }
    }
}

/// Ends on Ctrl-C or a request to terminate.
pub async fn interruption() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
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
    peer: Peer,
    keeper: ModelKeeper,
    recipe: Option<Recipe>,
}

impl Follower {
    pub fn new(peer: Peer) -> Self {
        Self { keeper: ModelKeeper::new(peer.clone()), peer, recipe: None }
    }

    /// The recipe in force; none before governance set one.
    pub async fn recipe(&mut self, overview: &Overview<AccountId>) -> Result<Option<Recipe>> {
        let known = self.recipe.as_ref().map(Recipe::hash);
        if overview.recipe_hash != known {
            self.recipe = self.peer.chain.recipe().await?;
        }
        Ok(self.recipe.clone())
    }

    /// The model at the head; none before round zero is attested.
    pub async fn model(&mut self, overview: &Overview<AccountId>, recipe: &Recipe) -> Result<Option<Model>> {
        match &overview.head {
            Some(head) => self.keeper.at(head, recipe).await.map(Some),
            None => Ok(None),
        }
    }

    /// An earlier model, from this machine or a peer that still has it.
    pub async fn model_by_root(&self, root: &Hash, recipe: &Recipe) -> Result<Model> {
        self.keeper.fetch(root, recipe).await
    }
}
