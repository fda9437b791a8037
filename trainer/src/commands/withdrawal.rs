// SPDX-License-Identifier: Apache-2.0

//! `data withdraw`: manifests and sources that their provider takes back.

use super::holdings::Holdings;
use crate::{
    display::{account_name, format_amount},
    options::{KeyOptions, NodeOptions},
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_chain::{AccountId, Call, Chain, Signer};
use pol_primitives::{
    Balance,
    data::{Manifest, ManifestId, ManifestStatus, SourceId},
};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};

const WITHDRAW_EXAMPLES: &str = "\
Examples:
  pol-trainer data withdraw 3 --key-file key.json
      take manifest 3 back, and get its deposit back
  pol-trainer data withdraw --source 1 --key-file key.json
      the same for a source without manifests
  pol-trainer data withdraw 3 4 --source 1 --yes --key-file key.json
      without being asked, such as in a script

A manifest can be withdrawn before it is admitted, and then as long as none of its shards was ever \
leased. Held-out text that was admitted stays. The text can be registered again, for another \
deposit.";

/// Options of `data withdraw`.
#[derive(Args)]
#[command(after_help = WITHDRAW_EXAMPLES)]
pub(crate) struct WithdrawOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Number of a manifest of the account.
    #[arg(value_name = "MANIFEST", required_unless_present = "source")]
    manifest: Vec<ManifestId>,
    /// Number of a source of the account that has no manifests, or no others.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<SourceId>,
    /// Withdraw without a question.
    #[arg(long)]
    yes: bool,
    /// Print a JSON object for each.
    #[arg(long, requires = "yes")]
    json: bool,
}

/// Something to withdraw.
struct Withdrawal {
    call: Call,
    /// Name and number, for people.
    name: String,
    /// Name of the field of the number in JSON, and the number.
    number: (&'static str, u32),
    /// Deposit that comes back.
    deposit: Balance,
    fee: Balance,
}

impl WithdrawOptions {
    /// Withdraws manifests, then sources.
    pub(super) async fn run(self) -> Result<()> {
        let (signer, chain) = (self.key.signer()?, self.node.connect().await?);
        let withdrawals = self.withdrawals(&chain, &signer).await?;
        for withdrawal in &withdrawals {
            let Withdrawal { name, deposit, fee, .. } = withdrawal;
            let (deposit, fee) = (format_amount(*deposit), format_amount(*fee));
            if !self.json {
                println!("{name}: a deposit of {deposit} comes back for a fee of about {fee}");
            }
        }
        if !self.yes {
            confirm()?;
        }
        for Withdrawal { call, name, number: (field, number), deposit, .. } in withdrawals {
            chain.submit(&signer, call).await.with_context(|| format!("{name} stays"))?;
            if self.json {
                println!("{}", json!({ field: number, "returned": deposit.to_string() }));
            } else {
                println!("{name} is withdrawn");
            }
        }
        if !self.json {
            self.tell_unused(&chain, &signer).await?;
        }
        Ok(())
    }

    /// Checks that all of it can be withdrawn, and returns it with its costs.
    async fn withdrawals(&self, chain: &Chain, signer: &Signer) -> Result<Vec<Withdrawal>> {
        let (account, mut withdrawals) = (signer.account(), Vec::new());
        for id in &self.manifest {
            let manifest = chain.manifest(*id).await?;
            let manifest = manifest.with_context(|| format!("the chain has no manifest {id}"))?;
            check_owner("manifest", *id, &manifest.owner, &account)?;
            if let Some(reason) = hindrance(&manifest) {
                bail!("manifest {id} cannot be withdrawn: {reason}");
            }
            let call = Call::WithdrawManifest(*id);
            withdrawals.push(Withdrawal {
                fee: chain.fee(&call).await?,
                call,
                name: format!(
                    "manifest {id} of {} shards{}",
                    manifest.info.shards,
                    if manifest.info.held_out { ", held out" } else { "" }
                ),
                number: ("manifest", *id),
                deposit: chain.manifest_deposit(*id).await?,
            });
        }
        for id in &self.source {
            let source = chain.source(*id).await?;
            let source = source.with_context(|| format!("the chain has no source {id}"))?;
            check_owner("source", *id, &source.owner, &account)?;
            let left = chain.manifests_of_source(*id).await?;
            let left: Vec<_> = left.iter().filter(|left| !self.manifest.contains(left)).collect();
            ensure!(
                left.is_empty(),
                "source {id} cannot be withdrawn: it has the manifests {left:?}; withdraw these \
                 too, or wait until the chain forgets those that ended"
            );
            let call = Call::WithdrawSource(*id);
            withdrawals.push(Withdrawal {
                fee: chain.fee(&call).await?,
                call,
                name: format!("source {id}, {}", String::from_utf8_lossy(&source.address)),
                number: ("source", *id),
                deposit: chain.source_deposit(*id).await?,
            });
        }
        Ok(withdrawals)
    }

    /// Tells the sources that only cost a deposit now.
    async fn tell_unused(&self, chain: &Chain, signer: &Signer) -> Result<()> {
        let holdings = Holdings::read(chain, &signer.account()).await?;
        for (id, _) in holdings.sources.iter().filter(|(id, _)| holdings.is_unused(**id)) {
            let deposit = format_amount(chain.source_deposit(*id).await?);
            println!(
                "source {id} has no manifests; `pol-trainer data withdraw --source {id}` brings \
                 {deposit} back"
            );
        }
        Ok(())
    }
}

fn check_owner(name: &str, id: u32, owner: &AccountId, account: &AccountId) -> Result<()> {
    let is_owned = owner == account;
    ensure!(is_owned, "{name} {id} is of {}; sign as its owner", account_name(owner));
    Ok(())
}

/// Returns the reason why the chain would not let its owner withdraw a manifest, as far as the
/// manifest tells it.
fn hindrance(manifest: &Manifest<AccountId>) -> Option<&'static str> {
    match manifest.status {
        ManifestStatus::Proposed => None,
        ManifestStatus::Admitted if manifest.info.held_out => {
            Some("it was admitted as text that is held out, on which models are measured")
        }
        ManifestStatus::Admitted if manifest.free < manifest.info.shards => {
            Some("shards of it were leased; its deposit comes back with the last consumed one")
        }
        ManifestStatus::Admitted => None,
        ManifestStatus::Paused => Some("it is paused; governance resumes or retires it"),
        ManifestStatus::Retired => Some("it was retired, which decided about its deposit"),
        ManifestStatus::Consumed => Some("it is consumed, and its deposit is back"),
    }
}

/// Asks the operator. Fails unless the answer is yes.
fn confirm() -> Result<()> {
    let mut input = std::io::stdin().lock();
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here; give --yes to withdraw this without a question"
    );
    eprint!("Withdraw? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    ensure!(is_yes, "nothing was withdrawn");
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pol_primitives::{
        data::{EffectWindow, ManifestInfo},
        lineage::{Activity, Derivation, ToolName},
    };

    /// Returns a manifest of five shards.
    pub(in crate::commands) fn manifest(
        status: ManifestStatus,
        held_out: bool,
        free: u32,
    ) -> Manifest<AccountId> {
        Manifest {
            owner: [1; 32],
            info: ManifestInfo {
                source: 0,
                merkle_root: [2; 32],
                content_hash: [3; 32],
                tokenizer: [4; 32],
                shards: 5,
                shard_tokens: 64,
                parents: Default::default(),
                quality: 0,
                held_out,
                derivation: Derivation {
                    activity: Activity::Collection,
                    tool: ToolName::default(),
                    version: ToolName::default(),
                    configuration: [5; 32],
                },
                documents: None,
            },
            status,
            kind: None,
            effect: EffectWindow::default(),
            free,
            leased: 0,
            consumed: 0,
            registered: 0,
            ended: None,
        }
    }

    #[test]
    fn only_untouched_manifests_are_withdrawn() {
        use ManifestStatus::{Admitted, Consumed, Paused, Proposed, Retired};
        for (status, held_out, free, reason) in [
            (Proposed, false, 5, None),
            (Proposed, true, 0, None),
            (Admitted, false, 5, None),
            (Admitted, false, 4, Some("were leased")),
            (Admitted, true, 0, Some("held out")),
            (Paused, false, 5, Some("resumes")),
            (Retired, false, 5, Some("retired")),
            (Consumed, false, 0, Some("consumed")),
        ] {
            let found = hindrance(&manifest(status, held_out, free));
            let is_expected = match (found, reason) {
                (Some(found), Some(reason)) => found.contains(reason),
                (found, reason) => found.is_none() && reason.is_none(),
            };
            assert!(is_expected, "{status:?}, held out {held_out}, {free} free: {found:?}");
        }
    }

    #[test]
    fn owners_are_named() {
        assert!(check_owner("manifest", 3, &[1; 32], &[1; 32]).is_ok());
        let error = check_owner("manifest", 3, &[1; 32], &[2; 32]).unwrap_err().to_string();
        assert!(error.starts_with("manifest 3 is of ") && error.contains("sign as its owner"));
    }
}
