// SPDX-License-Identifier: Apache-2.0

//! More accounts than a round has places.

use crate::{
    attackers::accounts,
    network::{self, Network},
    tally::Tally,
};
use anyhow::{Result, ensure};
use futures::future::{join_all, pending, try_join_all};
use pol_chain::{AccountId, Call};
use pol_primitives::{
    Balance, MAX_SUBMISSIONS, POL, RoundNumber, member::Role, queries::Overview, recipe::Tier,
};
use std::collections::BTreeSet;

/// Accounts of the attacker.
const ACCOUNTS: usize = 70;
/// Bond of each, and its balance with the fees.
const BOND: Balance = 1_000 * POL;
const FUNDS: Balance = BOND + 10 * POL;
/// Longest wait for a round to open, in blocks.
const ROUND_BLOCKS: u32 = 60;

/// Takes all places of two rounds by more accounts than they have, and works for none of them.
pub(super) async fn take_places(network: &Network) -> Result<Tally> {
    let names: Vec<String> = (1..=ACCOUNTS).map(|number| format!("place-{number}")).collect();
    let accounts = accounts(names.iter().map(String::as_str))?;
    network.fund(names.iter().map(String::as_str), FUNDS).await?;
    try_join_all(names.iter().map(|name| network.bond(name, Role::Trainer, BOND))).await?;
    // Ranks are drawn for accounts that are older than the round.
    let bonded = network.chain.overview().await?.round.number;
    let first = draw(network, &names, &accounts, bonded + 1).await?;
    let second = draw(network, &names, &accounts, first.round + 1).await?;
    try_join_all(names.iter().map(|name| unbond(network, name))).await?;
    let is_full = [&first, &second].iter().all(|draw| draw.due == MAX_SUBMISSIONS);
    let differs = first.placed != second.placed;
    let passed = is_full && first.lost == 0 && differs;
    let note = format!(
        "{ACCOUNTS} accounts of one owner had {} and then {} of {} and {} places, {}; the others \
         lost {} units of {POL} to the POL",
        first.placed.len(),
        second.placed.len(),
        first.due,
        second.due,
        if differs { "drawn anew" } else { "the same ones twice" },
        first.lost,
    );
    let placed = (first.placed.len() + second.placed.len()) as u64;
    let asked = 2 * ACCOUNTS as u64;
    Ok(Tally::tried(asked, asked.saturating_sub(placed)).passed(passed, note))
}

/// Places of a round once they are drawn.
struct Draw {
    round: RoundNumber,
    /// Leases that are due in it.
    due: u32,
    /// The attacker's accounts that have one.
    placed: BTreeSet<AccountId>,
    /// Sum of what the bonds of the others lost while places were drawn.
    lost: Balance,
}

/// Lets all accounts ask for places of the next round from number `earliest` on.
async fn draw(
    network: &Network,
    names: &[String],
    accounts: &[AccountId],
    earliest: RoundNumber,
) -> Result<Draw> {
    let chain = &network.chain;
    let opened = || async {
        let Overview { now, round, .. } = chain.overview().await?;
        let opened = round.number >= earliest && round.is_joinable(now + 1);
        Ok(opened.then_some(round.number))
    };
    let round = network.until("a round opens", ROUND_BLOCKS, opened).await?;
    let before = bonds(network, accounts).await?;
    let drawn = || async {
        let Overview { now, round: current, .. } = chain.overview().await?;
        ensure!(current.number == round, "round {round} ended before its draw was seen");
        Ok(current.join_until.is_some_and(|last| now > last).then_some(current.due))
    };
    // Calls that lose the draw while they wait for a block may stay in the pool for long.
    let asked = join_all(names.iter().map(|name| ask(network, name)));
    let due = tokio::select! {
        due = network.until("places are drawn", ROUND_BLOCKS, drawn) => due?,
        never = async { asked.await; pending().await } => never,
    };
    let leases = try_join_all(accounts.iter().map(|account| chain.lease(account))).await?;
    let after = bonds(network, accounts).await?;
    let mut draw = Draw { round, due, placed: BTreeSet::new(), lost: 0 };
    let bonds = before.into_iter().zip(after);
    for ((account, lease), (before, after)) in accounts.iter().zip(leases).zip(bonds) {
        if lease.is_some_and(|lease| lease.round == round) {
            draw.placed.insert(*account);
        } else {
            draw.lost += before.saturating_sub(after);
        }
    }
    Ok(draw)
}

/// Asks for a place. A refusal is an outcome of the draw.
async fn ask(network: &Network, name: &str) -> Result<()> {
    let call = Call::JoinRound { tier: Tier::Mobile };
    network.chain.submit(&network::signer(name)?, call).await?;
    Ok(())
}

async fn unbond(network: &Network, name: &str) -> Result<()> {
    network.chain.submit(&network::signer(name)?, Call::Unbond).await?;
    Ok(())
}

/// Returns the bond of each account.
async fn bonds(network: &Network, accounts: &[AccountId]) -> Result<Vec<Balance>> {
    let block = network.chain.best_block().await?;
    network.rpc.balances_on_hold(accounts, block.hash).await
}
