// SPDX-License-Identifier: Apache-2.0

//! Reputation of the peers that the operator reserves.

use crate::client::FullClient;
use futures::StreamExt;
use polkadot_sdk::{
    sc_client_api::BlockchainEvents,
    sc_network::{PeerId, ReputationChange, service::traits::NetworkService},
};
use std::sync::Arc;

/// Reputation that a peer regains with each block: half of the most that there is.
const REGAINED: ReputationChange = ReputationChange::new(1 << 30, "reserved by the operator");

/// Gives `peers` reputation with each block that this node imports.
///
/// Whoever lacks a block that it is asked for loses a quarter of its reputation, and a ban closes
/// all its protocols. After forks, and beside a peer whose clock is fast, honest authorities would
/// ban each other, and finality would stop (`paritytech/polkadot-sdk` issue 6009). What they send
/// is verified all the same.
pub(super) async fn keep_reserved_peers(
    client: Arc<FullClient>,
    network: Arc<dyn NetworkService>,
    peers: Vec<PeerId>,
) {
    let mut blocks = client.import_notification_stream();
    while blocks.next().await.is_some() {
        for peer in &peers {
            network.report_peer(*peer, REGAINED);
        }
    }
}
