// SPDX-License-Identifier: Apache-2.0

//! Forks and failures of a network with several authorities. Nobody attacks: honest members must
//! lose nothing by the network alone.

use crate::{
    scenario::{Family, Scenario, Setup},
    sites::{SitesNetwork, members},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use futures::future::LocalBoxFuture;
use pol_chain::Chain;
use pol_primitives::{Balance, POL, RoundNumber, round::BlockNumber, submission::Outcome};
use std::{ops::Range, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

pub(super) static FAMILY: Family = Family {
    name: "forks",
    scenarios: &[
        Scenario {
            name: "parted-authorities",
            setup: Setup::Sites(parted_authorities),
            act: "Parts four authorities in halves again and again, until both sides have blocks \
                  of their own.",
            expect: "The chains part and join, the model moves on, every settled update is valid \
                     or left out, and no member loses 1 POL.",
        },
        Scenario {
            name: "dead-authorities",
            setup: Setup::Sites(dead_authorities),
            act: "Kills one of four authorities, then a second one, and starts both again.",
            expect: "Blocks are final without one, not without two, and again with both; no \
                     member whose node runs loses 1 POL.",
        },
    ],
};

/// Lengths of partitions in blocks, one after the other: shorter and longer than a phase.
const PARTITIONS: [u32; 4] = [4, 9, 6, 14];
/// Lengths in blocks of the pauses between them, so that they meet each phase.
const PAUSES: [u32; 5] = [7, 4, 10, 5, 8];
/// Pause between two looks at balances.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Sites whose nodes are killed, one after the other.
const DEAD_SITES: [u8; 2] = [3, 2];
/// Longest wait in blocks for a parted network to come together.
const JOIN_BLOCKS: u32 = 60;
/// Longest wait in blocks for the updates of the last round to be settled.
const SETTLE_BLOCKS: u32 = 150;
/// Longest wait in blocks for a round.
const ROUND_BLOCKS: u32 = 80;

fn parted_authorities(network: &SitesNetwork, rounds: u32) -> LocalBoxFuture<'_, Result<Tally>> {
    Box::pin(async move {
        let losses = Losses::begin(network).await?;
        let first = round(network).await?;
        let last = first.saturating_add(rounds.max(2));
        let (mut partitions, mut forks) = (0, 0);
        let mut lengths = PARTITIONS.into_iter().zip(PAUSES.into_iter().cycle()).cycle();
        while round(network).await? < last {
            ensure!(partitions < u64::from(rounds) * 8 + 16, "the network moves no more");
            let Some((parted, pause)) = lengths.next() else { break };
            network.wait_blocks(pause).await;
            network.links.part()?;
            network.wait_blocks(parted).await;
            forks += u64::from(are_parted(network).await?);
            network.links.join()?;
            partitions += 1;
            is_joined(network).await?;
        }
        let damage = Damage::find(network, losses, first..last, &[]).await?;
        let note = format!(
            "{forks} forks in {partitions} partitions over {} rounds; {} updates valid",
            last - first,
            damage.valid
        );
        let moved_on = forks > 0 && damage.valid > 0;
        Ok(damage.tally(moved_on, note))
    })
}

fn dead_authorities(network: &SitesNetwork, _: u32) -> LocalBoxFuture<'_, Result<Tally>> {
    Box::pin(async move {
        let losses = Losses::begin(network).await?;
        let first = round(network).await?;
        network.stop_node(DEAD_SITES[0]);
        let with_three = finalises(network, 30).await?;
        let moved = network
            .until("the model moves without one authority", 3 * ROUND_BLOCKS, || async {
                Ok((round(network).await? > first).then_some(()))
            })
            .await;
        network.stop_node(DEAD_SITES[1]);
        // Votes that were cast before may still make a few blocks final.
        network.wait_blocks(4).await;
        let with_two = finalises(network, 15).await?;
        DEAD_SITES.into_iter().try_for_each(|site| network.start_node(site))?;
        let with_four = finalises(network, JOIN_BLOCKS).await?;
        let last = round(network).await?.saturating_add(1);
        let event = "the model moves again";
        let moved_again = network
            .until(event, 3 * ROUND_BLOCKS, || async {
                Ok((round(network).await? > last).then_some(()))
            })
            .await;
        let damage = Damage::find(network, losses, first..last, &DEAD_SITES).await?;
        let note = format!(
            "final with three: {with_three}, with two: {with_two}, with four again: {with_four}"
        );
        let went_on = with_three && !with_two && with_four && moved.is_ok() && moved_again.is_ok();
        Ok(damage.tally(went_on, note))
    })
}

/// Damage to honest members in some rounds.
struct Damage {
    settled: u64,
    valid: u64,
    /// Updates that cost their trainers something.
    condemned: u64,
    /// Members that lost something, and processes that ended.
    failures: Vec<String>,
}

impl Damage {
    /// Waits until the updates of `rounds` are settled, and finds what they and the members came
    /// to. Members of the sites in `without` may lose something.
    async fn find(
        network: &SitesNetwork,
        losses: Losses,
        rounds: Range<RoundNumber>,
        without: &[u8],
    ) -> Result<Self> {
        let outcomes = settled(network, rounds).await?;
        let count = |is: fn(Outcome) -> bool| {
            outcomes.iter().filter(|outcome| is(**outcome)).count() as u64
        };
        Ok(Self {
            settled: outcomes.len() as u64,
            valid: count(|outcome| outcome == Outcome::Valid),
            condemned: count(is_loss),
            failures: [losses.end(without).await?, network.failed_processes()].concat(),
        })
    }

    /// Returns the tally of a scenario that requires no damage, and `passed` besides.
    fn tally(self, passed: bool, note: String) -> Tally {
        let is_none = self.condemned == 0 && self.failures.is_empty();
        let note =
            format!("{note}; {} updates settled. {}", self.settled, self.failures.join("; "));
        let tally = Tally::counted(self.settled, 0, 0).false_positives(self.condemned);
        tally.passed(passed && is_none, note)
    }
}

/// Watch on the balances on hold of all members, in final blocks.
///
/// Members bond again after a penalty, so that balances at the end would not show what they lost.
struct Losses(JoinHandle<Vec<(Balance, Balance)>>, oneshot::Sender<()>);

impl Losses {
    /// Starts to watch.
    async fn begin(network: &SitesNetwork) -> Result<Self> {
        let accounts: Vec<_> = members()?.into_iter().map(|(.., account)| account).collect();
        let holds = network.holds();
        let first = holds.at_final_block(&accounts).await?;
        let (stop, mut stopped) = oneshot::channel();
        let watch = async move {
            // Balance of each account, and the sum of its decreases.
            let mut seen: Vec<(Balance, Balance)> =
                first.into_iter().map(|held| (held, 0)).collect();
            while stopped.try_recv().is_err() {
                // A node that is cut off or stopped has no newer final block.
                if let Ok(now) = holds.at_final_block(&accounts).await {
                    for ((held, lost), now) in seen.iter_mut().zip(now) {
                        *lost = lost.saturating_add(held.saturating_sub(now));
                        *held = now;
                    }
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
            seen
        };
        Ok(Self(tokio::spawn(watch), stop))
    }

    /// Returns a line about each member that has lost 1 POL or more, but for those of the sites in
    /// `without`. A lease that a busy machine missed costs a tenth of a POL.
    async fn end(self, without: &[u8]) -> Result<Vec<String>> {
        let Self(watch, stop) = self;
        // The watch only ends because of this.
        let _ = stop.send(());
        let seen = watch.await.context("the watch on balances ended")?;
        let members = members()?.into_iter().zip(seen);
        let lost = members
            .filter(|((_, site, _), (_, lost))| *lost >= POL && !without.contains(site))
            .map(|((name, ..), (_, lost))| format!("{name} lost {} POL", lost / POL));
        Ok(lost.collect())
    }
}

/// Returns the current round on the first site's chain.
async fn round(network: &SitesNetwork) -> Result<RoundNumber> {
    Ok(network.chains[0].overview().await?.round.number)
}

/// Returns `true` if the outcome costs its trainer something.
fn is_loss(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Valid | Outcome::Excluded | Outcome::Unresolved)
}

/// Waits until the updates of these rounds are settled, and returns their outcomes.
async fn settled(network: &SitesNetwork, rounds: Range<RoundNumber>) -> Result<Vec<Outcome>> {
    let chain = &network.chains[0];
    network
        .until("all updates are settled", SETTLE_BLOCKS, || async {
            let mut outcomes = Vec::new();
            for round in rounds.clone() {
                let open = chain.submissions(round).await?;
                if !open.is_empty() {
                    return Ok(None);
                }
                let history = chain.history(round).await?;
                outcomes.extend(history.into_iter().map(|(_, record)| record.outcome));
            }
            Ok(Some(outcomes))
        })
        .await
}

/// Returns `true` if the halves have different blocks at the greatest height that both have.
async fn are_parted(network: &SitesNetwork) -> Result<bool> {
    let height = best(&network.chains[0]).await?.min(best(&network.chains[3]).await?);
    Ok(network.block_hash(0, height).await? != network.block_hash(3, height).await?)
}

/// Returns the height of the best block.
async fn best(chain: &Chain) -> Result<BlockNumber> {
    Ok(chain.best_block().await?.number)
}

/// Waits until both halves agree on a final block that is newer than the present best one.
async fn is_joined(network: &SitesNetwork) -> Result<()> {
    let height = best(&network.chains[0]).await?;
    network
        .until("the halves agree again", JOIN_BLOCKS, || async {
            let first = network.chains[0].finalised_block().await?;
            let second = network.chains[3].finalised_block().await?;
            Ok((first.number > height && second.number > height).then_some(()))
        })
        .await
}

/// Returns `true` if the first site's chain makes a block final within `blocks` blocks.
async fn finalises(network: &SitesNetwork, blocks: u32) -> Result<bool> {
    let chain = &network.chains[0];
    let before = best(chain).await?;
    let event = "a new block is final";
    let waited = network.until(event, blocks, || async {
        Ok((chain.finalised_block().await?.number > before).then_some(()))
    });
    Ok(waited.await.is_ok())
}
