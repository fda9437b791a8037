// SPDX-License-Identifier: Apache-2.0

//! Start of the network's training, for `GET /pretrained-models`.

use crate::{
    node::{ANSWER_TIMEOUT, Node},
    state::ChainState,
    values::Digest,
};
use futures::future::BoxFuture;
use pol_api::{NetworkStart, StartSource};
use pol_chain::ChainError;
use tokio::time::timeout;

impl StartSource for ChainState {
    fn start(&self) -> BoxFuture<'_, Option<NetworkStart>> {
        Box::pin(async move {
            let known = self
                .known_start()
                .get_or_try_init(|| async { self.ask(read).await.ok().flatten().ok_or(()) });
            // One request asks the node, and the others wait for its answer.
            timeout(ANSWER_TIMEOUT, known).await.ok()?.ok().cloned()
        })
    }
}

/// Reads the start, which all recipes have in common. Returns `None` before the first one.
async fn read(node: Node) -> Result<Option<NetworkStart>, ChainError> {
    let Node { chain, best } = node;
    let Some(recipe) = chain.at(best.hash).recipe().await? else { return Ok(None) };
    Ok(Some(NetworkStart {
        chain: chain.chain_name().await?,
        genesis: Digest(chain.genesis_hash()).to_string(),
        pretrained: recipe.pretrained.map(|root| Digest(root).to_string()),
        seed: Digest(recipe.seed).to_string(),
    }))
}
