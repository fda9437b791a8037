// SPDX-License-Identifier: Apache-2.0

//! Amounts, accounts, hashes, and times in JSON.

pub(crate) use pol_api::Time;

use pol_chain::{AccountId, format_account};
use pol_primitives::{Balance, Hash, POL, hex_hash, member::Endpoint};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, net::SocketAddr};
use utoipa::ToSchema;

/// Number of millionths in one.
const MILLION: f64 = 1e6;
/// Number of billionths in one.
const BILLION: f64 = 1e9;

/// Amount of POL, exact, without trailing zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, example = "12.5")]
pub(crate) struct Pol(pub(crate) Balance);

impl fmt::Display for Pol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / POL, self.0 % POL);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:012}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Integer in decimal digits, which may be larger than numbers of JSON readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "1500000")]
pub(crate) struct Integer(pub(crate) u128);

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Account, as an SS58 address. Requests may give its 64 hexadecimal digits behind `0x` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")]
pub(crate) struct Account(pub(crate) AccountId);

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_account(&self.0))
    }
}

impl TryFrom<String> for Account {
    type Error = pol_chain::InvalidAccount;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        pol_chain::parse_account(&text).map(Self)
    }
}

/// Hash, in 64 hexadecimal digits behind `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(
    value_type = String,
    example = "0x2c41e1f8a7d0b6e35f9c8d7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c"
)]
pub(crate) struct Digest(pub(crate) Hash);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex_hash::parse(&text).map(Self).ok_or("a hash is 0x and 64 hexadecimal digits")
    }
}

/// Serializes types in the form in which they are displayed.
macro_rules! displayed {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

displayed!(Account, Digest, Integer, Pol);

/// Endpoint of a member in the swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SwarmEndpoint {
    /// Key of the endpoint.
    pub(crate) id: Digest,
    /// Addresses at which it listens.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.7:4433"]))]
    addresses: Vec<SocketAddr>,
}

impl From<Endpoint> for SwarmEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        let addresses = endpoint.addresses.into_iter().map(Into::into).collect();
        Self { id: Digest(endpoint.id), addresses }
    }
}

/// Returns a number that is given in millionths.
pub(crate) fn millionths(number: u32) -> f64 {
    f64::from(number) / MILLION
}

/// Returns a number that is given in billionths.
pub(crate) fn billionths(number: impl Into<i64>) -> f64 {
    number.into() as f64 / BILLION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let text = |amount| Pol(amount).to_string();
        assert_eq!(text(0), "0");
        assert_eq!(text(12 * POL + POL / 2), "12.5");
        assert_eq!(text(1), "0.000000000001");
        assert_eq!(text(10 * POL), "10");
        assert_eq!(text(Balance::MAX), "340282366920938463463374607.431768211455");
    }

    #[test]
    fn small_numbers_are_parts() {
        assert!((millionths(3_210_000) - 3.21).abs() < 1e-12);
        assert!((billionths(-5) + 5e-9).abs() < 1e-18);
    }

    #[test]
    fn accounts_and_hashes_are_read_in_their_forms() {
        let hex = format!("0x{}", "07".repeat(32));
        assert_eq!(Account::try_from(hex.clone()).map(|account| account.0), Ok([7; 32]));
        let address = Account([7; 32]).to_string();
        assert_eq!(Account::try_from(address), Ok(Account([7; 32])));
        assert!(Account::try_from("'; DROP TABLE rewards".to_owned()).is_err());
        assert_eq!(Digest::try_from(hex.clone()).map(|digest| digest.to_string()), Ok(hex));
        assert!(Digest::try_from("0x12".to_owned()).is_err());
    }
}
