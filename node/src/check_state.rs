//! `check-state`: whether the state of a block adds up.

use crate::rpc::json;
use pol_primitives::{Balance, POL};
use pol_runtime::{
    BlockNumber, Hash,
    check::{Broken, Summary, check_state},
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

/// What the command does, for `--help` only.
pub const LONG_ABOUT: &str = "\
Check that the state of a block adds up.

It reads the whole state of a block from the database of a node that is not running, and checks the accounting of every \
pallet and between them: what accounts own and what was issued, what is on hold and what for, the shards that leases hold and \
those that the pool has lent, where all the money of learning went, and that every head follows from the one before it. It \
says so in a line with the books, or fails with the equation that does not hold.";

/// Which state to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The best block's.
    Best,
    /// The last finalised block's.
    Finalised,
    /// That of the block with this hash.
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
                    "give best, finalised, or a block's hash: 0x and 64 hexadecimal digits".into()
                }),
        }
    }
}

/// The command line of `check-state`.
#[derive(Debug, Clone, clap::Parser)]
pub struct CheckStateCmd {
    /// The block: `best`, `finalised`, or its hash.
    #[arg(long, value_name = "BLOCK", default_value = "best")]
    pub at: At,

    /// Say it in JSON, with balances as strings of the smallest unit.
    #[arg(long)]
    pub json: bool,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub shared_params: SharedParams,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub pruning_params: PruningParams,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub database_params: DatabaseParams,
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
    /// Checks the state and says what was found. Reads the database alone: no runtime is compiled
    /// for it.
    pub fn run(&self, config: &Configuration) -> sc_cli::Result<()> {
        if let Some(path) = config.database.path().filter(|path| !path.exists()) {
            // Opening it would make an empty one.
            let message = format!(
                "there is no chain in {}: give the --chain and --base-path of a node",
                path.display()
            );
            return Err(message.into());
        }
        let backend = new_db_backend::<Block>(config.db_config()).map_err(|error| {
            format!("cannot open the chain, is its node still running? {error}")
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
            .ok_or_else(|| format!("the node does not have the block {hash:?}"))?;
        let unread = |error: &dyn Display| {
            format!(
                "the node does not have the state of block {number}, {hash:?}; it may be pruned: {error}"
            )
        };
        let state =
            backend.state_at(hash, TrieCacheContext::Untrusted).map_err(|error| unread(&error))?;
        let pairs = state.pairs(Default::default()).map_err(|error| unread(&error))?;
        let top = pairs.collect::<Result<_, _>>().map_err(|error| unread(&error))?;

        let checked = TestExternalities::from(Storage { top, ..Default::default() })
            .execute_with(check_state);
        if self.json {
            println!("{}", in_json(number, hash, &checked));
        } else if let Ok(summary) = &checked {
            println!("{}", in_words(hash, summary));
        }
        checked.map(|_| ()).map_err(|broken| {
            sc_cli::Error::Application(format!("block {number}, {hash:?}: {broken}").into())
        })
    }
}

fn in_words(hash: Hash, summary: &Summary) -> String {
    let Summary { block, round, phase, leased, audits, issuance, held, books, .. } = summary;
    let [issuance, held, emitted, seized, paid, burned, waiting] =
        [*issuance, *held, books.emitted, books.seized, books.paid, books.burned, books.waiting]
            .map(pol);
    let phase = format!("{phase:?}").to_lowercase();
    format!(
        "block {block}, {hash:?}, adds up: round {round} ({phase}), {leased} shards leased, {audits} open audits, {issuance} POL issued, \
         {held} POL on hold; emitted {emitted} + seized {seized} = paid {paid} + burned {burned} + waiting {waiting} POL"
    )
}

fn in_json(block: BlockNumber, hash: Hash, checked: &Result<Summary, Broken>) -> Value {
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
            "books": json::books(&summary.books),
        }),
        Err(broken) => json!({
            "block": block,
            "hash": json::hash(&hash.0),
            "addsUp": false,
            "error": broken.to_string(),
        }),
    }
}

/// An amount in POL, to the last unit.
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
    fn what_does_not_add_up_is_named() {
        let broken = Broken::Equation {
            part: "Balances",
            equation: "what accounts own (1) = what is issued (2)".into(),
        };
        let answer = in_json(7, Hash::zero(), &Err(broken));
        assert_eq!((&answer["block"], &answer["addsUp"]), (&json!(7), &json!(false)));
        assert!(
            answer["error"].as_str().is_some_and(|error| error.contains("what is issued (2)")),
            "{answer}"
        );
    }
}
