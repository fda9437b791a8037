//! The chains this binary knows by name. Their genesis states are presets of the runtime.

use pol_runtime::{SS58_PREFIX, WASM_BINARY};
use polkadot_sdk::{
    sc_chain_spec::{ChainType, GenericChainSpec, Properties},
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
};
use std::path::Path;

/// A specification of the chain, without extensions.
pub type ChainSpec = GenericChainSpec;

/// Names that `--chain` takes besides a path.
pub const DEV: &str = "dev";
/// The network of three authorities on one machine.
pub const LOCAL: &str = "local";

/// The chain of that name, or of the file at that path.
pub fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        DEV => preset("POL Development", "pol_dev", ChainType::Development, DEV_RUNTIME_PRESET),
        // There is no public network to default to.
        "" | LOCAL => preset("POL Local", "pol_local", ChainType::Local, LOCAL_TESTNET_RUNTIME_PRESET),
        path => ChainSpec::from_json_file(Path::new(path).to_owned()).map_err(|error| {
            format!(
                "'{path}' is not a chain this node knows: use '{DEV}', '{LOCAL}' or the path of a specification made by \
                 `pol-node build-spec` ({error})"
            )
        }),
    }
}

fn preset(name: &str, id: &str, kind: ChainType, preset: &str) -> Result<ChainSpec, String> {
    let runtime = WASM_BINARY
        .ok_or("this binary was built without a runtime: build it with SKIP_WASM_BUILD unset")?;
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
