// SPDX-License-Identifier: Apache-2.0

//! Options of the HTTP interface, which members and `serve` share.

use super::{chain::IndexedChain, server::ApiServer};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_api::{Access, Limits, Rate, TokenFile};
use pol_chain::Chain;
use pol_chain_api::NodeSource;
use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::TcpListener;
use url::Url;

/// Requests of one client at once, in those of a second.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// Requests of one client in a second to a member.
const MEMBER_RATE: u32 = 50;
/// Wait of a member that ends for answers under way.
const MEMBER_DRAIN: Duration = Duration::from_secs(2);

/// Address of a member's HTTP interface.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ApiOptions {
    /// Serve the dashboard, the chain, and this process over HTTP at this address; without a value
    /// at 127.0.0.1:8000. One that is not loopback needs --tokens. Port 0 takes a free port.
    /// [default: none]
    #[arg(
        long,
        value_name = "IP:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:8000",
        env = "POL_API"
    )]
    pub(crate) api: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) parts: ApiPartOptions,
}

/// Access to the HTTP interface, and its parts.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ApiPartOptions {
    /// File of tokens, which all requests over HTTP need then.
    #[arg(long, value_name = "FILE", env = "POL_TOKENS")]
    pub(crate) tokens: Option<PathBuf>,
    /// Origin whose pages may use the HTTP interface, such as https://example.org. Can be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) allow_origin: Vec<String>,
    /// Folder whose imported models are listed, and learn from texts that requests send.
    #[arg(long, value_name = "DIR")]
    pub(crate) library: Option<PathBuf>,
    /// Index of the chain's past that the HTTP interface reads: a file for SQLite, or the URL of a
    /// PostgreSQL database. [default: index.db in the folder of the chain or of the state]
    #[arg(long, value_name = "FILE|URL", env = "POL_INDEX", hide_env_values = true)]
    pub(crate) index: Option<String>,
    /// Connections that one client over HTTP may have, by its address. A proxy is one client.
    /// [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) client_connections: Option<u16>,
    /// Only read the index, which `pol-trainer index` or another process fills.
    #[arg(long)]
    pub(crate) no_follow: bool,
}

impl ApiOptions {
    /// Listens at the address, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the address is taken, or needs tokens that are not there.
    pub(crate) async fn bind(&self) -> Result<Option<ApiServer>> {
        let Some(address) = self.api else { return Ok(None) };
        self.parts.bind(address, MEMBER_RATE, MEMBER_DRAIN).await.map(Some)
    }
}

impl ApiPartOptions {
    /// Listens at `address`. A client has `rate` requests a second, and at the end answers under
    /// way have the time `drain`.
    ///
    /// # Errors
    ///
    /// Fails if the address is taken, or needs tokens that are not there.
    pub(crate) async fn bind(
        &self,
        address: SocketAddr,
        rate: u32,
        drain: Duration,
    ) -> Result<ApiServer> {
        self.check_tokens(address)?;
        self.allow_origin.iter().try_for_each(|origin| check_origin(origin))?;
        if let Some(library) = &self.library {
            let is_folder = library.is_dir();
            ensure!(is_folder, "{} is no folder of models; make it first", library.display());
        }
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot serve the HTTP interface at {address}; choose another port, or end the \
                 program that has it"
            )
        })?;
        let limits = Limits { drain, ..Limits::default() };
        let most = self.client_connections.map_or(limits.client_connections, usize::from);
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let rate = Rate { per_second: rate, burst: rate.saturating_mul(BURST) };
        Ok(ApiServer {
            listener,
            access: Access::new(self.tokens.as_deref().map(TokenFile::new), rate),
            origins: self.allow_origin.clone(),
            limits: Limits { client_connections: most, ..limits },
            library: self.library.clone(),
        })
    }

    fn check_tokens(&self, address: SocketAddr) -> Result<()> {
        ensure!(
            self.tokens.is_some() || address.ip().is_loopback(),
            "{} can be reached by other machines, so requests need tokens; make one with \
             `pol-trainer tokens add NAME --scope generate --file tokens.json` and pass --tokens \
             tokens.json",
            address.ip()
        );
        let Some(tokens) = &self.tokens else { return Ok(()) };
        // A file that cannot be read is reported now, and not to the first client.
        if TokenFile::new(tokens).list()?.is_empty() {
            tracing::warn!("{} has no tokens yet; all requests are refused", tokens.display());
        }
        Ok(())
    }

    /// Opens the index, and follows `chain` into it. Without an index that the options name it is
    /// in `folder`. Returns `None` if that one cannot be opened: the process has other work than to
    /// show the chain.
    ///
    /// # Errors
    ///
    /// Fails if the index that the options name cannot be opened.
    pub(crate) async fn chain(&self, chain: Chain, folder: &Path) -> Result<Option<IndexedChain>> {
        let (node, follow) = (NodeSource::Client(chain), !self.no_follow);
        if let Some(address) = &self.index {
            return IndexedChain::open(node, address, follow).await.map(Some);
        }
        let opened = IndexedChain::open_in(node, folder, follow).await;
        Ok(opened.inspect_err(|error| tracing::warn!("no chain over HTTP: {error:#}")).ok())
    }
}

/// Checks an origin. Browsers name theirs in one form, and another one would match no page.
fn check_origin(text: &str) -> Result<()> {
    let origin = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let origin = origin.map(|url| url.origin().ascii_serialization());
    ensure!(
        origin.as_deref() == Some(text),
        "{text:?} is no origin of pages; give scheme, host, and port alone, such as \
         https://example.org"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(options: &ApiPartOptions, address: &str) -> Result<ApiServer> {
        let address = address.parse().unwrap();
        options.bind(address, 1, Duration::ZERO).await
    }

    #[tokio::test]
    async fn addresses_of_other_machines_need_tokens() {
        let refused = bind(&ApiPartOptions::default(), "0.0.0.0:0").await.err().unwrap();
        assert!(refused.to_string().contains("requests need tokens"), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens.json");
        TokenFile::new(&tokens).add("a", &[pol_api::Scope::Read]).unwrap();
        let with = ApiPartOptions { tokens: Some(tokens), ..ApiPartOptions::default() };
        assert!(bind(&with, "0.0.0.0:0").await.is_ok());
    }

    #[tokio::test]
    async fn a_client_has_as_many_connections_as_the_options_say() {
        for (client_connections, expected) in [(None, 128), (Some(512), 512)] {
            let options = ApiPartOptions { client_connections, ..ApiPartOptions::default() };
            let server = bind(&options, "127.0.0.1:0").await.unwrap();
            assert_eq!(server.limits.client_connections, expected);
        }
    }

    #[test]
    fn origins_have_one_form() {
        for origin in ["https://example.org", "http://127.0.0.1:8080"] {
            assert!(check_origin(origin).is_ok(), "{origin}");
        }
        for text in
            ["example.org", "*", "null", "", "https://example.org/", "https://a.org/b", "file://a"]
        {
            assert!(check_origin(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_library_has_to_be_there() {
        let library = Some("/no/such/library".into());
        let options = ApiPartOptions { library, ..ApiPartOptions::default() };
        let error = bind(&options, "127.0.0.1:0").await.err().unwrap();
        assert!(error.to_string().contains("/no/such/library"), "{error}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = bind(&ApiPartOptions::default(), "127.0.0.1:0").await.unwrap();
        let address = first.listener.local_addr().unwrap().to_string();
        let error = bind(&ApiPartOptions::default(), &address).await.err().unwrap();
        assert!(error.to_string().contains(&address), "{error}");
        assert!(error.to_string().contains("another port"), "{error}");
    }
}
