// SPDX-License-Identifier: Apache-2.0

//! Chains that this binary knows by name. Their genesis states are presets of the runtime.

use crate::client::PairingFunctions;
use pol_runtime::{SS58_PREFIX, WASM_BINARY};
use polkadot_sdk::{
    sc_chain_spec::{ChainType, GenericChainSpec, NoExtension, Properties},
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
};
use std::path::Path;

/// Chain specification without extensions.
pub(crate) type ChainSpec = GenericChainSpec<NoExtension, PairingFunctions>;

/// Name of the development chain: one authority, on this machine only.
pub(crate) const DEV: &str = "dev";
/// Name of the local network: three authorities on one machine.
pub(crate) const LOCAL: &str = "local";

/// Returns the chain of the name `id`, or reads its specification from the file at the path `id`.
pub(crate) fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        DEV => preset("POL Development", "pol_dev", ChainType::Development, DEV_RUNTIME_PRESET),
        // There is no public network to default to.
        "" | LOCAL => {
            preset("POL Local", "pol_local", ChainType::Local, LOCAL_TESTNET_RUNTIME_PRESET)
        }
        path => ChainSpec::from_json_file(Path::new(path).to_owned()).map_err(|error| {
            format!(
                "unknown chain '{path}': use '{DEV}', '{LOCAL}' or the path of a specification \
                 made by `pol-node build-spec` ({error})"
            )
        }),
    }
}

fn preset(name: &str, id: &str, kind: ChainType, preset: &str) -> Result<ChainSpec, String> {
    let runtime =
        WASM_BINARY.ok_or("this binary has no runtime: build it with SKIP_WASM_BUILD unset")?;
    let mut properties = Properties::new();
    properties.insert("tokenSymbol".into(), "POL".into());
    properties.insert("tokenDecimals".into(), 12.into());
    properties.insert("ss58Format".into(), SS58_PREFIX.into());
    Ok(ChainSpec::builder(runtime, None)
        .with_name(name)
        .with_id(id)
        .with_protocol_id("pol")
        .with_chain_type(kind)
        .with_properties(properties)
        .with_genesis_config_preset_name(preset)
        .build())
}
