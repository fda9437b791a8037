//! What the command line looks like.

use crate::check_state::{self, CheckStateCmd};
use polkadot_sdk::sc_cli::{self, RunCmd};

/// What the node is, for `--help`.
pub const ABOUT: &str =
    "A node of the POL chain, a network that trains one language model together.";

/// More of it, for `--help` only.
pub const LONG_ABOUT: &str = "\
A node of the POL chain, a network that trains one language model together.

It keeps the chain, produces and finalises blocks when it holds the keys of an elected authority (BABE and GRANDPA), and \
serves JSON-RPC on port 9944 of this machine. Training and verifying are the work of `pol-trainer`, which connects to it.";

/// For `--help` only.
pub const EXAMPLES: &str = "\
Examples:
  pol-node --chain dev
      A chain of one authority that forgets everything when it ends. Accounts //Alice, //Trainer//1 and so on are funded.
  pol-node --chain dev --base-path data --rpc-port 9955
      The same, kept in `data` over restarts.
  pol-node key generate-node-key --chain local --base-path alice
  pol-node --chain local --alice --base-path alice --port 30334 --rpc-port 9945
      One of the three authorities of a local network; the others are --bob and --charlie.
  pol-node --chain network.json --validator --base-path data
      An authority of another network. Its session keys come from the keystore in `data`; see `key insert --help`.
  pol-node check-state --chain dev --base-path data
      Checks that the state which a node kept in `data` adds up, once the node has ended.

Every option has a default; nothing is sent to anybody but the peers of the chain.";

/// The command line.
#[derive(Debug, clap::Parser)]
pub struct Cli {
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    #[command(flatten)]
    pub run: RunCmd,
}

impl Cli {
    /// Lets `--chain dev` mean what `--dev` does: the node is Alice, produces blocks without peers,
    /// and keeps its state only where a base path is given.
    pub fn with_dev_defaults(mut self) -> Self {
        let shared = &mut self.run.shared_params;
        shared.dev |= shared.chain.as_deref() == Some(crate::chain_spec::DEV);
        self
    }
}

/// What the binary does instead of running a node.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Make, inspect and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write a chain specification.
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Write a chain specification to a file, without boot nodes of its own.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Import a stored block again, to check it.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Check that the state of a block adds up.
    #[command(long_about = check_state::LONG_ABOUT)]
    CheckState(CheckStateCmd),

    /// Write blocks to a file.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Write the state of a block as a chain specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Read blocks that `export-blocks` wrote.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Delete everything stored of a chain.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Go back to an earlier block.
    Revert(sc_cli::RevertCmd),

    /// Say what is stored of a chain.
    ChainInfo(sc_cli::ChainInfoCmd),

    /// Sign a message with a key.
    Sign(sc_cli::SignCmd),

    /// Check the signature of a message.
    Verify(sc_cli::VerifyCmd),

    /// Make a key whose address holds a text.
    Vanity(sc_cli::VanityCmd),
}
