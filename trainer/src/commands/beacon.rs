// SPDX-License-Identifier: Apache-2.0

//! Pulses of the chain's beacon: signed for a development network, relayed for any other.

use super::governance::decide;
use crate::{
    monitoring::{MetricsOptions, Monitoring},
    options::{KeyOptions, NodeOptions},
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Subcommand;
use futures::StreamExt;
use pol_chain::{Call, Chain};
use pol_primitives::{
    beacon::{BeaconConfig, BeaconRound, PulseSignature, bls::BeaconSecret},
    hex_hash,
};
use reqwest::Client;
use serde::Deserialize;
use std::{
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const EXAMPLES: &str = "\
Draws of audits wait for a pulse of the beacon. Anybody may show it to the chain, without an account
and without a fee. If nobody does, a draw goes on without it after a while.

Examples:
  pol-trainer beacon sign      sign the pulses of a development network
  pol-trainer beacon relay --url \
https://api.drand.sh/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971
      relay the pulses of quicknet, a network of drand";

const SIGN_EXAMPLES: &str = "\
Examples:
  pol-trainer beacon sign                              for a node on this machine
  pol-trainer beacon sign --node ws://10.0.0.5:9944    for another one";

const RELAY_EXAMPLES: &str = "\
Examples:
  pol-trainer beacon relay --url \
https://api.drand.sh/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971
      one relay in the network is enough, and more do no harm";

const SET_EXAMPLES: &str = "\
Examples:
  pol-trainer beacon set '{\"key\": \"0x83cf…\", \"genesis\": 1692803367, \"period\": 3, \
\"margin\": 30, \"patience\": 30}'
      have draws wait for quicknet, a network of drand, whose /info shows the key
  pol-trainer beacon set null
      have draws wait for no beacon";

/// Time for an answer of a relay.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);
/// Digits of a beacon's key that are shown.
const SHOWN_DIGITS: usize = 16;
/// Maximum size of an answer of a relay, in bytes.
const MAX_ANSWER_BYTES: usize = 4_096;

/// Subcommands of `beacon`.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum BeaconCommand {
    /// Sign the awaited pulses of a development network, whose key everybody knows.
    #[command(after_help = SIGN_EXAMPLES)]
    Sign {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        metrics: MetricsOptions,
    },
    /// Relay the awaited pulses of a network of drand.
    #[command(after_help = RELAY_EXAMPLES)]
    Relay {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        metrics: MetricsOptions,
        /// HTTP address of the network at one of drand's relays. It ends with the network's hash.
        #[arg(long = "url", value_name = "URL")]
        relay: String,
    },
    /// Replace or remove the beacon, as governance.
    #[command(after_help = SET_EXAMPLES)]
    Set {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// JSON object with the key in hexadecimal digits; genesis in seconds since 1970; period
        /// and margin in seconds; patience in blocks. Or null.
        json: String,
    },
}

/// Runs a subcommand of `beacon`.
pub(crate) async fn run(command: BeaconCommand) -> Result<()> {
    match command {
        BeaconCommand::Sign { node, metrics } => {
            let monitoring = metrics.start("beacon").await?;
            let secret = BeaconSecret::development();
            let chain = node.connect().await?;
            let beacon = chain.beacon().await?.context("the chain has no beacon")?;
            ensure!(
                beacon.key == secret.key(),
                "the beacon of this chain has another key than that of development networks; use \
                 `pol-trainer beacon relay`"
            );
            let source = PulseSource::Secret(secret);
            tracing::info!("{}", source.announcement(&node.addresses(), Some(&beacon)));
            follow(&chain, &source, monitoring).await
        }
        BeaconCommand::Relay { node, metrics, relay } => {
            let monitoring = metrics.start("beacon").await?;
            let chain = node.connect().await?;
            let source = PulseSource::relay(relay)?;
            let beacon = chain.beacon().await?;
            tracing::info!("{}", source.announcement(&node.addresses(), beacon.as_ref()));
            follow(&chain, &source, monitoring).await
        }
        BeaconCommand::Set { node, key, json } => {
            let beacon = serde_json::from_str(&json).context(
                "a beacon is a JSON object with key, genesis, period, margin and patience, or null",
            )?;
            decide(&node, &key, Call::SetBeacon(beacon), "the beacon is set").await
        }
    }
}

/// Shows every awaited pulse to the chain once it is due. Ends only with the program.
async fn follow(chain: &Chain, source: &PulseSource, mut monitoring: Monitoring) -> Result<()> {
    monitoring.follow_chain(chain, None);
    let metrics = pol_metrics::beacon_relay();
    let mut blocks = pin!(chain.blocks().await?);
    let mut shown = None;
    while blocks.next().await.is_some() {
        match show_pulse(chain, source).await {
            Ok(Some(round)) if shown.replace(round) != Some(round) => {
                metrics.pulses_total.inc();
                tracing::info!(round, "showed a pulse of the beacon");
            }
            Ok(_) => {}
            Err(error) => {
                metrics.failures_total.inc();
                tracing::warn!(error = format!("{error:#}"), "cannot show the pulse; trying again");
            }
        }
    }
    Ok(())
}

/// Waits until the awaited pulse is due, and shows it. Returns its round, `None` if no draw waits.
async fn show_pulse(chain: &Chain, source: &PulseSource) -> Result<Option<BeaconRound>> {
    let awaited = chain.awaited_pulse().await?.filter(|pulse| pulse.randomness.is_none());
    let (Some(awaited), Some(beacon)) = (awaited, chain.beacon().await?) else {
        return Ok(None);
    };
    tokio::time::sleep(time_until(&beacon, awaited.round)).await;
    let signature = source.pulse(awaited.round).await?;
    chain.submit_bare(&Call::SubmitPulse { round: awaited.round, signature }).await?;
    Ok(Some(awaited.round))
}

/// Returns the time until the round is due, at most the beacon's margin and period.
fn time_until(beacon: &BeaconConfig, round: BeaconRound) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let longest = u64::from(beacon.margin).saturating_add(beacon.period.into());
    Duration::from_secs(beacon.due(round)).saturating_sub(now).min(Duration::from_secs(longest))
}

/// Source of pulses.
enum PulseSource {
    /// A secret key, which signs.
    Secret(BeaconSecret),
    /// A relay of drand.
    Relay { client: Client, url: String },
}

/// Answer of a relay of drand.
#[derive(Deserialize)]
struct RelayedPulse {
    round: BeaconRound,
    signature: String,
}

impl PulseSource {
    fn relay(url: String) -> Result<Self> {
        // An error means that the process has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(RELAY_TIMEOUT)
            .user_agent(concat!("pol-trainer/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self::Relay { client, url })
    }

    /// Says what the process does, by which key, for which node, and what it waits for.
    fn announcement(&self, node: &str, beacon: Option<&BeaconConfig>) -> String {
        let source = match self {
            Self::Secret(_) => "signing pulses with the key of development networks".to_owned(),
            Self::Relay { url, .. } => format!("relaying the pulses of {url}"),
        };
        let (key, now) = match beacon {
            Some(beacon) => {
                let digits = hex::encode(beacon.key);
                let start = digits.get(..SHOWN_DIGITS).unwrap_or(&digits);
                (format!(" for the beacon 0x{start}…"), "the next draw of an audit asks for one")
            }
            None => (String::new(), "the chain has a beacon, which it has not now"),
        };
        format!("{source}{key} to {node}; waiting until {now}")
    }

    /// Returns the pulse of the round, which the chain verifies.
    async fn pulse(&self, round: BeaconRound) -> Result<PulseSignature> {
        match self {
            Self::Secret(secret) => secret.sign(round).map_err(|error| anyhow!("{error}")),
            Self::Relay { client, url } => {
                let url = format!("{}/public/{round}", url.trim_end_matches('/'));
                let mut response = client.get(&url).send().await?.error_for_status()?;
                let mut answer = Vec::new();
                while let Some(bytes) = response.chunk().await? {
                    answer.extend_from_slice(&bytes);
                    ensure!(answer.len() <= MAX_ANSWER_BYTES, "the answer of {url} is too long");
                }
                parse_pulse(&answer, round).with_context(|| format!("the answer of {url}"))
            }
        }
    }
}

/// Reads the answer of a relay of drand that was asked for `round`.
fn parse_pulse(answer: &[u8], round: BeaconRound) -> Result<PulseSignature> {
    let pulse: RelayedPulse = serde_json::from_slice(answer)?;
    ensure!(pulse.round == round, "it is of round {} instead of {round}", pulse.round);
    hex_hash::parse_bytes(&pulse.signature)
        .context("its signature has not 48 bytes: the network has another scheme than quicknet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_relays_are_read() {
        let signature = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125\
                         e342b73a8dd2bacbe47e4b6b63ed5e39";
        let answer =
            format!("{{\"round\":1000,\"randomness\":\"fe29\",\"signature\":\"{signature}\"}}");
        let pulse = parse_pulse(answer.as_bytes(), 1_000).unwrap();
        assert_eq!(hex::encode(pulse), signature);
        for (answer, round, objection) in [
            (answer.as_str(), 1_001, "of round 1000 instead of 1001"),
            ("{\"round\":7,\"signature\":\"b446\"}", 7, "has not 48 bytes"),
            ("not found", 7, "expected"),
        ] {
            let error = parse_pulse(answer.as_bytes(), round).unwrap_err();
            assert!(error.to_string().contains(objection), "{error}");
        }
    }

    #[test]
    fn what_is_waited_for_is_said_at_the_start() {
        let secret = BeaconSecret::development();
        let beacon =
            BeaconConfig { key: secret.key(), genesis: 0, period: 3, margin: 12, patience: 12 };
        let signing = PulseSource::Secret(secret);
        let said = signing.announcement("ws://127.0.0.1:9944", Some(&beacon));
        let key = hex::encode(&beacon.key[..8]);
        for part in ["signing", "ws://127.0.0.1:9944", "next draw of an audit", key.as_str()] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let relay = PulseSource::relay("https://relay.example/52db".to_owned()).unwrap();
        let said = relay.announcement("ws://127.0.0.1:9944", None);
        assert!(said.contains("https://relay.example/52db to ws:"), "{said}");
        assert!(said.contains("the chain has a beacon"), "{said}");
    }

    #[test]
    fn a_pulse_is_not_shown_before_it_is_due() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let beacon =
            BeaconConfig { key: [0; 96], genesis: now + 10, period: 3, margin: 12, patience: 12 };
        let wait = time_until(&beacon, 1);
        assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(time_until(&BeaconConfig { genesis: 0, ..beacon.clone() }, 1), Duration::ZERO);
        let late = BeaconConfig { genesis: now + 1_000, ..beacon };
        assert_eq!(time_until(&late, 1), Duration::from_secs(15), "a wrong clock does not hang it");
    }
}
