// SPDX-License-Identifier: Apache-2.0

//! Forks and failures of a network with several authorities. Nobody attacks: honest members must
//! lose nothing by the network alone.

use crate::{
    scenario::{Family, Scenario, Setup},
    sites::{Quality, SitesNetwork, members},
    tally::Tally,
};
use anyhow::Result;
use futures::future::LocalBoxFuture;
use pol_chain::Chain;
use pol_primitives::{Balance, POL, RoundNumber, round::BlockNumber, submission::Outcome};
use pol_trainer::display::format_amount;
use serde_json::json;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;

pub(super) static FAMILY: Family = Family {
    name: "forks",
    scenarios: &[
        Scenario {
            name: "parted-authorities",
            setup: Setup::Sites(parted_authorities),
            act: "Parts four authorities in halves again and again, until both sides have blocks \
                  of their own.",
            expect: "The chains part and join, the model moves on, no update is found invalid, \
                     withheld, or tainted (one may end undecided), and no member loses 1 POL.",
        },
        Scenario {
            name: "poor-links",
            setup: Setup::Sites(poor_links),
            act: "Delays what sites send each other by 80 ms, loses 2 % of it, reorders 2 %, and \
                  lets 256 KB pass in a second.",
            expect: "The model moves on, and no member loses 1 POL.",
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

/// Lengths of partitions in blocks, one after the other. All are shorter than a phase.
const PARTITIONS: [u32; 4] = [4, 9, 6, 14];
/// Lengths in blocks of the pauses between them, so that they meet each phase.
const PAUSES: [u32; 5] = [7, 4, 10, 5, 8];
/// Number of rounds from which on partitions are fewer and shorter, so that rounds are not much
/// longer by them.
const LONG_RUN: u32 = 10;
/// Lengths of partitions in blocks in a long run.
const CUTS: [u32; 4] = [3, 5, 4, 6];
/// Lengths in blocks of the pauses between them, about a round.
const LONG_PAUSES: [u32; 5] = [17, 13, 21, 15, 19];
/// Blocks by which a partition may be longer, if one half has no block of its own yet.
const MORE_BLOCKS: u32 = 6;
/// Most rounds with poor links.
const MAX_POOR_ROUNDS: u32 = 2;
/// Rounds after which an update that is settled stays settled on every fork.
const FIRM_ROUNDS: RoundNumber = 2;
/// Quality of poor links.
const POOR: Quality = Quality {
    delay: Duration::from_millis(80),
    loss: 0.02,
    reorder: 0.02,
    bandwidth: Some(256_000),
};
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
        let mut run = Run::begin(network, rounds).await?;
        let lengths = if rounds < LONG_RUN { (PARTITIONS, PAUSES) } else { (CUTS, LONG_PAUSES) };
        let cuts = Cuts::default();
        let followed = tokio::select! {
            cut = cuts.make(network, lengths) => cut,
            followed = run.follow(network, &cuts) => followed,
        };
        network.links.join();
        followed?;
        is_joined(network).await?;
        let (damage, rounds) = run.end(network).await?;
        let note = format!("{cuts} over {rounds} rounds; {} updates valid", damage.valid);
        let moved_on = cuts.forks() > 0 && damage.valid > 0;
        Ok(damage.tally(moved_on, note))
    })
}

fn poor_links(network: &SitesNetwork, rounds: u32) -> LocalBoxFuture<'_, Result<Tally>> {
    Box::pin(async move {
        let mut run = Run::begin(network, rounds.min(MAX_POOR_ROUNDS)).await?;
        network.links.set_quality(POOR);
        let followed = run.follow(network, &Cuts::default()).await;
        network.links.set_quality(Quality::default());
        followed?;
        let (damage, rounds) = run.end(network).await?;
        let note = format!("{} updates valid over {rounds} rounds", damage.valid);
        let moved_on = damage.valid > 0;
        Ok(damage.tally(moved_on, note))
    })
}

/// Partitions so far, and those in which both halves had blocks of their own.
#[derive(Default)]
struct Cuts {
    partitions: Cell<u32>,
    /// Forks by the phase in which the partition began.
    phases: RefCell<BTreeMap<String, u32>>,
}

impl Cuts {
    /// Returns the number of partitions in which both halves had blocks of their own.
    fn forks(&self) -> u32 {
        self.phases.borrow().values().sum()
    }

    /// Parts the network again and again for these lengths in blocks, with these pauses.
    async fn make<const N: usize, const M: usize>(
        &self,
        network: &SitesNetwork,
        (partitions, pauses): ([u32; N], [u32; M]),
    ) -> Result<()> {
        for (parted, pause) in partitions.into_iter().cycle().zip(pauses.into_iter().cycle()) {
            network.wait_blocks(pause).await;
            let phase = network.chains[0].overview().await?.round.phase;
            network.links.part();
            network.wait_blocks(parted).await;
            let mut is_fork = are_parted(network).await?;
            for _ in 0..MORE_BLOCKS {
                if is_fork {
                    break;
                }
                network.wait_blocks(1).await;
                is_fork = are_parted(network).await?;
            }
            network.links.join();
            self.partitions.set(self.partitions.get() + 1);
            if is_fork {
                *self.phases.borrow_mut().entry(format!("{phase:?}")).or_default() += 1;
            }
            is_joined(network).await?;
        }
        Ok(())
    }
}

impl Display for Cuts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> =
            self.phases.borrow().iter().map(|(phase, forks)| format!("{phase} {forks}")).collect();
        write!(f, "{} forks in {} partitions", self.forks(), self.partitions.get())?;
        if phases.is_empty() { Ok(()) } else { write!(f, " (begun in {})", phases.join(", ")) }
    }
}

/// A run over some rounds, whose damage is counted and reported as it goes on.
struct Run {
    losses: Losses,
    rounds: Range<RoundNumber>,
    /// Outcomes of the rounds that are settled for good.
    outcomes: Vec<Outcome>,
    /// First round that is not.
    unsettled: RoundNumber,
}

impl Run {
    async fn begin(network: &SitesNetwork, rounds: u32) -> Result<Self> {
        let first = round(network).await?;
        Ok(Self {
            losses: Losses::begin(network).await?,
            rounds: first..first.saturating_add(rounds),
            outcomes: Vec::new(),
            unsettled: first,
        })
    }

    /// Waits until all rounds have ended. Reports after each.
    async fn follow(&mut self, network: &SitesNetwork, cuts: &Cuts) -> Result<()> {
        for number in self.rounds.clone() {
            let event = format!("round {number} ends");
            network
                .until(&event, 4 * ROUND_BLOCKS, || async {
                    Ok((round(network).await? > number).then_some(()))
                })
                .await?;
            while self.unsettled.saturating_add(FIRM_ROUNDS) < number
                && let Some(outcomes) = round_outcomes(network, self.unsettled).await?
            {
                self.outcomes.extend(outcomes);
                self.unsettled = self.unsettled.saturating_add(1);
            }
            self.report(network, number, cuts)?;
        }
        Ok(())
    }

    /// Prints the state after a round, and appends it to a file of the run.
    fn report(&self, network: &SitesNetwork, number: RoundNumber, cuts: &Cuts) -> Result<()> {
        let condemned = self.outcomes.iter().filter(|outcome| is_loss(**outcome)).count();
        let lost = self.losses.lines(1, &[])?;
        crate::print_progress(&format!(
            "round {number} of {}: {cuts}, {} updates settled, {condemned} condemned; losses: {}",
            self.rounds.end.saturating_sub(1),
            self.outcomes.len(),
            if lost.is_empty() { "none".into() } else { lost.join(", ") }
        ));
        network.record(
            "forks",
            &json!({
                "round": number,
                "partitions": cuts.partitions.get(),
                "forks": cuts.forks(),
                "phases": *cuts.phases.borrow(),
                "settled": self.outcomes.len(),
                "condemned": condemned,
                "losses": lost,
                "failures": network.failed_processes(),
            }),
        )
    }

    /// Waits until all updates are settled, and returns the damage and the number of rounds.
    async fn end(self, network: &SitesNetwork) -> Result<(Damage, RoundNumber)> {
        let Self { losses, rounds, mut outcomes, unsettled } = self;
        outcomes.extend(settled(network, unsettled..rounds.end).await?);
        let damage = Damage::new(network, losses, &outcomes, &[]).await?;
        Ok((damage, rounds.end.saturating_sub(rounds.start)))
    }
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
        let last = round(network).await?;
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
pub(super) struct Damage {
    settled: u64,
    /// Updates that were found to be valid.
    pub(super) valid: u64,
    /// Updates that cost their trainers something.
    condemned: u64,
    /// Members that lost something, and processes that ended.
    failures: Vec<String>,
}

impl Damage {
    /// Waits until the updates of `rounds` are settled, and finds what they and the members came
    /// to. Members of the sites in `without` may lose something.
    pub(super) async fn find(
        network: &SitesNetwork,
        losses: Losses,
        rounds: Range<RoundNumber>,
        without: &[u8],
    ) -> Result<Self> {
        let outcomes = settled(network, rounds).await?;
        Self::new(network, losses, &outcomes, without).await
    }

    /// Finds what these outcomes and the members came to.
    async fn new(
        network: &SitesNetwork,
        losses: Losses,
        outcomes: &[Outcome],
        without: &[u8],
    ) -> Result<Self> {
        let count = |is: fn(Outcome) -> bool| {
            outcomes.iter().filter(|outcome| is(**outcome)).count() as u64
        };
        Ok(Self {
            settled: outcomes.len() as u64,
            valid: count(|outcome| outcome == Outcome::Valid),
            condemned: count(is_loss),
            failures: [losses.lines(POL, without)?, network.failed_processes()].concat(),
        })
    }

    /// Returns the tally of a scenario that requires no damage, and `passed` besides.
    pub(super) fn tally(self, passed: bool, note: String) -> Tally {
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
pub(super) struct Losses {
    /// Balance of each member, and the sum of its decreases.
    seen: Arc<Mutex<Vec<(Balance, Balance)>>>,
    watch: JoinHandle<()>,
}

impl Drop for Losses {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Losses {
    /// Starts to watch.
    pub(super) async fn begin(network: &SitesNetwork) -> Result<Self> {
        let accounts: Vec<_> = members()?.into_iter().map(|(.., account)| account).collect();
        let holds = network.holds();
        let first = holds.at_final_block(&accounts).await?.into_iter().map(|held| (held, 0));
        let seen = Arc::new(Mutex::new(first.collect::<Vec<(Balance, Balance)>>()));
        let shared = Arc::clone(&seen);
        let watch = tokio::spawn(async move {
            loop {
                // A node that is cut off or stopped has no newer final block.
                if let Ok(now) = holds.at_final_block(&accounts).await {
                    for ((held, lost), now) in lock(&shared).iter_mut().zip(now) {
                        *lost = lost.saturating_add(held.saturating_sub(now));
                        *held = now;
                    }
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        });
        Ok(Self { seen, watch })
    }

    /// Returns a line about each member that has lost `least` or more, but for those of the sites
    /// in `without`.
    pub(super) fn lines(&self, least: Balance, without: &[u8]) -> Result<Vec<String>> {
        let members = members()?.into_iter().zip(lock(&self.seen).clone());
        let lost = members
            .filter(|((_, site, _), (_, lost))| *lost >= least && !without.contains(site))
            .map(|((name, ..), (_, lost))| format!("{name} lost {}", format_amount(lost)));
        Ok(lost.collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the current round on the first site's chain.
pub(super) async fn round(network: &SitesNetwork) -> Result<RoundNumber> {
    Ok(network.chains[0].overview().await?.round.number)
}

/// Returns `true` if the outcome says that the trainer failed an audit. Lapses show in balances.
pub(super) fn is_loss(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Invalid | Outcome::Withheld | Outcome::Tainted)
}

/// Waits until the updates of these rounds are settled, and returns their outcomes.
async fn settled(network: &SitesNetwork, rounds: Range<RoundNumber>) -> Result<Vec<Outcome>> {
    network
        .until("all updates are settled", SETTLE_BLOCKS, || async {
            let mut outcomes = Vec::new();
            for round in rounds.clone() {
                let Some(of_round) = round_outcomes(network, round).await? else {
                    return Ok(None);
                };
                outcomes.extend(of_round);
            }
            Ok(Some(outcomes))
        })
        .await
}

/// Returns the outcomes of a round's updates, or `None` while some are not settled.
async fn round_outcomes(
    network: &SitesNetwork,
    round: RoundNumber,
) -> Result<Option<Vec<Outcome>>> {
    let chain = &network.chains[0];
    if !chain.submissions(round).await?.is_empty() {
        return Ok(None);
    }
    let history = chain.history(round).await?;
    Ok(Some(history.into_iter().map(|(_, record)| record.outcome).collect()))
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
pub(super) async fn finalises(network: &SitesNetwork, blocks: u32) -> Result<bool> {
    let chain = &network.chains[0];
    let before = best(chain).await?;
    let event = "a new block is final";
    let waited = network.until(event, blocks, || async {
        Ok((chain.finalised_block().await?.number > before).then_some(()))
    });
    Ok(waited.await.is_ok())
}
