// SPDX-License-Identifier: Apache-2.0

//! Configuration of a member of the network, in one file.
//!
//! | task | items |
//! |---|---|
//! | read a file | [`ConfigFile`], [`Config::parse`], [`ConfigError`], [`Problem`] |
//! | sections of the file | [`Node`], [`AiTraining`], [`DataAcquisition`], [`Blockchain`] |
//! | sources of values | [`Settings`], [`Setting`], [`Source`] |
//! | describe a file | [`schema`], [`template`] |
//! | check keys of other types | [`field_names`], [`unknown_key`] |
//!
//! A file is TOML, or JSON if it begins with a brace. A key sets something of this machine, states
//! something of the network, or is refused by name. This crate knows no chain, so it only lists the
//! statements ([`Config::statements`]); the program compares them.
//!
//! # Examples
//!
//! ```
//! use pol_config::{Config, ConfigError};
//!
//! let config = Config::parse("[node]\nport = 4001\nenable_training = true\n")?;
//! assert_eq!(config.node.listen(), Some("0.0.0.0:4001".parse().unwrap()));
//!
//! let ConfigError::Problems(problems) = Config::parse("[node]\nprot = 4001\n").unwrap_err() else {
//!     panic!("the key is unknown")
//! };
//! assert_eq!(problems[0].to_string(), "node.prot: there is no such key; did you mean node.port?");
//! # Ok::<(), ConfigError>(())
//! ```

mod config;
mod error;
mod file;
mod keys;
mod schema;
mod sections;
mod settings;
mod tree;

pub use config::Config;
pub use error::{ConfigError, Problem};
pub use file::{ConfigFile, MAX_BYTES, read_text};
pub use keys::{field_names, nearest, unknown_key};
pub use schema::{schema, template};
pub use sections::{
    AiTraining, Blockchain, DataAcquisition, ModelType, Node, NodeAddress, Role, Tier,
};
pub use settings::{Setting, Settings, Source};
pub use tree::parse_tree;
