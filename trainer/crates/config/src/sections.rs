// SPDX-License-Identifier: Apache-2.0

//! Sections of a configuration.
//!
//! Other spellings of keys are those of checkpoints on the Hugging Face hub (`n_layer`,
//! `num_hidden_layers`) and of this program's recipes (`layers`).

use crate::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
};

/// Role in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trains.
    Trainer,
    /// Checks and attests what trainers do.
    Validator,
}

/// Size of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Phones and small boards.
    Mobile,
    /// Laptops.
    Participant,
    /// Workstations.
    Miner,
    /// Data-centre machines.
    Whale,
    /// The largest that this machine has the memory and cores for.
    Auto,
}

/// This machine and its account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Name of this machine in its log.
    #[serde(alias = "id", alias = "name", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"trainer-berlin-1")]
    pub node_id: Option<String>,
    /// UDP port on which blobs are served to peers, on all interfaces. In place of `listen`.
    #[serde(alias = "p2p_port", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4001)]
    pub port: Option<NonZeroU16>,
    /// UDP address on which blobs are served to peers; port 0 takes a free one. [default:
    /// 127.0.0.1:0, which only this machine reaches]
    #[serde(alias = "listen_address", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"0.0.0.0:4001")]
    pub listen: Option<SocketAddr>,
    /// Up to four addresses at which peers reach this machine, if they differ from `listen`.
    #[serde(alias = "external_addresses", skip_serializing_if = "Option::is_none")]
    #[schemars(example = ["203.0.113.7:4001"])]
    pub advertise: Option<Vec<SocketAddr>>,
    /// Check and attest the work of trainers. An account has one role: with `enable_training` this
    /// process trains, and a validator is another process with another account.
    #[serde(alias = "authority", alias = "is_validator", skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub is_authority: Option<bool>,
    /// Train. [default: true, unless `is_authority` is]
    #[serde(
        alias = "training",
        alias = "training_enabled",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = true)]
    pub enable_training: Option<bool>,
    /// RPC addresses of nodes. The first that answers is used, and the next when it no longer does.
    /// [default: ws://127.0.0.1:9944]
    #[serde(
        alias = "bootnodes",
        alias = "bootstrap_nodes",
        alias = "nodes",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = ["ws://127.0.0.1:9944"])]
    pub boot_nodes: Option<Vec<NodeAddress>>,
    /// Name of the account's key in the folder of keys, made by `pol-trainer keys generate`.
    /// [default: the environment variable POL_KEY]
    #[serde(alias = "key_name", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"trainer")]
    pub account: Option<String>,
    /// File of the account's key, in place of `account`.
    #[serde(
        alias = "keystore",
        alias = "private_key_file",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = &"key.json")]
    pub key_file: Option<PathBuf>,
    /// File with the password of the key, which only its owner can read. [default: the environment
    /// variable POL_PASSWORD, or a prompt]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"password.txt")]
    pub password_file: Option<PathBuf>,
    /// Address of the account that the key acts for, as a proxy that `pol-trainer keys authorise`
    /// made. [default: the account of the key]
    #[serde(alias = "proxy", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")]
    pub proxy_for: Option<String>,
    /// Folder of the state: blobs, optimiser moments, progress. [default:
    /// ~/.local/share/pol-trainer/CHAIN/ACCOUNT]
    #[serde(alias = "data_dir", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"state")]
    pub base_path: Option<PathBuf>,
    /// Size of a lease of a trainer. [default: auto]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = Tier::Auto)]
    pub tier: Option<Tier>,
    /// Threads that train, up to 1,024. [default: as many as the cores and the memory allow]
    #[serde(alias = "threads", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 8, range(max = 1024))]
    pub workers: Option<NonZeroU16>,
    /// Disk space in GiB for the training states that audits may ask for. [default: 20]
    #[serde(alias = "state_budget_gib", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 20.0, range(min = 0))]
    pub state_budget: Option<f64>,
    /// Keep the payloads of all rounds. [default: false]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub archive: Option<bool>,
    /// Commit to work on leases and audits before they are final. [default: false]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub unfinalised: Option<bool>,
    /// Folder made by `data ingest` whose shards are served to others. [default: none]
    #[serde(alias = "serve_data", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"data")]
    pub data: Option<PathBuf>,
    /// Address at which metrics are served for Prometheus. [default: none]
    #[serde(alias = "metrics_address", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:9616")]
    pub metrics: Option<SocketAddr>,
    /// Address of the HTTP interface: the dashboard, the chain, and this machine. One that is not
    /// loopback needs `api_tokens`. [default: none]
    #[serde(alias = "api_address", alias = "http", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:8000")]
    pub api: Option<SocketAddr>,
    /// File of tokens, made by `pol-trainer tokens add`, which all requests over HTTP need then.
    #[serde(alias = "tokens_file", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"tokens.json")]
    pub api_tokens: Option<PathBuf>,
    /// Origins whose pages may use the HTTP interface. [default: none but its own]
    #[serde(alias = "cors_origins", skip_serializing_if = "Option::is_none")]
    #[schemars(example = ["https://example.org"])]
    pub api_origins: Option<Vec<String>>,
    /// Folder whose imported models are listed, and learn from texts that requests send.
    #[serde(alias = "library", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"models")]
    pub api_library: Option<PathBuf>,
    /// Index of the chain's past that the HTTP interface reads: a file for SQLite, or the URL of a
    /// PostgreSQL database. One with a password stands in the environment variable POL_INDEX
    /// instead. [default: index.db in the folder of the state]
    #[serde(alias = "index", alias = "database", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"index.db")]
    pub api_index: Option<String>,
    /// Only read the index, which `pol-trainer index` fills. [default: false]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub api_no_follow: Option<bool>,
    /// Connections that one client of the HTTP interface may have, 1 to 512. [default: 128]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 512)]
    pub api_client_connections: Option<NonZeroU16>,
    /// Level or filter of the log. [default: info]
    #[serde(alias = "log_level", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"info")]
    pub log: Option<String>,
    /// Log one JSON object per line. [default: false]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub log_json: Option<bool>,
}

impl Node {
    /// Returns the address on which blobs are served.
    pub fn listen(&self) -> Option<SocketAddr> {
        let any = |port: NonZeroU16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.get()));
        self.listen.or(self.port.map(any))
    }

    /// Returns the role, or `None` if the section leaves it open.
    ///
    /// # Errors
    ///
    /// Fails if the section leaves no role: no training, and no authority.
    pub fn role(&self) -> Result<Option<Role>, Problem> {
        match (self.enable_training, self.is_authority) {
            (Some(true), _) => Ok(Some(Role::Trainer)),
            (_, Some(true)) => Ok(Some(Role::Validator)),
            (Some(false), _) => Err(Problem::new(
                "node.enable_training",
                "without training and without node.is_authority there is nothing to do; set one of \
                 them, give --role, or run a node alone with `pol-node`",
            )),
            (None, Some(false)) => Ok(Some(Role::Trainer)),
            (None, None) => Ok(None),
        }
    }
}

/// RPC address of a node: `ws://` or `wss://`, or a multiaddress of such a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddress(String);

impl NodeAddress {
    /// Returns the address, beginning with `ws://` or `wss://`.
    pub fn url(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("ws://") || text.starts_with("wss://") {
            return Ok(Self(text));
        }
        let mut parts = text.strip_prefix('/').unwrap_or_default().split('/');
        let [network, host, transport, port] = std::array::from_fn(|_| parts.next().unwrap_or(""));
        let host = match network {
            "ip4" | "dns" | "dns4" | "dns6" => host.to_owned(),
            "ip6" => format!("[{host}]"),
            _ => String::new(),
        };
        let is_port = transport == "tcp" && port.parse::<NonZeroU16>().is_ok();
        let scheme = match (parts.next(), parts.next()) {
            (Some("ws"), None) => "ws",
            (Some("wss"), None) | (Some("tls"), Some("ws")) => "wss",
            _ => "",
        };
        if host.is_empty() || !is_port || scheme.is_empty() || parts.next().is_some() {
            return Err(format!(
                "{text:?} is no RPC address, such as ws://127.0.0.1:9944; addresses between nodes \
                 (/ip4/…/p2p/…) are for `pol-node --bootnodes`"
            ));
        }
        Ok(Self(format!("{scheme}://{host}:{port}")))
    }
}

impl From<NodeAddress> for String {
    fn from(address: NodeAddress) -> Self {
        address.0
    }
}

/// Family of architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// Decoder of any family.
    #[serde(alias = "decoder", alias = "causal_lm", alias = "gpt", alias = "llm")]
    Transformer,
    /// Learned positions.
    #[serde(alias = "gpt-2", alias = "gpt_2")]
    Gpt2,
    /// Learned positions, and blocks with local attention.
    #[serde(alias = "gpt-neo")]
    GptNeo,
    /// Rotated neighbouring dimensions, and blocks of parallel sublayers.
    #[serde(alias = "gptj", alias = "gpt-j")]
    GptJ,
    /// Rotated halves of dimensions.
    #[serde(alias = "mistral")]
    Llama,
}

/// Model and training. Nearly all of it belongs to the network: it is stated here to be compared
/// with the recipe of the chain, and a member whose file states something else does not start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AiTraining {
    /// Family of the architecture. Any of them is a `transformer`.
    #[serde(alias = "architecture", skip_serializing_if = "Option::is_none")]
    #[schemars(example = ModelType::Transformer)]
    pub model_type: Option<ModelType>,
    /// Width of the residual stream.
    #[serde(
        alias = "width",
        alias = "d_model",
        alias = "n_embd",
        alias = "hidden_dim",
        alias = "embedding_dim",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 128)]
    pub hidden_size: Option<u32>,
    /// Number of blocks.
    #[serde(
        alias = "layers",
        alias = "n_layer",
        alias = "n_layers",
        alias = "num_hidden_layers",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 4)]
    pub num_layers: Option<u32>,
    /// Number of attention heads in a block.
    #[serde(
        alias = "heads",
        alias = "n_head",
        alias = "n_heads",
        alias = "num_attention_heads",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 4)]
    pub num_heads: Option<u32>,
    /// Number of heads of keys and values in a block.
    #[serde(alias = "key_value_heads", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4)]
    pub num_key_value_heads: Option<u32>,
    /// Width of the hidden layer of each feed-forward layer.
    #[serde(
        alias = "feed_forward",
        alias = "ffn_dim",
        alias = "d_ff",
        alias = "n_inner",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 512)]
    pub intermediate_size: Option<u32>,
    /// Number of entries of the vocabulary.
    #[serde(
        alias = "vocabulary",
        alias = "vocabulary_size",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 8192)]
    pub vocab_size: Option<u32>,
    /// Number of experts in a block; 0 without experts.
    #[serde(alias = "experts", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0)]
    pub num_experts: Option<u32>,
    /// Number of tokens in a training sequence.
    #[serde(
        alias = "sequence",
        alias = "sequence_length",
        alias = "max_seq_length",
        alias = "max_seq_len",
        alias = "max_length",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 128)]
    pub max_sequence_length: Option<u32>,
    /// Number of tokens that the model reads at most.
    #[serde(
        alias = "context",
        alias = "n_positions",
        alias = "max_position_embeddings",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 128)]
    pub context_length: Option<u32>,
    /// Number of sequences in an optimiser step of the tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 32)]
    pub batch_size: Option<u32>,
    /// Learning rate after warm-up, per step.
    #[serde(alias = "lr", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.002)]
    pub learning_rate: Option<f64>,
    /// Folder made by `model import`, of the model that the network started from. It is served to
    /// others. [default: none]
    #[serde(
        alias = "pretrained_base",
        alias = "pretrained_model",
        alias = "base_model",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = &"smollm2")]
    pub pretrained_base_model: Option<PathBuf>,
    /// Text of pretrained models is leased before other text. No network does otherwise.
    #[serde(
        alias = "prioritize_pretrained",
        alias = "prioritise_pretrained",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = true, extend("const" = true))]
    pub pretrained_priority: Option<bool>,
    /// The network started from an imported model in place of random parameters.
    #[serde(
        alias = "adaptation",
        alias = "model_adaptation",
        alias = "pretrained_adaptation",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_adaptation: Option<bool>,
    /// The same as `data_acquisition.pretrained_extraction`, if that is missing.
    #[serde(
        alias = "extraction",
        alias = "pretrained_extraction",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_extraction: Option<bool>,
    /// The model has a layer of the mind: superposition, introspection, or a second pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub enable_consciousness: Option<bool>,
    /// The model has superposed branch states in its blocks.
    #[serde(
        alias = "enable_quantum",
        alias = "enable_quantum_superposition",
        alias = "enable_entanglement",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_superposition: Option<bool>,
    /// The model predicts its own loss.
    #[serde(
        alias = "enable_self_awareness",
        alias = "enable_self_reflection",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_introspection: Option<bool>,
    /// The model runs its last blocks a second time where it expects a high loss.
    #[serde(
        alias = "enable_metacognition",
        alias = "enable_second_pass",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_meta_cognition: Option<bool>,
    /// The model has experts in place of feed-forward layers.
    #[serde(
        alias = "enable_moe",
        alias = "enable_mixture_of_experts",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false)]
    pub enable_experts: Option<bool>,
    /// Reason step by step. It is asked for by each request, so that only `false` is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false, extend("const" = false))]
    pub enable_reasoning: Option<bool>,
    /// Follow the affect of the text. It is asked for by each request, so that only `false` is
    /// accepted.
    #[serde(
        alias = "enable_emotions",
        alias = "enable_emotional_intelligence",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = false, extend("const" = false))]
    pub enable_affect: Option<bool>,
    /// Call tools. It is asked for by each request, so that only `false` is accepted.
    #[serde(alias = "enable_tool_use", skip_serializing_if = "Option::is_none")]
    #[schemars(example = false, extend("const" = false))]
    pub enable_tools: Option<bool>,
    /// Retrieve text for a prompt. There is no retrieval, so that only `false` is accepted.
    #[serde(alias = "enable_retrieval", skip_serializing_if = "Option::is_none")]
    #[schemars(example = false, extend("const" = false))]
    pub enable_rag: Option<bool>,
}

/// Switches of `pol-trainer data acquire`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DataAcquisition {
    /// Read sources of the web. `true` needs a source of kind `web`; `false` leaves those out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub enable_web_scraping: Option<bool>,
    /// Data sets, by their names in the catalogue or on the hub.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["fineweb-edu"])]
    pub huggingface_datasets: Vec<String>,
    /// Draw text from an imported model. `false` leaves sources that would out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub pretrained_extraction: Option<bool>,
    /// Folder of that model, made by `model import`. [default: `ai_training.pretrained_base_model`]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"smollm2")]
    pub pretrained_model: Option<PathBuf>,
    /// Make tasks with proofs. `false` leaves synthetic sources out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = true)]
    pub synthetic_generation: Option<bool>,
    /// Least quality of a document, from 0 to 1. [default: 0]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.3)]
    pub quality_threshold: Option<f64>,
    /// Most tokens that a source yields over all runs. [default: no limit]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 50_000_000)]
    pub max_tokens_per_source: Option<u64>,
}

/// Rules of the chain, stated to be compared with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Blockchain {
    /// Time between two blocks, in seconds.
    #[serde(
        alias = "block_time_seconds",
        alias = "block_time_secs",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = 3.0)]
    pub block_time: Option<f64>,
    /// Share of the stake that has to attest a model, from 0 to 1.
    #[serde(alias = "quorum", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.67)]
    pub consensus_threshold: Option<f64>,
    /// Least bond of the role, in POL.
    #[serde(alias = "minimum_stake", alias = "min_bond", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1000.0)]
    pub min_stake: Option<f64>,
    /// Weight of training on curated text in rewards.
    #[serde(alias = "multiplier", skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1.0)]
    pub reward_multiplier: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_decide_the_role() {
        let role = |is_authority, enable_training| {
            Node { is_authority, enable_training, ..Node::default() }.role()
        };
        for is_authority in [None, Some(false), Some(true)] {
            assert_eq!(role(is_authority, Some(true)), Ok(Some(Role::Trainer)));
        }
        assert_eq!(role(None, None), Ok(None));
        assert_eq!(role(Some(false), None), Ok(Some(Role::Trainer)));
        assert_eq!(role(Some(true), None), Ok(Some(Role::Validator)));
        assert_eq!(role(Some(true), Some(false)), Ok(Some(Role::Validator)));
        for is_authority in [None, Some(false)] {
            let problem = role(is_authority, Some(false)).unwrap_err();
            assert!(problem.reason.contains("there is nothing to do"), "{problem}");
        }
    }

    #[test]
    fn addresses_of_nodes_are_sockets_of_the_web() {
        let parse = |text: &str| NodeAddress::try_from(text.to_owned());
        for (text, url) in [
            ("ws://127.0.0.1:9944", "ws://127.0.0.1:9944"),
            ("wss://node.example/rpc", "wss://node.example/rpc"),
            ("/ip4/10.0.0.7/tcp/9944/ws", "ws://10.0.0.7:9944"),
            ("/ip6/::1/tcp/9944/ws", "ws://[::1]:9944"),
            ("/dns4/node.example/tcp/443/wss", "wss://node.example:443"),
            ("/dns/node.example/tcp/443/tls/ws", "wss://node.example:443"),
        ] {
            assert_eq!(parse(text).unwrap().url(), url);
        }
        for text in [
            "",
            "127.0.0.1:9944",
            "http://127.0.0.1:9944",
            "/ip4/10.0.0.7/tcp/30333/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "/ip4/10.0.0.7/tcp/30333/ws/p2p/12D3KooW",
            "/ip4/10.0.0.7/udp/9944/ws",
            "/ip4/10.0.0.7/tcp/0/ws",
            "/ip4//tcp/9944/ws",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("pol-node --bootnodes"), "{text}: {error}");
        }
    }
}
