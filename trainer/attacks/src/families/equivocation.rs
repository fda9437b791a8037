// SPDX-License-Identifier: Apache-2.0

//! An authority whose keys are on two nodes.

use super::forks;
use crate::{
    network::signer,
    scenario::{Family, Scenario, Setup},
    sites::{AUTHORITIES, DOUBLED_SITE, SitesNetwork},
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_chain::AccountId;
use pol_primitives::POL;

pub(super) static FAMILY: Family = Family {
    name: "equivocation",
    scenarios: &[Scenario {
        name: "doubled-authority",
        setup: Setup::Sites(|network, _| double(network).boxed_local()),
        act: "Starts a second node with the keys of one of four authorities, so that both make a \
              block in each of its slots.",
        expect: "The authority loses nine sixteenths of its bond and may make no blocks, no other \
                 authority loses anything, and blocks go on to be final.",
    }],
};

/// Longest wait in blocks for the report of two blocks of one slot to be final.
const REPORT_BLOCKS: u32 = 60;
/// Longest wait in blocks for a final block.
const FINAL_BLOCKS: u32 = 40;

async fn double(network: &SitesNetwork) -> Result<Tally> {
    let accounts = AUTHORITIES
        .iter()
        .map(|(name, _)| Ok(signer(name)?.account()))
        .collect::<Result<Vec<AccountId>>>()?;
    let doubled = usize::from(DOUBLED_SITE);
    let offender = *accounts.get(doubled).context("the doubled site has an authority")?;
    let holds = network.holds();
    let before = holds.at_final_block(&accounts).await?;
    let second = network.start_double()?;
    let punished = network
        .until("the authority with two nodes is punished", REPORT_BLOCKS, || async {
            let now = holds.at_final_block(&accounts).await?;
            Ok((now[doubled] < before[doubled]).then_some(()))
        })
        .await;
    let is_disabled = is_disabled(network, &offender).await?;
    let goes_on = forks::finalises(network, FINAL_BLOCKS).await?;
    drop(second);
    let after = holds.at_final_block(&accounts).await?;
    let lost: Vec<_> = before.iter().zip(&after).map(|(was, is)| was.saturating_sub(*is)).collect();
    // One of four: (3 / 4)², as the offence of one authority is weighed.
    let due = before[doubled] / 16 * 9;
    let others: u128 = lost.iter().sum::<u128>().saturating_sub(lost[doubled]);
    let passed = punished.is_ok() && is_disabled && goes_on && lost[doubled] == due && others == 0;
    let note = format!(
        "lost {} of {} POL, disabled: {is_disabled}, others lost {} POL, final: {goes_on}",
        lost[doubled] / POL,
        before[doubled] / POL,
        others / POL
    );
    Ok(Tally::tried(1, punished.is_ok().into()).passed(passed, note))
}

/// Returns `true` if the authority may make no blocks for now.
async fn is_disabled(network: &SitesNetwork, account: &AccountId) -> Result<bool> {
    let authorities: Vec<AccountId> = network.stored("Session", "Validators").await?;
    // Places of authorities, each with the share of its bond that its offence costs in billionths.
    let disabled: Vec<(u32, u32)> = network.stored("Session", "DisabledValidators").await?;
    let is_offender = |(place, _): &(u32, u32)| authorities.get(*place as usize) == Some(account);
    Ok(disabled.iter().any(is_offender))
}
