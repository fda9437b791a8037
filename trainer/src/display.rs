// SPDX-License-Identifier: Apache-2.0

//! Short texts for people: hashes, amounts and roles.

use crate::options::{DEV_FAMILIES, DEV_PEOPLE, dev_uri};
use pol_chain::{AccountId, Signer, format_account};
use pol_primitives::{Balance, Hash, POL, member::Role};
use std::{collections::BTreeMap, sync::LazyLock};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// Development accounts that are shown by name, of each of the two numbered kinds.
const NAMED_ACCOUNTS: u32 = 16;

/// Names of development accounts, whose keys everybody knows.
static DEVELOPMENT_NAMES: LazyLock<BTreeMap<AccountId, String>> = LazyLock::new(|| {
    let numbered = DEV_FAMILIES
        .into_iter()
        .flat_map(|kind| (1..=NAMED_ACCOUNTS).map(move |number| format!("{kind}-{number}")));
    let names = DEV_PEOPLE.map(str::to_owned).into_iter().chain(numbered);
    names
        .filter_map(|name| {
            let signer = Signer::from_uri(&dev_uri(&name).ok()?).ok()?;
            Some((signer.account(), name))
        })
        .collect()
});

/// Returns the first eight digits of a hash.
pub fn short_hash(hash: &Hash) -> String {
    format!("0x{}…", hex::encode(hash.first_chunk::<4>().copied().unwrap_or_default()))
}

/// Returns the name of a development account, or the start of another account's address.
pub fn account_name(account: &AccountId) -> String {
    DEVELOPMENT_NAMES.get(account).cloned().unwrap_or_else(|| {
        let address = format_account(account);
        format!("{}…", address.get(..8).unwrap_or(&address))
    })
}

/// Returns an amount in POL with up to six decimals; a smaller rest is cut off.
pub fn format_amount(balance: Balance) -> String {
    let (whole, rest) = (balance / POL, balance % POL);
    let text = format!("{whole}.{:06}", rest / (POL / 1_000_000));
    format!("{} POL", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns the present time in UTC (ISO 8601), in whole seconds.
pub(crate) fn utc_now() -> String {
    let mut text = String::new();
    // A text takes all that is written.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.trim_end_matches('Z'))
}

/// Returns the name of a role as used on the command line.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Trainer => "trainer",
        Role::Validator => "validator",
        Role::Authority => "authority",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_accounts_have_names() {
        let account = |uri| Signer::from_uri(uri).unwrap().account();
        assert_eq!(account_name(&account("//Alice")), "alice");
        assert_eq!(account_name(&account("//Trainer//2")), "trainer-2");
        assert_eq!(account_name(&[7; 32]).chars().count(), 9);
    }

    #[test]
    fn times_are_in_whole_seconds() {
        let now = utc_now();
        assert_eq!((now.len(), &now[10..11], &now[19..]), (20, "T", "Z"), "{now}");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(format_amount(0), "0 POL");
        assert_eq!(format_amount(1_000 * POL), "1000 POL");
        assert_eq!(format_amount(POL / 2 + 3 * POL), "3.5 POL");
        assert_eq!(format_amount(POL / 1_000_000 + 7), "0.000001 POL");
    }
}
