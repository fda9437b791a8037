// SPDX-License-Identifier: Apache-2.0

//! Access of clients: tokens, hosts, and rates.

use crate::{
    error::ApiError,
    tokens::{Scope, TokenFile},
};
use axum::http::{HeaderMap, Uri, header};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

/// Time between two looks at the token of a stream.
const LOOK: Duration = Duration::from_secs(2);
/// Number of known clients from which those without recent requests are forgotten.
const MAX_CLIENTS: usize = 10_000;

/// Largest rate of the requests of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

/// Rules by which requests are let in.
pub struct Access {
    tokens: Option<TokenFile>,
    limiter: DefaultKeyedRateLimiter<String>,
    clock: governor::clock::DefaultClock,
}

impl Access {
    /// Creates the rules of a server with `tokens`; without, everybody who reaches the server may
    /// do everything, so that it must listen on a loopback address.
    pub fn new(tokens: Option<TokenFile>, rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let clock = governor::clock::DefaultClock::default();
        Self { tokens, limiter: RateLimiter::keyed(quota), clock }
    }

    /// Checks the name by which a request asks for this machine. A page of another site reaches it
    /// under that site's name, and browsers take it for its own.
    ///
    /// # Errors
    ///
    /// Fails if the server has no tokens, and the request names another host.
    pub(crate) fn check_name(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        if self.tokens.is_some() || is_local(headers, uri) { Ok(()) } else { Err(ApiError::Host) }
    }

    /// Checks a request from `peer` that requires `scope`, and returns the name of the client.
    ///
    /// # Errors
    ///
    /// Fails if the client is unknown, lacks the scope, or asks too often.
    pub(crate) fn check(
        &self,
        scope: Scope,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<String, ApiError> {
        let Some(tokens) = &self.tokens else {
            self.count(network(peer))?;
            return Ok("local".into());
        };
        let found = bearer(headers).map_or(Ok(None), |secret| tokens.find(secret));
        let Ok(Some(token)) = found else {
            // Guesses count for the machine that they come from.
            self.count(network(peer))?;
            return Err(found
                .err()
                .map_or(ApiError::Unauthorized, |error| ApiError::Internal(error.to_string())));
        };
        self.count(format!("token {}", token.name))?;
        if token.has(scope) { Ok(token.name) } else { Err(ApiError::Forbidden(scope.name())) }
    }

    /// Returns the secret by which a request was let in, if the server has tokens.
    pub(crate) fn secret(&self, headers: &HeaderMap) -> Option<String> {
        self.tokens.as_ref().and(bearer(headers)).map(str::to_owned)
    }

    /// Waits until a token is revoked, loses `scope`, or can no longer be looked up.
    pub(crate) async fn revoked(&self, scope: Scope, secret: &str) {
        while let Some(tokens) = &self.tokens {
            match tokens.find(secret) {
                Ok(Some(token)) if token.has(scope) => tokio::time::sleep(LOOK).await,
                _ => return,
            }
        }
    }

    fn count(&self, client: String) -> Result<(), ApiError> {
        if self.limiter.len() > MAX_CLIENTS {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&client).map_err(|until| {
            ApiError::Rate(until.wait_time_from(self.clock.now()).max(Duration::from_millis(1)))
        })
    }
}

/// Returns the secret of the header `Authorization`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Returns the name of the network that one client has: an address of IPv4, or 64 bits of IPv6.
pub(crate) fn network(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).to_string()
        }
    }
}

/// Returns `true` if the request names this machine as its host.
fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = uri.authority().map(|authority| authority.as_str()).or(named) else {
        return false;
    };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]
            .into_iter()
            .collect()
    }

    fn rate(burst: u32) -> Rate {
        Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() }
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn without_tokens_only_this_machine_is_a_host() {
        let access = Access::new(None, rate(100));
        let uri = Uri::from_static("/v1/models");
        let check = |host: &str| access.check_name(&headers("host", host), &uri);
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:1", "127.9.9.9"] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in ["example.org", "localhost.example.org:80", "10.0.0.1", "", "a b", "@"] {
            assert!(matches!(check(host), Err(ApiError::Host)), "{host}");
        }
        assert!(matches!(access.check_name(&HeaderMap::new(), &uri), Err(ApiError::Host)));
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenFile::new(&folder.path().join("tokens.json"));
        let open = Access::new(Some(tokens), rate(100));
        assert!(open.check_name(&headers("host", "example.org"), &uri).is_ok());
    }

    #[test]
    fn scopes_of_tokens_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = || TokenFile::new(&folder.path().join("tokens.json"));
        let secret = file().add("a", &[Scope::Read]).unwrap();
        let access = Access::new(Some(file()), rate(100));
        let check =
            |value: &str, scope| access.check(scope, &headers("authorization", value), PEER);
        assert_eq!(check(&format!("Bearer {secret}"), Scope::Read).unwrap(), "a");
        assert_eq!(check(&format!("bearer  {secret} "), Scope::Read).unwrap(), "a");
        let generate = check(&format!("Bearer {secret}"), Scope::Generate);
        assert!(matches!(generate, Err(ApiError::Forbidden("generate"))));
        for wrong in ["Bearer", "Bearer pol_1", &secret, &format!("Basic {secret}")] {
            assert!(matches!(check(wrong, Scope::Read), Err(ApiError::Unauthorized)), "{wrong}");
        }
        file().revoke("a").unwrap();
        let revoked = check(&format!("Bearer {secret}"), Scope::Read);
        assert!(matches!(revoked, Err(ApiError::Unauthorized)));
    }

    #[test]
    fn a_broken_file_of_tokens_is_asked_no_more_often_than_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        std::fs::write(&path, "{").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        let access = Access::new(Some(TokenFile::new(&path)), rate(1));
        let headers = headers("authorization", "Bearer pol_1");
        let check = || access.check(Scope::Read, &headers, PEER);
        assert!(matches!(check(), Err(ApiError::Internal(_))));
        assert!(matches!(check(), Err(ApiError::Rate(_))));
    }

    #[test]
    fn one_client_that_asks_too_often_waits_alone() {
        let access = Access::new(None, rate(2));
        let check = |peer| access.check(Scope::Read, &HeaderMap::new(), peer);
        assert!(check(PEER).is_ok() && check(PEER).is_ok());
        assert!(matches!(check(PEER), Err(ApiError::Rate(_))));
        assert!(check(IpAddr::V6(Ipv6Addr::LOCALHOST)).is_ok());
        let address = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
        assert_eq!(network(address(1)), network(address(2)));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
    }
}
