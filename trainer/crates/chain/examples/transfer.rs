// SPDX-License-Identifier: Apache-2.0

//! Transfers one POL between two accounts of a development chain.
//!
//! ```text
//! $POL_BIN/pol-node --dev --tmp                                   # a local node
//! cargo run --release -p pol-chain --example transfer -- [URL]
//! ```

use pol_chain::{Call, Chain, Signer};
use pol_primitives::POL;
use std::{env, error::Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:9944".to_owned());
    let chain = Chain::connect(&url).await?;
    let (alice, bob) = (Signer::from_uri("//Alice")?, Signer::from_uri("//Bob")?);

    let before = chain.free_balance(&bob.account()).await?;
    let receipt = chain.submit(&alice, Call::Transfer { to: bob.account(), amount: POL }).await?;
    println!(
        "extrinsic 0x{} took effect in block {}",
        hex::encode(receipt.extrinsic),
        receipt.block.number
    );

    // Reading at the block of the receipt sees its effect, whatever the best block is by now.
    let after = chain.at(receipt.block.hash).free_balance(&bob.account()).await?;
    println!("{} had {before} units and has {after}", bob.ss58());
    Ok(())
}
