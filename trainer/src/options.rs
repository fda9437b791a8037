// SPDX-License-Identifier: Apache-2.0

//! Groups of command-line options that several commands share.

use crate::{
    error::ErrorFormat,
    keyring::{find, unlock},
    password::PasswordOptions,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use pol_chain::{AccountId, Chain, ChainError, InvalidAccount, Signer, parse_account};
use pol_config::nearest;
use pol_keystore::KeyFile;
use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Environment variable with the secret URI of an account, used if neither a key file nor a
/// development account is named.
pub(crate) const KEY_VARIABLE: &str = "POL_KEY";
/// Level of the log if none is given.
const DEFAULT_LOG: &str = "info";
/// Address of the node if none is given.
const DEFAULT_NODE: &str = "ws://127.0.0.1:9944";
/// Development accounts of one word.
pub(crate) const DEV_PEOPLE: [&str; 6] = ["alice", "bob", "charlie", "dave", "eve", "ferdie"];
/// Families of numbered development accounts.
pub(crate) const DEV_FAMILIES: [&str; 2] = ["trainer", "validator"];
/// Longest wait for a node of a person who looks.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Connection to a node.
#[derive(Args, Clone)]
pub struct NodeOptions {
    /// WebSocket addresses of nodes, separated by commas. The first that answers is used, and the
    /// next one when it no longer does. [default: ws://127.0.0.1:9944]
    #[arg(
        long = "node",
        value_name = "URL,…",
        value_delimiter = ',',
        global = true,
        env = "POL_NODE"
    )]
    pub(crate) urls: Vec<String>,
}

impl NodeOptions {
    /// Connects to the first of the nodes that answers. One that starts now is waited for.
    pub(crate) async fn connect(&self) -> Result<Chain, ChainError> {
        Chain::connect_any(&self.all()).await
    }

    /// Connects to the first of the nodes that answers, for a person who looks.
    pub(crate) async fn connect_soon(&self) -> Result<Chain, ChainError> {
        Chain::connect_within(&self.all(), LOOK_TIMEOUT).await
    }

    /// Returns the addresses that are tried.
    pub(crate) fn all(&self) -> Vec<String> {
        if self.is_given() { self.urls.clone() } else { vec![DEFAULT_NODE.to_owned()] }
    }

    /// Returns the addresses that are tried, for people, without secrets in them.
    pub(crate) fn addresses(&self) -> String {
        pol_chain::redacted_addresses(&self.all())
    }

    /// Returns `true` if all addresses may be those of nodes.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.urls.iter().all(|url| url.starts_with("ws://") || url.starts_with("wss://"))
    }

    /// Returns `true` if the command line or the environment names a node.
    pub(crate) fn is_given(&self) -> bool {
        !self.urls.is_empty()
    }
}

/// Account that signs. Secrets come from a file, a terminal or the environment, never from an
/// argument.
#[derive(Args, Clone, Default)]
pub struct KeyOptions {
    /// Key of the account: a name in the folder of keys, or a file. See `pol-trainer keys`.
    #[arg(
        long = "account",
        visible_alias = "key-file",
        value_name = "NAME|FILE",
        env = "POL_KEY_FILE"
    )]
    pub(crate) key_file: Option<PathBuf>,
    /// Development account, whose key is public: alice, bob, …, trainer-1, validator-1, ….
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    pub(crate) dev_account: Option<String>,
    /// Account that the key acts for, as a proxy that `pol-trainer keys authorise` made.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_account)]
    pub(crate) proxy_for: Option<AccountId>,
    #[command(flatten)]
    pub(crate) password: PasswordOptions,
}

impl KeyOptions {
    /// Returns the signer of the account that these options name.
    pub(crate) fn signer(&self) -> Result<Signer> {
        let signer = self.key_signer()?;
        Ok(match self.proxy_for {
            Some(principal) => signer.acting_for(principal),
            None => signer,
        })
    }

    /// Returns the account of the key that these options name. It needs no password.
    pub(crate) fn key_account(&self) -> Result<AccountId> {
        match (&self.dev_account, &self.key_file) {
            (None, Some(name)) => Ok(KeyFile::read(&find(name)?)?.account()),
            _ => Ok(self.key_signer()?.account()),
        }
    }

    fn key_signer(&self) -> Result<Signer> {
        if let Some(name) = &self.dev_account {
            return Signer::from_uri(&dev_uri(name)?).context("development account");
        }
        if let Some(name) = &self.key_file {
            return Ok(Signer::new(unlock(&find(name)?, &self.password)?));
        }
        if std::env::var_os(KEY_VARIABLE).is_some() {
            return Ok(Signer::from_env(KEY_VARIABLE)?);
        }
        bail!(
            "no key is given; make one with `pol-trainer keys generate NAME` and pass --account \
             NAME, set {KEY_VARIABLE} to a secret phrase, or on a development chain use \
             --dev-account trainer-1"
        )
    }
}

/// Account that is looked at. Neither its key nor a password is needed.
#[derive(Args, Clone, Default)]
pub(crate) struct LookOptions {
    /// Account to look at: a name in the folder of keys, a file, or an address. No password is
    /// asked for.
    #[arg(
        long,
        visible_alias = "key-file",
        value_name = "NAME|FILE|ADDRESS",
        env = "POL_KEY_FILE"
    )]
    account: Option<String>,
    /// Development account to look at: alice, bob, …, trainer-1, validator-1, ….
    #[arg(long, value_name = "NAME", conflicts_with = "account")]
    dev_account: Option<String>,
}

impl LookOptions {
    /// Returns the account, or `None` if none is named.
    ///
    /// # Errors
    ///
    /// Fails if there is no such development account, or no such key, file or address.
    pub(crate) fn account(&self) -> Result<Option<AccountId>> {
        if let Some(name) = &self.dev_account {
            return dev_account(name).map(Some);
        }
        let Some(name) = &self.account else { return Ok(None) };
        if let Ok(account) = parse_account(name) {
            return Ok(Some(account));
        }
        let file = find(Path::new(name)).with_context(|| match dev_uri(name) {
            Ok(_) => format!("for the development account pass --dev-account {name}"),
            Err(_) => format!("\"{name}\" is no address either"),
        })?;
        Ok(Some(KeyFile::read(&file)?.account()))
    }
}

/// Parses an account that is looked at: an address, or the name of a development account.
///
/// # Errors
///
/// Fails if `text` is neither.
pub(crate) fn parse_looked_at(text: &str) -> Result<AccountId, InvalidAccount> {
    parse_account(text).or_else(|invalid| dev_account(text).map_err(|_| invalid))
}

/// Returns a development account.
fn dev_account(name: &str) -> Result<AccountId> {
    Ok(Signer::from_uri(&dev_uri(name)?).context("development account")?.account())
}

/// Returns the secret URI of a development account: `//Trainer//3` for `trainer-3`.
///
/// # Errors
///
/// Fails with the names that there are if `name` is none of a development account.
pub fn dev_uri(name: &str) -> Result<String> {
    let lower = name.to_ascii_lowercase();
    if DEV_PEOPLE.contains(&lower.as_str()) {
        return Ok(format!("//{}", capitalized(&lower)));
    }
    let numbered = lower
        .split_once('-')
        .filter(|(family, number)| DEV_FAMILIES.contains(family) && is_ordinal(number));
    if let Some((family, number)) = numbered {
        return Ok(format!("//{}//{number}", capitalized(family)));
    }
    let firsts = DEV_FAMILIES.map(|family| format!("{family}-1"));
    let known: Vec<&str> =
        DEV_PEOPLE.into_iter().chain(firsts.iter().map(String::as_str)).collect();
    let hint = nearest(&lower, &known).map(|name| format!("did you mean {name}? "));
    bail!(
        "'{name}' is not a development account: {}there are {}, and further numbers of these two",
        hint.unwrap_or_default(),
        known.join(", ")
    )
}

/// Returns a word with an upper-case first letter.
fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Returns `true` for the decimal digits of 1, 2, and so on.
fn is_ordinal(text: &str) -> bool {
    text.parse().is_ok_and(|number: u32| number > 0 && number.to_string() == text)
}

/// Addresses of this machine in the swarm.
#[derive(Args, Clone)]
pub struct SwarmOptions {
    /// UDP address on which blobs are served to peers. Port 0 takes a free port.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Address at which peers reach this machine, if it differs from --listen. Can be repeated, up
    /// to four addresses.
    #[arg(long, value_name = "IP:PORT")]
    pub advertise: Vec<SocketAddr>,
}

impl SwarmOptions {
    /// Returns the options of a process that fetches blobs and advertises no address.
    pub(crate) fn fetch_only() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 0)), advertise: Vec::new() }
    }
}

/// Options of the log, which goes to standard error.
#[derive(Args, Clone)]
pub struct LogOptions {
    /// Level or filter of the log, such as `info` or `pol_trainer=debug`.
    #[arg(long, value_name = "FILTER", default_value = DEFAULT_LOG, env = "POL_LOG", global = true)]
    pub log: String,
    /// Log one JSON object per line. Commands with --json do so anyhow.
    #[arg(long, global = true)]
    pub log_json: bool,
}

impl LogOptions {
    /// Turns the log off, that of libraries too.
    pub(crate) fn silence(&mut self) {
        self.log = "off".to_owned();
    }

    /// Returns the filter of the log.
    ///
    /// # Errors
    ///
    /// Fails if it is neither a level nor a list of directives.
    pub(crate) fn filter(&self) -> Result<EnvFilter, ParseError> {
        // An empty variable is none.
        let log = if self.log.trim().is_empty() { DEFAULT_LOG } else { self.log.trim() };
        // A plain level but `off` applies to this workspace's crates. Libraries log warnings and
        // errors only, and iroh nothing: the swarm's own errors tell what becomes of a connection.
        if log == "off" || log.contains(['=', ',']) {
            return EnvFilter::try_new(log);
        }
        let ours = ["trainer", "api", "chain", "swarm", "engine", "data"]
            .map(|part| format!("pol_{part}={log}"));
        EnvFilter::try_new(format!("warn,iroh=off,{}", ours.join(",")))
    }

    /// Starts the log of this process: lines of JSON where its errors are JSON too. `traces` gets
    /// the spans of the process as well.
    pub(crate) fn start<L>(&self, name: &str, errors: ErrorFormat, traces: Option<L>)
    where
        L: Layer<Registry> + Send + Sync,
    {
        let filter = self.filter().unwrap_or_else(|error| {
            errors.print(name, &format!("--log {}: {error}; logging at info", self.log));
            EnvFilter::new(DEFAULT_LOG)
        });
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let is_json = self.log_json || errors == ErrorFormat::Json;
        let lines = if is_json { lines.json().boxed() } else { lines.boxed() };
        tracing_subscriber::registry().with(traces).with(lines.with_filter(filter)).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_directives() {
        let filter = |log: &str| LogOptions { log: log.into(), log_json: false }.filter();
        let level = |log: &str| filter(log).unwrap().to_string();
        for empty in ["", " "] {
            assert_eq!(level(empty), level("info"));
        }
        assert!(level("debug").contains("pol_trainer=debug"));
        assert_eq!(level("pol_api=trace"), "pol_api=trace");
        assert_eq!(level("off"), "off");
        for wrong in ["loud", "pol_api=loud"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn development_accounts_have_uris() {
        for (name, uri) in [
            ("alice", "//Alice"),
            ("Ferdie", "//Ferdie"),
            ("trainer-12", "//Trainer//12"),
            ("validator-1", "//Validator//1"),
        ] {
            assert_eq!(dev_uri(name).unwrap(), uri);
        }
        for name in ["", "-", "trainer-", "trainer-0", "trainer-01", "trainer-+1", "alice-1"] {
            assert!(dev_uri(name).is_err(), "{name}");
        }
        assert!(dev_uri("a//b").is_err() && dev_uri("trainer-1-1").is_err());
    }

    #[test]
    fn an_unknown_development_account_is_told_those_that_there_are() {
        let refused = |name: &str| dev_uri(name).unwrap_err().to_string();
        let nobody = refused("nobody");
        let known = "there are alice, bob, charlie, dave, eve, ferdie, trainer-1, validator-1";
        assert!(nobody.contains(known) && !nobody.contains("did you mean"), "{nobody}");
        for (name, nearest) in [("alcie", "alice"), ("trainer1", "trainer-1")] {
            let refused = refused(name);
            assert!(refused.contains(&format!("did you mean {nearest}?")), "{refused}");
        }
    }

    #[test]
    fn accounts_that_are_looked_at_have_addresses_and_names() {
        let alice = Signer::from_uri("//Alice").unwrap();
        let of = |account: Option<&str>, dev_account: Option<&str>| {
            let [account, dev_account] = [account, dev_account].map(|name| name.map(str::to_owned));
            LookOptions { account, dev_account }.account()
        };
        let address = alice.ss58();
        for found in [of(Some(&address), None), of(None, Some("alice"))] {
            assert_eq!(found.unwrap(), Some(alice.account()));
        }
        assert_eq!(of(None, None).unwrap(), None);
        let refused = of(None, Some("nobody")).unwrap_err().to_string();
        assert!(refused.contains("there are alice"), "{refused}");
        // No key of this user has such a name.
        let refused = of(Some("trainer-4000000"), None).unwrap_err();
        assert!(format!("{refused:#}").contains("--dev-account trainer-4000000"), "{refused:#}");
        for text in [address.as_str(), "alice"] {
            assert_eq!(parse_looked_at(text), Ok(alice.account()));
        }
        assert!(parse_looked_at("nobody").unwrap_err().to_string().contains("SS58"));
    }
}
