// SPDX-License-Identifier: Apache-2.0

//! Redirects of a hub that are followed.
//!
//! A hub keeps its files at other hosts. A redirect to an address such as `169.254.169.254` would
//! make text of services that only this machine or its network may read. The host of the hub
//! itself is the choice of the operator, whatever its address is. A hub whose own address is not
//! public may use names within its network. Names are not checked once more when a connection is
//! made, unlike those of the crawler, since a proxy may be what resolves them.

use crate::http::is_public;
use reqwest::redirect::Policy;
use url::{Host, Url};

/// Returns the policy for redirects of the hub at `endpoint`.
pub(super) fn policy(endpoint: &str) -> Policy {
    let endpoint = Url::parse(endpoint).ok();
    Policy::custom(move |attempt| {
        if may_lead_to(endpoint.as_ref(), attempt.url()) {
            return Policy::default().redirect(attempt);
        }
        let host = attempt.url().host_str().unwrap_or_default();
        let reason = format!("it leads to {host}, which is not on the public internet");
        attempt.error(reason)
    })
}

/// Returns `true` if a redirect of the hub at `endpoint` may lead to `target`.
fn may_lead_to(endpoint: Option<&Url>, target: &Url) -> bool {
    if endpoint.is_some_and(|endpoint| endpoint.host() == target.host()) {
        return true;
    }
    match target.host() {
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        Some(Host::Domain(_)) => {
            has_public_addresses(target)
                || endpoint.is_some_and(|endpoint| !has_public_addresses(endpoint))
        }
        None => false,
    }
}

/// Returns `true` unless the host of `url` has an address that is not public. A name that is
/// resolved elsewhere, or not at all, has none.
fn has_public_addresses(url: &Url) -> bool {
    let Ok(addresses) = url.socket_addrs(|| None) else { return true };
    addresses.iter().all(|address| is_public(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_lead(endpoint: &str, target: &str) -> bool {
        may_lead_to(Url::parse(endpoint).ok().as_ref(), &Url::parse(target).unwrap())
    }

    #[test]
    fn redirects_lead_to_public_addresses() {
        let hub = "https://1.1.1.1";
        for target in ["https://8.8.8.8/file", "http://[2606:4700::1111]:9000/", "https://1.1.1.1/"]
        {
            assert!(may_lead(hub, target), "{target}");
        }
        for target in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://10.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://localhost/",
            "data:,x",
        ] {
            assert!(!may_lead(hub, target), "{target}");
        }
    }

    #[test]
    fn a_hub_of_the_operator_may_lead_to_itself_and_to_names_beside_it() {
        let hub = "http://127.0.0.1:9955";
        for target in ["http://127.0.0.1:9956/file", "http://localhost:9956/"] {
            assert!(may_lead(hub, target), "{target}");
        }
        assert!(!may_lead(hub, "http://169.254.169.254/"));
        assert!(!may_lead("no address", "http://localhost/"));
    }
}
