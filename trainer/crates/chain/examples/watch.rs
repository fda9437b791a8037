// SPDX-License-Identifier: Apache-2.0

//! Prints the state of a network, and then its next blocks.
//!
//! ```text
//! $POL_BIN/pol-node --dev --tmp                                        # a local node
//! cargo run --release -p pol-chain --example watch -- [URL] [BLOCKS]
//! ```

use futures::StreamExt;
use pol_chain::{Chain, format_account};
use std::{env, error::Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:9944".to_owned());
    let count: usize = arguments.next().map_or(Ok(5), |count| count.parse())?;

    let chain = Chain::connect(&url).await?;
    println!("genesis 0x{}", hex::encode(chain.genesis_hash()));
    println!("a block every {:?}", chain.block_time().await?);
    println!("{:#?}", chain.overview().await?);
    for member in chain.members().await? {
        println!("{} is a {:?}", format_account(&member.account), member.role);
    }

    let mut blocks = chain.blocks().await?.take(count);
    while let Some(block) = blocks.next().await {
        let open_audits = chain.at(block.hash).audits().await?.len();
        println!("block {} 0x{}: {open_audits} open audits", block.number, hex::encode(block.hash));
    }
    Ok(())
}
