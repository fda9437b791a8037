// SPDX-License-Identifier: Apache-2.0

//! Keys that act for an account, as its proxies on the chain.

use crate::options::{KeyOptions, NodeOptions, parse_looked_at};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use pol_chain::{AccountId, Call, Permission, format_account, parse_account};
use pol_primitives::{Balance, POL, member::Role};

const AUTHORISE_HELP: &str = "\
The key of the account then stays away from the machine that trains. The other key makes the calls
of rounds, audits and rewards, and pays their fees. It can neither transfer funds nor change the
bond. Each update locks a part of the bond until its audit, so a larger bond trains more often.

Examples:
  pol-trainer keys generate hot
      on the machine that trains; prints ADDRESS
  pol-trainer keys authorise ADDRESS --account main --bond trainer --fund 10
      on a machine with the key of the account: bonds it, adds the proxy, sends 10 POL for fees
  pol-trainer --account hot --proxy-for ACCOUNT
      on the machine that trains
  pol-trainer keys authorise ADDRESS --account main --raise-bond 4000
      on a machine with the key of the account, later: adds 4,000 POL to the bond";

/// Options of `keys authorise`.
#[derive(Args)]
#[command(after_help = AUTHORISE_HELP)]
pub(crate) struct AuthoriseOptions {
    /// Address of the key that may act for the account.
    #[arg(value_name = "ADDRESS", value_parser = parse_account)]
    delegate: AccountId,
    /// Allow all calls, also those that transfer funds.
    #[arg(long)]
    any: bool,
    /// Bond the account for this role too, if it is not bonded.
    #[arg(long, value_enum, value_name = "ROLE")]
    bond: Option<BondRole>,
    /// Add this many POL to the bond.
    #[arg(long, value_name = "POL", value_parser = clap::value_parser!(u32).range(1..))]
    raise_bond: Option<u32>,
    /// Send this many POL to the key too, for its fees.
    #[arg(long, value_name = "POL", value_parser = clap::value_parser!(u32).range(1..))]
    fund: Option<u32>,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
}

/// Role to bond for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BondRole {
    Trainer,
    Validator,
}

/// Options of `keys revoke`.
#[derive(Args)]
pub(crate) struct RevokeOptions {
    /// Address of the key that is a proxy of the account.
    #[arg(value_name = "ADDRESS", value_parser = parse_account)]
    delegate: AccountId,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
}

/// Options of `keys proxies`.
#[derive(Args)]
pub(crate) struct ProxiesOptions {
    /// Address of the account, or the name of a development account.
    #[arg(value_name = "ADDRESS|NAME", value_parser = parse_looked_at)]
    account: AccountId,
    #[command(flatten)]
    node: NodeOptions,
}

impl AuthoriseOptions {
    /// Adds the proxy, with a bond and funds if they are asked for, in one transaction.
    pub(super) async fn run(self) -> Result<()> {
        let signer = self.key.signer()?;
        let chain = self.node.connect().await?;
        let (account, delegate) = (signer.account(), self.delegate);
        let permission = if self.any { Permission::Any } else { Permission::Learning };
        let proxies = chain.proxies(&account).await?;
        let is_known = proxies.iter().any(|known| {
            known.delegate == delegate && known.permission == permission && known.delay == 0
        });
        let mut calls = Vec::new();
        let is_member = self.bond.is_some() && chain.member(&account).await?.is_some();
        calls.extend(bond_call(self.bond.filter(|_| !is_member), self.raise_bond));
        if !is_known {
            calls.push(Call::AddProxy { delegate, permission });
        }
        if let Some(fund) = self.fund {
            calls.push(Call::Transfer { to: delegate, amount: Balance::from(fund) * POL });
        }
        if !calls.is_empty() {
            chain.submit(&signer, Call::Batch(calls)).await?;
        }
        println!("{} may act for {}", format_account(&delegate), signer.ss58());
        Ok(())
    }
}

/// Returns the call that bonds for `role` with `raise` POL more than the smallest bond, or that
/// raises the bond of a member.
fn bond_call(role: Option<BondRole>, raise: Option<u32>) -> Option<Call> {
    let raise = raise.map(|raise| Balance::from(raise) * POL);
    let Some(role) = role else {
        return raise.map(|amount| Call::BondExtra { amount });
    };
    let role = match role {
        BondRole::Trainer => Role::Trainer,
        BondRole::Validator => Role::Validator,
    };
    let amount = role.minimum_bond().saturating_add(raise.unwrap_or_default());
    Some(Call::Bond { role, amount })
}

impl RevokeOptions {
    /// Removes the proxy with all its permissions.
    pub(super) async fn run(self) -> Result<()> {
        let signer = self.key.signer()?;
        let chain = self.node.connect().await?;
        let (account, delegate) = (signer.account(), self.delegate);
        let proxies = chain.proxies(&account).await?;
        let own = proxies.iter().filter(|proxy| proxy.delegate == delegate && proxy.delay == 0);
        let remove = |permission| Call::RemoveProxy { delegate, permission };
        let calls: Vec<_> = own.map(|proxy| remove(proxy.permission)).collect();
        if calls.is_empty() {
            bail!("{} is no proxy of {}", format_account(&delegate), signer.ss58());
        }
        chain.submit(&signer, Call::Batch(calls)).await?;
        println!("{} may no longer act for {}", format_account(&delegate), signer.ss58());
        Ok(())
    }
}

impl ProxiesOptions {
    /// Prints the proxies of the account.
    pub(super) async fn run(self) -> Result<()> {
        let proxies = self.node.connect().await?.proxies(&self.account).await?;
        if proxies.is_empty() {
            println!("{} has no proxies", format_account(&self.account));
        }
        for proxy in proxies {
            let permission = match proxy.permission {
                Permission::Any => "all calls",
                Permission::Learning => "rounds, audits and rewards",
            };
            let delay = match proxy.delay {
                0 => String::new(),
                blocks => format!(", {blocks} blocks after an announcement"),
            };
            println!("{}  {permission}{delay}", format_account(&proxy.delegate));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bond_is_made_or_raised() {
        let minimum = Role::Trainer.minimum_bond();
        let trainer = |amount| Some(Call::Bond { role: Role::Trainer, amount });
        assert_eq!(bond_call(Some(BondRole::Trainer), None), trainer(minimum));
        assert_eq!(bond_call(Some(BondRole::Trainer), Some(4)), trainer(minimum + 4 * POL));
        assert_eq!(bond_call(None, Some(4)), Some(Call::BondExtra { amount: 4 * POL }));
        assert_eq!(bond_call(None, None), None);
    }
}
