// SPDX-License-Identifier: Apache-2.0

//! Attackers as members of a network.

use crate::{
    cheating::{Cheat, CheatingStrategy},
    network::{self, Network, unused_endpoint},
};
use anyhow::{Context, Result};
use clap::Parser;
use pol_chain::{AccountId, Call};
use pol_primitives::{Balance, POL, member::UPDATE_LOCK, recipe::Tier};
use pol_trainer::{cli, commands};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Balance of an attacking trainer at the start.
pub(crate) const FUNDS: Balance = 12_000 * POL;
/// Bond of a cheating trainer, which lasts for several penalties.
pub(crate) const TRAINER_BOND: Balance = 10_000 * POL;
/// Bond of a cheating validator; a minority of the stake.
pub(crate) const VALIDATOR_BOND: Balance = 5_000 * POL;
/// Longest wait in blocks until the chain accepts a call that some phases refuse.
pub(crate) const ACCEPTANCE_BLOCKS: u32 = 40;

/// The runtime's penalty for invalid updates.
pub(crate) const INVALID_PENALTY: Balance = UPDATE_LOCK;
/// The runtime's penalty for withheld updates.
pub(crate) const WITHHELD_PENALTY: Balance = 200 * POL;
/// The runtime's penalty for a failed seat.
pub(crate) const SEAT_PENALTY: Balance = 50 * POL;

/// Running roles of attackers, by account.
pub(crate) type Roles = JoinSet<(&'static str, Result<()>)>;

/// Returns the accounts with these names.
pub(crate) fn accounts<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<AccountId>> {
    names.into_iter().map(|name| Ok(network::signer(name)?.account())).collect()
}

/// Starts an attacker as the released program would start it, with a cheating strategy. `role` is
/// the argument of `--role`.
pub(crate) fn start_attacker(
    network: &Network,
    roles: &mut Roles,
    account: &'static str,
    role: &str,
    cheat: Cheat,
) -> Result<()> {
    start_attacker_with(network, roles, account, cheat, &["--role", role])
}

/// Starts an attacker as [`start_attacker`] does, with these arguments.
pub(crate) fn start_attacker_with(
    network: &Network,
    roles: &mut Roles,
    account: &'static str,
    cheat: Cheat,
    more: &[&str],
) -> Result<()> {
    let (url, path) = (network.rpc.url(), network.path(account));
    let name = network::dev_account(account);
    let path = path.to_str().context("the temporary folder's name is not valid UTF-8")?;
    #[rustfmt::skip]
    let arguments = [
        "pol-trainer", "--node", &url, "--dev-account", &name,
        "--tier", "whale", "--workers", "1", "--base-path", path,
    ];
    let options = cli::Cli::try_parse_from(arguments.iter().chain(more))?.run;
    let held_out = Arc::new(network.shards(pol_data::HELD_OUT, 0, 4)?);
    let shards = network.recipe.shards_per_lease(Tier::Whale) as usize;
    let strategy = CheatingStrategy { cheat, held_out, shards };
    roles.spawn(async move { (account, commands::run::run(options, strategy).await) });
    Ok(())
}

/// Registers an endpoint for a validator that does nothing by itself.
pub(crate) async fn register_endpoint(network: &Network, account: &str) -> Result<()> {
    let call = Call::SetEndpoint { endpoint: unused_endpoint() };
    network.submit_until_accepted(account, call, ACCEPTANCE_BLOCKS).await
}
