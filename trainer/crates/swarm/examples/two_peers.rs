// SPDX-License-Identifier: Apache-2.0

//! Two peers in one process: one adds a blob, the other fetches it over loopback.
//!
//! `cargo run --release -p pol-swarm --example two_peers`

use pol_swarm::{Swarm, SwarmConfig, SwarmError};
use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let alice = start(&folder.path().join("alice"), 1).await?;
    let bob = start(&folder.path().join("bob"), 2).await?;

    let blob = vec![7; 5_000_000];
    let hash = alice.add(blob.clone().into(), "round/1").await?;
    println!("alice serves blob {}", hex::encode(hash));

    let soon = Instant::now() + Duration::from_secs(10);
    // On a network, endpoints are read from the chain.
    let fetched = bob.fetch(hash, 8 << 20, &[alice.endpoint()], "round/1", soon).await?;
    println!("bob fetched {} verified bytes", fetched.len());
    assert_eq!(fetched, blob);

    // Peers that cannot deliver are named.
    match bob.fetch([0; 32], 8 << 20, &[alice.endpoint()], "round/1", soon).await {
        Err(error @ SwarmError::Unavailable { .. }) => println!("{error}"),
        other => println!("unexpected: {other:?}"),
    }

    println!("bob released {} blobs", bob.release("round/1").await?);
    alice.shutdown().await?;
    bob.shutdown().await?;
    Ok(())
}

async fn start(directory: &Path, secret: u8) -> pol_swarm::Result<Swarm> {
    Swarm::start(SwarmConfig {
        directory: directory.into(),
        secret: [secret; 32],
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: Vec::new(),
    })
    .await
}
