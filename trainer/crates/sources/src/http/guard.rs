// SPDX-License-Identifier: Apache-2.0

//! Addresses that may be connected to.
//!
//! A crawler follows links that strangers write. Without a guard, a link or a redirect to
//! `http://169.254.169.254/` or to a name that resolves to `127.0.0.1` reads services that only
//! this machine or its network may read (server-side request forgery, OWASP 2021 A10). Names are
//! checked where they are resolved for the connection itself, so that a name server that answers
//! differently a second time gains nothing.

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use url::{Host, Url};

/// Ports that may be connected to.
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// Resolver of host names.
pub trait Lookup: Send + Sync {
    /// Returns the addresses of `host`.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// Refusal to connect to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Blocked(pub(super) String);

/// Decides which URLs and addresses may be connected to.
pub(super) struct Guard {
    allowed_hosts: BTreeSet<String>,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// Creates a guard. `allowed_hosts` are reached whatever their address and port.
    pub(super) fn new(allowed_hosts: BTreeSet<String>, lookup: Arc<dyn Lookup>) -> Self {
        Self { allowed_hosts, lookup }
    }

    /// Fails if `url` must not be requested, as far as that is known without its address.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), Blocked> {
        let blocked = |reason: &str| Err(Blocked(format!("{url} {reason}")));
        if !matches!(url.scheme(), "http" | "https") {
            return blocked("is no address of the web: use http or https");
        }
        let Some(host) = url.host() else { return blocked("names no host") };
        if self.is_allowed(&host.to_string()) {
            return Ok(());
        }
        if !url.port_or_known_default().is_some_and(|port| PORTS.contains(&port)) {
            let remedy = remedy(&host.to_string());
            return blocked(&format!("has a port on which no web sites are served; {remedy}"));
        }
        match host {
            Host::Ipv4(address) => self.check_address(url, address.into()),
            Host::Ipv6(address) => self.check_address(url, address.into()),
            Host::Domain(_) => Ok(()),
        }
    }

    /// Fails if `url` must not be read from `address`.
    pub(super) fn check_address(&self, url: &Url, address: IpAddr) -> Result<(), Blocked> {
        if is_public(address) || url.host_str().is_some_and(|host| self.is_allowed(host)) {
            return Ok(());
        }
        let remedy = remedy(url.host_str().unwrap_or_default());
        Err(Blocked(format!(
            "{url} is at {address}, which is not on the public internet; {remedy}"
        )))
    }

    fn is_allowed(&self, host: &str) -> bool {
        self.allowed_hosts.contains(host)
    }
}

/// Returns the way to reach a host of the operator's own.
fn remedy(host: &str) -> String {
    format!("if it is your own, add {host:?} to http.allowed_hosts")
}

/// Resolver of the client, whose answers hold public addresses only.
pub(super) struct GuardedResolver(pub(super) Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let mut addresses = guard.lookup.lookup(host.clone()).await?;
            if !guard.is_allowed(&host) {
                addresses.retain(|address| is_public(*address));
            }
            if addresses.is_empty() {
                let remedy = remedy(&host);
                let reason = format!("{host} has no address on the public internet; {remedy}");
                return Err(Blocked(reason).into());
            }
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

/// Returns `true` if `address` is on the public internet, by the special-purpose address
/// registries of the IANA (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]              // this network, private, loopback
            | [100, 64..=127, ..]       // shared by customers of a carrier (RFC 6598)
            | [169, 254, ..]            // link-local
            | [172, 16..=31, ..]        // private
            | [192, 0, 0 | 2, _]        // protocol assignments, documentation
            | [192, 88, 99, _]          // relays of 6to4
            | [192, 168, ..]            // private
            | [198, 18 | 19, ..]        // benchmarks
            | [198, 51, 100, _]         // documentation
            | [203, 0, 113, _]          // documentation
            | [224..=255, ..] // multicast, reserved, broadcast
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // Addresses of IPv4 in other clothes: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments (Teredo, ORCHID, …) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|&host| host.to_owned()).collect(), Arc::new(SystemLookup))
    }

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.1.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn other_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:200::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2400::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_are_refused_for_scheme_port_and_literal_address() {
        let guard = guard(&[]);
        for url in [
            "ftp://example.org/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "http://example.org:22/",
            "http://example.org:6379/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
        ] {
            assert!(guard.check_url(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        for url in ["http://example.org/", "https://example.org:8443/", "http://1.1.1.1/"] {
            assert_eq!(guard.check_url(&Url::parse(url).unwrap()), Ok(()), "{url}");
        }
    }

    #[test]
    fn named_hosts_are_allowed_at_any_address_and_port() {
        let url = Url::parse("http://127.0.0.1:4711/").unwrap();
        assert_eq!(guard(&["127.0.0.1"]).check_url(&url), Ok(()));
        assert!(guard(&["localhost"]).check_url(&url).is_err());
    }

    /// Name server that answers with these addresses.
    struct Fixed(Vec<IpAddr>);

    impl Lookup for Fixed {
        fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    async fn resolve(allowed: &[&str], addresses: &[&str]) -> Result<Vec<IpAddr>, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let allowed = allowed.iter().map(|&host| host.to_owned()).collect();
        let resolver = GuardedResolver(Arc::new(Guard::new(allowed, Arc::new(Fixed(addresses)))));
        let answer = resolver.resolve("site.test".parse().unwrap()).await;
        let answer = answer.map_err(|error| error.downcast::<Blocked>().unwrap().0)?;
        Ok(answer.map(|address| address.ip()).collect())
    }

    #[tokio::test]
    async fn only_public_addresses_of_a_name_are_connected_to() {
        let public: IpAddr = "1.1.1.1".parse().unwrap();
        assert_eq!(resolve(&[], &["127.0.0.1", "1.1.1.1", "fe80::1"]).await, Ok(vec![public]));
        for addresses in [&["127.0.0.1", "::1"][..], &[]] {
            let error = resolve(&[], addresses).await.unwrap_err();
            let hint = "if it is your own, add \"site.test\" to http.allowed_hosts";
            assert_eq!(error, format!("site.test has no address on the public internet; {hint}"));
        }
        assert_eq!(resolve(&["site.test"], &["127.0.0.1"]).await.unwrap().len(), 1);
    }
}
