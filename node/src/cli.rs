// SPDX-License-Identifier: Apache-2.0

//! Command line.

use crate::check_state::{self, CheckStateCmd};
use clap_complete::Shell;
use polkadot_sdk::sc_cli::{self, RunCmd};
use std::path::PathBuf;

/// Summary shown by `-h`.
pub(crate) const ABOUT: &str =
    "A node of the POL chain, a network that trains one language model together.";

/// Description shown by `--help`.
pub(crate) const LONG_ABOUT: &str = "\
A node of the POL chain, a network that trains one language model together.

It stores the chain, produces and finalises blocks if it holds the keys of an elected authority \
(BABE and GRANDPA), and serves JSON-RPC on port 9944 of this machine. `pol-trainer`, which trains \
and verifies, connects to it.";

/// Examples shown by `--help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  pol-node --chain dev
      Runs a chain of one authority that is deleted when the node stops. Accounts such as //Alice
      and //Trainer//1 are funded.
  pol-node --chain dev --base-path data --rpc-port 9955
      Runs the same chain and keeps it in `data`.
  pol-node key generate-node-key --chain local --base-path alice
  pol-node --chain local --alice --base-path alice --port 30334 --rpc-port 9945
      Runs one of the three authorities of a local network. The others are --bob and --charlie.
  pol-node --chain network.json --validator --base-path data
      Runs an authority of another network. Its session keys are in the keystore in `data`; see
      `key insert --help`.
  pol-node check-state --chain dev --base-path data
      Checks the state that a stopped node kept in `data`.

Every option has a default. The node sends data to the peers of its chain only.";

/// Arguments of `pol-node`.
#[derive(Debug, clap::Parser)]
pub(crate) struct Cli {
    /// Command to run instead of a node.
    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommand>,

    /// Options of the node.
    #[command(flatten)]
    pub(crate) run: RunCmd,
}

impl Cli {
    /// Makes `--chain dev` imply `--dev`: the node is Alice, produces blocks without peers, and
    /// keeps its state only if a base path is given.
    pub(crate) fn with_dev_defaults(mut self) -> Self {
        let shared = &mut self.run.shared_params;
        shared.dev |= shared.chain.as_deref() == Some(crate::chain_spec::DEV);
        self
    }
}

/// Commands that do not run a node.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Generate, inspect and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write a chain specification.
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Write a chain specification to a file, without default boot nodes.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Check a stored block by importing it again.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Check that the state of a block is consistent.
    #[command(long_about = check_state::LONG_ABOUT)]
    CheckState(CheckStateCmd),

    /// Write blocks to a file.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Write the state of a block as a chain specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Import blocks written by `export-blocks`.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Delete all stored data of a chain.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Revert the chain to an earlier block.
    Revert(sc_cli::RevertCmd),

    /// Print the state of a chain's database.
    ChainInfo(sc_cli::ChainInfoCmd),

    /// Sign a message with a key.
    Sign(sc_cli::SignCmd),

    /// Check the signature of a message.
    Verify(sc_cli::VerifyCmd),

    /// Generate a key whose address contains a text.
    Vanity(sc_cli::VanityCmd),

    /// Print the completions of a shell for this program.
    Completions {
        /// Shell that reads the completions.
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Write the manual pages of this program.
    Man {
        /// Folder for the pages: one of the program, and one of each command.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}
