// SPDX-License-Identifier: Apache-2.0

//! `check-state`: checks the accounting of a block's state.

use crate::rpc::json;
use pol_primitives::{Balance, POL};
use pol_runtime::{
    BlockNumber, Hash,
    check::{StateError, StateSummary, check_state},
    opaque::Block,
};
use polkadot_sdk::{
    sc_cli::{self, CliConfiguration, DatabaseParams, PruningParams, SharedParams},
    sc_client_api::{Backend, StateBackend, TrieCacheContext},
    sc_service::{Configuration, new_db_backend},
    sp_blockchain::HeaderBackend,
    sp_core::storage::Storage,
    sp_io::TestExternalities,
};
use serde_json::{Value, json};
use std::{fmt::Display, str::FromStr};

/// Description shown by `--help`.
pub(crate) const LONG_ABOUT: &str = "\
Check that the state of a block is consistent.

The command reads the whole state of a block from the database of a stopped node. It checks the \
accounting within and between the pallets: the balances of all accounts against the issuance, the \
holds against bonds and deposits, the shards in leases against the pool, the totals of all \
rewards, and that every head follows from the one before it. It prints one line with the totals, \
or fails with the first equation that does not hold.";

/// Block whose state is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Best block.
    Best,
    /// Last finalised block.
    Finalised,
    /// Block with this hash.
    Block(Hash),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "finalised" | "finalized" => Ok(Self::Finalised),
            hash => hash
                .strip_prefix("0x")
                .and_then(|digits| digits.parse().ok())
                .map(Self::Block)
                .ok_or_else(|| {
                    "use best, finalised, or the hash of a block: 0x and 64 hexadecimal digits"
                        .into()
                }),
        }
    }
}

/// Arguments of `check-state`.
#[derive(Debug, Clone, clap::Parser)]
pub(crate) struct CheckStateCmd {
    /// Block to check: `best`, `finalised`, or its hash.
    #[arg(long, value_name = "BLOCK", default_value = "best")]
    pub(crate) at: At,

    /// Print JSON, with balances as strings in the smallest unit.
    #[arg(long)]
    pub(crate) json: bool,

    /// Options for chain and database paths.
    #[command(flatten)]
    pub(crate) shared_params: SharedParams,

    /// Options for pruning.
    #[command(flatten)]
    pub(crate) pruning_params: PruningParams,

    /// Options for the database.
    #[command(flatten)]
    pub(crate) database_params: DatabaseParams,
}

impl CliConfiguration for CheckStateCmd {
    fn shared_params(&self) -> &SharedParams {
        &self.shared_params
    }

    fn pruning_params(&self) -> Option<&PruningParams> {
        Some(&self.pruning_params)
    }

    fn database_params(&self) -> Option<&DatabaseParams> {
        Some(&self.database_params)
    }
}

impl CheckStateCmd {
    /// Checks the state and prints the result. The checks are compiled into this binary, so they
    /// need the database but no WASM runtime.
    pub(crate) fn run(&self, config: &Configuration) -> sc_cli::Result<()> {
        if let Some(path) = config.database.path().filter(|path| !path.exists()) {
            // Opening it would create an empty database.
            let message = format!(
                "there is no chain in {}: pass the --chain and --base-path of a node",
                path.display()
            );
            return Err(message.into());
        }
        let backend = new_db_backend::<Block>(config.db_config()).map_err(|error| {
            format!("cannot open the chain; stop its node if it is still running: {error}")
        })?;
        let info = backend.blockchain().info();
        let hash = match self.at {
            At::Best => info.best_hash,
            At::Finalised => info.finalized_hash,
            At::Block(hash) => hash,
        };
        let number = backend
            .blockchain()
            .number(hash)?
            .ok_or_else(|| format!("the database does not have block {hash:?}"))?;
        let unreadable = |error: &dyn Display| {
            format!(
                "the database does not have the state of block {number}, {hash:?}, which may be \
                 pruned: {error}"
            )
        };
        let state = backend
            .state_at(hash, TrieCacheContext::Untrusted)
            .map_err(|error| unreadable(&error))?;
        let pairs = state.pairs(Default::default()).map_err(|error| unreadable(&error))?;
        let top = pairs.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;

        let checked = TestExternalities::from(Storage { top, ..Default::default() })
            .execute_with(check_state);
        if self.json {
            println!("{}", to_json(number, hash, &checked));
        } else if let Ok(summary) = &checked {
            println!("{}", to_line(hash, summary));
        }
        checked.map(|_| ()).map_err(|error| {
            sc_cli::Error::Application(format!("block {number}, {hash:?}: {error}").into())
        })
    }
}

fn to_line(hash: Hash, summary: &StateSummary) -> String {
    let StateSummary { block, round, phase, leased, audits, issuance, held, books, .. } = summary;
    let [issuance, held, emitted, seized, paid, burned, waiting] =
        [*issuance, *held, books.emitted, books.seized, books.paid, books.burned, books.waiting]
            .map(pol);
    let phase = format!("{phase:?}").to_lowercase();
    format!(
        "block {block}, {hash:?}, adds up: round {round} ({phase}), {leased} shards leased, \
         {audits} open audits, {issuance} POL issued, {held} POL on hold; emitted {emitted} + \
         seized {seized} = paid {paid} + burned {burned} + waiting {waiting} POL"
    )
}

fn to_json(block: BlockNumber, hash: Hash, checked: &Result<StateSummary, StateError>) -> Value {
    match checked {
        Ok(summary) => json!({
            "block": block,
            "hash": json::hash(&hash.0),
            "addsUp": true,
            "round": summary.round,
            "phase": summary.phase,
            "head": summary.head.as_ref().map(json::head),
            "leased": summary.leased,
            "audits": summary.audits,
            "issuance": json::balance(summary.issuance),
            "held": json::balance(summary.held),
            "books": json::ledger(&summary.books),
        }),
        Err(error) => json!({
            "block": block,
            "hash": json::hash(&hash.0),
            "addsUp": false,
            "error": error.to_string(),
        }),
    }
}

/// Formats an amount in POL, exactly.
fn pol(amount: Balance) -> String {
    let text = format!("{}.{:012}", amount / POL, amount % POL);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(
            [0, 1, POL / 2, POL, 30 * POL, 30 * POL + 50].map(pol),
            ["0", "0.000000000001", "0.5", "1", "30", "30.00000000005"]
        );
    }

    #[test]
    fn blocks_are_named_in_three_ways() {
        assert_eq!("best".parse(), Ok(At::Best));
        assert_eq!("finalised".parse(), Ok(At::Finalised));
        assert_eq!(
            format!("0x{}", "ab".repeat(32)).parse(),
            Ok(At::Block(Hash::repeat_byte(0xab)))
        );
        for other in ["", "7", "0x", "0x12", &"ab".repeat(32)] {
            assert!(other.parse::<At>().is_err_and(|error| error.contains("finalised")), "{other}");
        }
    }

    #[test]
    fn a_broken_equation_is_named() {
        let error = StateError::BrokenEquation {
            part: "Balances",
            equation: "what accounts own (1) = what is issued (2)".into(),
        };
        let answer = to_json(7, Hash::zero(), &Err(error));
        assert_eq!((&answer["block"], &answer["addsUp"]), (&json!(7), &json!(false)));
        assert!(
            answer["error"].as_str().is_some_and(|error| error.contains("what is issued (2)")),
            "{answer}"
        );
    }
}
