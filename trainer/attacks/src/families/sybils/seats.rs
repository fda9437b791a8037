// SPDX-License-Identifier: Apache-2.0

//! Seats of authorities that are bought by bonds, with keys and without nodes.

use super::super::forks::{self, Damage, Losses};
use crate::{
    attackers::accounts,
    network::{signer, unused_endpoint},
    sites::{AUTHORITIES, SitesNetwork, VALIDATORS, strangers},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{Balance, POL, RoundNumber, election::Candidacy, member::Role};
use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
};

/// Most candidates that there can be.
const CANDIDATES: usize = 128;
/// Bond of each account of the attacker, which is more than that of the smallest authority.
const BOND: Balance = 10_001 * POL;
/// Bond by which a further account of the attacker asks for a place in the full list.
const HIGHER_BOND: Balance = BOND + POL;
/// Bond of an honest account that asks after it.
const HIGHEST_BOND: Balance = HIGHER_BOND + POL;
/// Bond that honest validators add, so that the attacker has less than two thirds of all stake.
/// With more, idle accounts would hold up rounds.
const HONEST_BOND: Balance = 750_000 * POL;
/// Calls that wait for a block at once. The node answers only so many requests a minute.
const CALLS: usize = 16;
/// Longest wait in blocks for a call to be accepted.
const CALL_BLOCKS: u32 = 60;
/// Blocks after which the attacker ends the suspension of its accounts, which attest no head.
const REVIVAL_BLOCKS: u32 = 30;
/// Longest wait in blocks until an authority without a node is found to be absent. A newcomer is
/// elected after two sessions of 200 blocks at most, serves after one more, and is found at the end
/// of the first one in which it should have made fifteen blocks.
const ABSENCE_BLOCKS: u32 = 1_000;
/// Blocks of the session after it that are looked at.
const LAST_BLOCKS: u32 = 40;
/// Most blocks that may wait for finality at once.
const LAG_BLOCKS: u32 = 30;
/// Penalty for an absence.
const PENALTY: Balance = 20 * POL;

/// Fills the list of candidates with accounts that have keys and run nothing, and waits until one
/// of them is elected, serves, and is found to be absent.
pub(super) async fn buy_seats(network: &SitesNetwork) -> Result<Tally> {
    let honest = accounts(AUTHORITIES.map(|(name, _)| name))?;
    raise_honest_stake(network).await?;
    let losses = Losses::begin(network).await?;
    let before = network.holds().at_final_block(&honest).await?;
    let (attackers, newcomer) = fill_list(network, honest.len()).await?;
    let listed: BTreeSet<_> = candidates(network).await?.into_iter().map(|(who, _)| who).collect();
    let have_places = honest.iter().chain([&newcomer]).all(|who| listed.contains(who));

    let bought = attackers.iter().map(Signer::account).collect();
    let mut watch = Watch::new(honest.clone(), bought);
    let mut absent = None;
    for block in 0..ABSENCE_BLOCKS {
        watch.look(network).await?;
        if block % REVIVAL_BLOCKS == 0 {
            revive(network, &attackers).await?;
        }
        absent = watch.absent(network).await?;
        if absent.is_some() {
            break;
        }
    }
    let absent = absent.context("no authority without a node was found to be absent")?;
    for _ in 0..LAST_BLOCKS {
        watch.look(network).await?;
    }

    let first = watch.first_round.context("an authority without a node served")?;
    let last = forks::round(network).await?;
    let damage = Damage::find(network, losses, first..last, &[]).await?;
    let after = network.holds().at_final_block(&honest).await?;
    let lose_nothing = before.iter().zip(&after).all(|(before, after)| after >= before);
    let held = network.holds().at_final_block(&[absent]).await?;
    let is_fined = held.first().is_some_and(|held| held.saturating_add(PENALTY) <= HIGHER_BOND);
    let passed = have_places && lose_nothing && is_fined && watch.is_sound() && damage.valid > 0;
    let note = format!(
        "{} of {} candidates ran nothing; the honest ones had their places: {have_places}; \
         {watch}; the absent one was fined: {is_fined}; {} updates valid meanwhile",
        listed.intersection(&watch.bought).count(),
        listed.len(),
        damage.valid
    );
    Ok(damage.tally(passed, note))
}

/// Fills the list of candidates, in which there are `authorities`. Then one more account of the
/// attacker asks for a place, and an honest one. Returns the keys of the attacker and the honest
/// account.
async fn fill_list(network: &SitesNetwork, authorities: usize) -> Result<(Vec<Signer>, AccountId)> {
    let mut attackers = strangers()?;
    let newcomer = attackers.pop().context("there are strangers")?;
    let late = attackers.pop().context("there are strangers")?;
    ensure!(attackers.len() + authorities == CANDIDATES, "the strangers do not fill the list");
    let standing = attackers.iter().map(|attacker| stand(network, attacker, BOND));
    stream::iter(standing).buffer_unordered(CALLS).try_collect::<()>().await?;
    let listed = candidates(network).await?.len();
    ensure!(listed == CANDIDATES, "{listed} accounts are candidates");
    stand(network, &late, HIGHER_BOND).await?;
    bond(network, &newcomer, HIGHEST_BOND).await?;
    attackers.push(late);
    Ok((attackers, newcomer.account()))
}

async fn raise_honest_stake(network: &SitesNetwork) -> Result<()> {
    let amount = HONEST_BOND / VALIDATORS.len() as Balance;
    try_join_all(VALIDATORS.map(|(name, ..)| async move {
        let validator = signer(name)?;
        network
            .until("a validator adds to its bond", CALL_BLOCKS, || async {
                network.chains[0].submit(&validator, Call::BondExtra { amount }).await?;
                Ok(Some(()))
            })
            .await
    }))
    .await?;
    Ok(())
}

/// Ends the suspension of the attacker's accounts. Others may end at any time.
async fn revive(network: &SitesNetwork, attackers: &[Signer]) -> Result<()> {
    let chain = &network.chains[0];
    let members = chain.members().await?;
    let chilled: BTreeSet<AccountId> =
        members.into_iter().filter(|member| member.chilled).map(|member| member.account).collect();
    let calls = attackers
        .iter()
        .filter(|attacker| chilled.contains(&attacker.account()))
        .map(|attacker| chain.submit(attacker, Call::Unchill));
    // One that is refused is tried again later.
    stream::iter(calls).buffer_unordered(CALLS).for_each(|_| async {}).await;
    Ok(())
}

/// Stands for election with an endpoint at which nobody answers.
async fn stand(network: &SitesNetwork, account: &Signer, amount: Balance) -> Result<()> {
    bond(network, account, amount).await?;
    let call = Call::SetEndpoint { endpoint: unused_endpoint() };
    network.chains[0].submit(account, call).await?;
    Ok(())
}

async fn bond(network: &SitesNetwork, account: &Signer, amount: Balance) -> Result<()> {
    let call = Call::Bond { role: Role::Authority, amount };
    network.chains[0].submit(account, call).await?;
    Ok(())
}

async fn candidates(network: &SitesNetwork) -> Result<Vec<(AccountId, Candidacy)>> {
    network.stored("PolStaking", "Candidates").await
}

/// Watch on the set of authorities and on finality, block by block.
struct Watch {
    honest: Vec<AccountId>,
    bought: BTreeSet<AccountId>,
    /// Most accounts of the attacker that served at once.
    most_bought: usize,
    /// `true` if all honest authorities served all the time.
    all_served: bool,
    /// Most blocks that waited for finality at once.
    lag: u32,
    /// Round in which an account of the attacker served first.
    first_round: Option<RoundNumber>,
}

impl Watch {
    fn new(honest: Vec<AccountId>, bought: BTreeSet<AccountId>) -> Self {
        Self { honest, bought, most_bought: 0, all_served: true, lag: 0, first_round: None }
    }

    /// Waits for a block and looks at the network.
    async fn look(&mut self, network: &SitesNetwork) -> Result<()> {
        network.wait_blocks(1).await;
        let chain = &network.chains[0];
        let (final_block, best) = (chain.finalised_block().await?, chain.best_block().await?);
        self.lag = self.lag.max(best.number.saturating_sub(final_block.number));
        let authorities: Vec<AccountId> = network.stored("Session", "Validators").await?;
        let bought = authorities.iter().filter(|who| self.bought.contains(*who)).count();
        self.most_bought = self.most_bought.max(bought);
        self.all_served &= self.honest.iter().all(|who| authorities.contains(who));
        if bought > 0 && self.first_round.is_none() {
            self.first_round = Some(forks::round(network).await?);
            crate::print_progress("an authority without a node serves");
        }
        Ok(())
    }

    /// Returns an account of the attacker that was found to be absent.
    async fn absent(&self, network: &SitesNetwork) -> Result<Option<AccountId>> {
        let mut candidates = candidates(network).await?.into_iter();
        let is_found = |(who, candidacy): &(AccountId, Candidacy)| {
            candidacy.absent && self.bought.contains(who)
        };
        Ok(candidates.find(is_found).map(|(who, _)| who))
    }

    /// Returns `true` if finality went on, and no bond took a seat from an honest authority.
    fn is_sound(&self) -> bool {
        self.most_bought == 1 && self.all_served && self.lag <= LAG_BLOCKS
    }
}

impl Display for Watch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { most_bought, all_served, lag, .. } = self;
        write!(
            f,
            "{most_bought} of them served at once at most, beside all honest authorities: \
             {all_served}; at most {lag} blocks waited for finality"
        )
    }
}
