// SPDX-License-Identifier: Apache-2.0

//! Addresses in configurations.

use serde::Deserialize;
use url::Url;

/// Address on the web.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(Url);

impl Address {
    /// Returns the address.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|error| format!("{text:?} is no address: {error}"))?;
        if matches!(url.scheme(), "http" | "https") {
            Ok(Self(url))
        } else {
            Err(format!("{text:?} is no address of the web; it begins with https:// or http://"))
        }
    }
}

/// Returns the addresses as such.
pub(super) fn urls(addresses: &[Address]) -> Vec<Url> {
    addresses.iter().map(|address| address.0.clone()).collect()
}
