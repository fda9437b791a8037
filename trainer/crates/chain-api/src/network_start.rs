// SPDX-License-Identifier: Apache-2.0

//! Start of the network's training, for `GET /pretrained-models`.
//!
//! A task asks the node, so that requests wait for the first answer alone, and a node that hangs
//! does not hold up each of them.

use crate::{
    node::{self, ANSWER_TIMEOUT, Node, NodeWatch},
    values::Digest,
};
use pol_api::NetworkStart;
use pol_chain::ChainError;
use std::time::Duration;
use tokio::{sync::watch, time::sleep};

/// Pause before a node that did not tell the start is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Start of the network, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KnownStart {
    /// No node has told it.
    Unknown,
    /// A node that answered was asked for the first time.
    Asked,
    /// A node told it. No later block changes it.
    Known(NetworkStart),
}

/// Returns the start if it is known, and waits while a first answer may come.
pub(crate) async fn told(mut start: watch::Receiver<KnownStart>) -> Option<NetworkStart> {
    let told = start.wait_for(|start| *start != KnownStart::Asked).await;
    match told.as_deref() {
        Ok(KnownStart::Known(start)) => Some(start.clone()),
        _ => None,
    }
}

/// Asks the node, as soon as there is one, until it has told the start.
pub(crate) async fn learn_start(mut node: NodeWatch, publish: watch::Sender<KnownStart>) {
    if node.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let ask = || {
        let node = node.clone();
        async move { node::ask(&node, ANSWER_TIMEOUT, read).await.ok().flatten() }
    };
    learn(ask, PAUSE, publish).await;
}

/// Asks with a `pause` after each try until there is an answer, and publishes it.
async fn learn<F>(ask: impl Fn() -> F, pause: Duration, publish: watch::Sender<KnownStart>)
where
    F: Future<Output = Option<NetworkStart>>,
{
    publish.send_replace(KnownStart::Asked);
    loop {
        if let Some(start) = ask().await {
            publish.send_replace(KnownStart::Known(start));
            return;
        }
        publish.send_replace(KnownStart::Unknown);
        sleep(pause).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    use tokio::{sync::Notify, time::timeout};

    fn start() -> NetworkStart {
        NetworkStart {
            chain: "Test".into(),
            genesis: "0x01".into(),
            pretrained: None,
            seed: "0x02".into(),
        }
    }

    #[tokio::test]
    async fn requests_wait_for_the_first_answer_alone() {
        let (publish, known) = watch::channel(KnownStart::Unknown);
        assert_eq!(told(known.clone()).await, None, "nobody was asked");
        let (answer, has_start) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let ask = {
            let (answer, has_start) = (Arc::clone(&answer), Arc::clone(&has_start));
            move || {
                let (answer, has_start) = (Arc::clone(&answer), Arc::clone(&has_start));
                async move {
                    answer.notified().await;
                    has_start.load(Ordering::Relaxed).then(start)
                }
            }
        };
        let task = tokio::spawn(learn(ask, Duration::from_millis(1), publish));
        let mut asked = known.clone();
        asked.wait_for(|start| *start == KnownStart::Asked).await.unwrap();
        let waiting = tokio::spawn(told(known.clone()));
        assert!(timeout(Duration::from_millis(50), told(known.clone())).await.is_err());
        answer.notify_one();
        assert_eq!(waiting.await.unwrap(), None, "the node does not know it");
        assert_eq!(told(known.clone()).await, None);
        // It is asked again, while requests are answered at once.
        has_start.store(true, Ordering::Relaxed);
        answer.notify_one();
        task.await.unwrap();
        assert_eq!(told(known).await, Some(start()));
    }
}
