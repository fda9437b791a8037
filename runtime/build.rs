// SPDX-License-Identifier: Apache-2.0

//! Builds the runtime for WASM and embeds the hash of its metadata, which hardware wallets check
//! what they sign against.
fn main() {
    #[cfg(feature = "std")]
    substrate_wasm_builder::WasmBuilder::init_with_defaults()
        .enable_metadata_hash("POL", 12)
        .build();
}
