// SPDX-License-Identifier: Apache-2.0

//! Machines of honest members that fail: clocks that are wrong, and disks that are full.

use super::forks::{self, Losses};
use crate::{
    attackers::{ACCEPTANCE_BLOCKS, accounts},
    network::Network,
    scenario::{Family, Scenario, Setup},
    sites::{self, Disk, SitesNetwork, members},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use pol_chain::{AccountId, Call};
use pol_primitives::{POL, RoundNumber, member::Role, round::Phase};
use std::{
    cell::RefCell,
    fs,
    io::{ErrorKind, Write},
    ops::Range,
    path::Path,
};

pub(super) static FAMILY: Family = Family {
    name: "outages",
    scenarios: &[
        Scenario {
            name: "skewed-clock",
            setup: Setup::Sites(|network, _| skew_clock(network).boxed_local()),
            act: "Sets the clocks of one of four sites, of its authority and all its members, 30 s \
                  ahead and then 30 s behind.",
            expect: "Blocks are final and the model moves on both times, members of other sites \
                     lose nothing, and the site agrees with them again once its clock is right.",
        },
        Scenario {
            name: "full-disk",
            setup: Setup::SmallDisk(|network| fill_disk(network).boxed_local()),
            act: "Fills the disk of an honest validator to the last byte for some rounds, and \
                  empties it.",
            expect: "The validator says that its disk is full, goes on, takes part again by \
                     itself, and loses nothing.",
        },
    ],
};

/// Site whose clocks are wrong.
const SKEWED_SITE: u8 = 1;
/// Seconds by which they are ahead, one after the other.
const SKEWS: [i32; 2] = [30, -30];
/// Longest wait in blocks for a round beside wrong clocks, whose author makes no blocks that count.
const SKEWED_ROUND_BLOCKS: u32 = 320;
/// Longest wait in blocks for a final block.
const FINAL_BLOCKS: u32 = 40;
/// Longest wait in blocks for the site to catch up once its clock is right.
const JOIN_BLOCKS: u32 = 80;
/// Longest wait in blocks for the updates of the last round to be settled.
const SETTLEMENT_BLOCKS: u32 = 200;

async fn skew_clock(network: &SitesNetwork) -> Result<Tally> {
    if !sites::can_shift_clocks() {
        let reason = "libfaketime is not installed; scripts/setup.sh installs it";
        return Ok(Tally::skipped(reason));
    }
    let losses = Losses::begin(network).await?;
    let first = forks::round(network).await?;
    let (mut moved, mut are_final) = (0, true);
    for ahead in SKEWS {
        network.restart_site(SKEWED_SITE, ahead).await?;
        are_final &= forks::finalises(network, FINAL_BLOCKS).await?;
        moved += u64::from(moves(network).await?);
    }
    network.restart_site(SKEWED_SITE, 0).await?;
    let agrees = agrees(network).await;
    let last = forks::round(network).await?;
    let (updates, condemned) = judge_other_sites(network, first..last).await?;
    let failures = [losses.lines(POL, &[SKEWED_SITE])?, network.failed_processes()].concat();
    let passed = are_final
        && moved == SKEWS.len() as u64
        && agrees.is_ok()
        && (updates > 0 && condemned == 0)
        && failures.is_empty();
    let note = format!(
        "final: {are_final}; the model moved in {moved} of {} rounds; agrees again: {}; {updates} \
         updates of other sites settled, {condemned} condemned. {} Of all sites: {}",
        SKEWS.len(),
        agrees.is_ok(),
        failures.join("; "),
        losses.lines(1, &[])?.join(", ")
    );
    Ok(Tally::counted(updates, 0, 0).false_positives(condemned).passed(passed, note))
}

/// Waits until the round after the current one is over. Returns `true` if it made a head.
async fn moves(network: &SitesNetwork) -> Result<bool> {
    let number = forks::round(network).await?.saturating_add(1);
    let ended = || async {
        let now = forks::round(network).await?;
        let record = network.chains[0].round_record(number).await?;
        Ok(record.filter(|_| now > number))
    };
    let record = network.until("a round ends beside wrong clocks", SKEWED_ROUND_BLOCKS, ended);
    Ok(record.await?.head.is_some())
}

/// Waits until the site whose clock was wrong has a final block that is newer than the present best
/// one, and the same as the others.
async fn agrees(network: &SitesNetwork) -> Result<()> {
    let height = network.chains[0].best_block().await?.number;
    let joined = || async {
        let own = network.chains[usize::from(SKEWED_SITE)].finalised_block().await?;
        if own.number <= height {
            return Ok(None);
        }
        let hashes = (
            network.block_hash(SKEWED_SITE, own.number).await?,
            network.block_hash(0, own.number).await?,
        );
        Ok((hashes.0 == hashes.1).then_some(()))
    };
    network.until("the site agrees with the others", JOIN_BLOCKS, joined).await
}

/// Waits until all updates of the rounds are settled. Returns the number of those of other sites,
/// and of those of them that cost their trainers something.
async fn judge_other_sites(
    network: &SitesNetwork,
    rounds: Range<RoundNumber>,
) -> Result<(u64, u64)> {
    let others: Vec<AccountId> = members()?
        .into_iter()
        .filter(|(_, site, _)| *site != SKEWED_SITE)
        .map(|(.., account)| account)
        .collect();
    let settled = || async {
        let (mut updates, mut condemned) = (0, 0);
        for round in rounds.clone() {
            if !network.chains[0].submissions(round).await?.is_empty() {
                return Ok(None);
            }
            for (account, record) in network.chains[0].history(round).await? {
                let is_other = others.contains(&account);
                updates += u64::from(is_other);
                condemned += u64::from(is_other && forks::is_loss(record.outcome));
            }
        }
        Ok(Some((updates, condemned)))
    };
    network.until("all updates are settled", SETTLEMENT_BLOCKS, settled).await
}

// ---- A full disk ----

/// The validator on the small disk. It bonds the minimum by itself.
const VALIDATOR: &str = "validator-14";
/// Size of the disk.
const DISK_MEBIBYTES: u32 = 64;
/// Longest wait in blocks for the validator to take part in a round.
const PART_BLOCKS: u32 = 150;
/// Blocks for which the disk stays full once the validator has said so.
const FULL_BLOCKS: u32 = 20;
/// Words by which the validator says what is wrong, once.
const COMPLAINT: &str = "the disk is full (";

async fn fill_disk(network: &Network) -> Result<Tally> {
    let path = network.path(VALIDATOR);
    let Some(_disk) = Disk::mount(&path, DISK_MEBIBYTES)? else {
        return Ok(Tally::skipped("this machine allows no mounts of one process only"));
    };
    let account = accounts([VALIDATOR])?;
    let process = RefCell::new(network.launch_validator(VALIDATOR, "small-disk")?);
    takes_part(network, account[0], 0).await?;
    let before = network.holds(&account).await?;
    let filler = path.join("filler");
    fill(&filler)?;
    // A process that ends says no more.
    let complaints = || process.borrow().log().matches(COMPLAINT).count();
    let said = || async {
        let is_over = complaints() > 0 || process.borrow_mut().failure().is_some();
        Ok(is_over.then_some(()))
    };
    network.until("the validator says that its disk is full", PART_BLOCKS, said).await?;
    let full_until = network.chain.overview().await?.now.saturating_add(FULL_BLOCKS);
    let passed_by =
        || async { Ok((network.chain.overview().await?.now >= full_until).then_some(())) };
    network.until("the disk stays full for a while", PART_BLOCKS, passed_by).await?;
    let complaints = complaints();
    let says_so = complaints == 1;
    fs::remove_file(&filler)?;
    let since = network.chain.overview().await?.round.number;
    let resumed = takes_part(network, account[0], since + 1).await;
    let after = network.holds(&account).await?;
    let failure = process.borrow_mut().failure();
    // A silent validator would hold up later audits.
    network.submit_until_accepted(VALIDATOR, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
    let lost = before[0].saturating_sub(after[0]);
    ensure!(before[0] >= Role::Validator.minimum_bond(), "{VALIDATOR} has no bond");
    let passed = says_so && resumed.is_ok() && failure.is_none() && lost == 0;
    let note = format!(
        "said {complaints} times that its disk is full; {}; lost {} POL. {}",
        match &resumed {
            Ok(()) => "took part again".to_owned(),
            Err(error) => format!("{error:#}"),
        },
        lost / POL,
        failure.unwrap_or_default()
    );
    Ok(Tally::tried(1, says_so.into()).passed(passed, note))
}

/// Waits until the validator reports the updates that it holds of a round from `first` on.
async fn takes_part(network: &Network, account: AccountId, first: RoundNumber) -> Result<()> {
    let reported = || async {
        let round = network.chain.overview().await?.round;
        if round.number < first || !matches!(round.phase, Phase::Hold | Phase::Attest) {
            return Ok(None);
        }
        let reports = network.chain.held_reports().await?;
        Ok(reports.iter().any(|(who, _)| *who == account).then_some(()))
    };
    network.until("the validator takes part in a round", PART_BLOCKS, reported).await
}

/// Writes a file that takes all the room there is.
fn fill(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path).with_context(|| path.display().to_string())?;
    // Ever smaller pieces, so that no room is left.
    for size in [1 << 20, 1 << 12, 1] {
        let piece = vec![0; size];
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
