// SPDX-License-Identifier: Apache-2.0

//! Genesis presets: `development` with one authority and sudo, `local_testnet` with three
//! authorities and no sudo.

#![warn(missing_docs)]

use crate::*;
use alloc::{format, string::ToString, vec, vec::Vec};
use frame_support::build_struct_json_patch;
use pol_primitives::{audit::AuditConfig, beacon, member::Role, round::RoundConfig};
use serde_json::Value;
use sp_core::{DeriveJunction, Pair, sr25519};
use sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET, PresetId};
use sp_keyring::{Ed25519Keyring, Sr25519Keyring};

/// Initial balance of every account of a preset, its bond included.
pub const ENDOWMENT: Balance = 1_000_000 * POL;
/// Number of funded trainers, and of funded validators: `//Trainer//1` to `//Trainer//16` and
/// `//Validator//1` to `//Validator//16`.
pub const FUNDED_ACCOUNTS: u64 = 16;

/// Audit configuration of the presets, with durations for machines on one local network. Each stage
/// of an audit ends early once all members are done. Five minutes are enough for a laptop to replay
/// a segment for each of its seats while it trains, and one minute to serve and fetch states.
pub const AUDIT_CONFIG: AuditConfig = AuditConfig {
    seats: 3,
    more_seats: 16,
    segments: 1,
    probe: 4,
    mix: 8,
    serve: 20,
    replay: 100,
    open: 20,
    reveal: 20,
    escrow: 2,
};

/// Returns the beacon of the presets: `pol-trainer beacon sign` signs its pulses, with a key that
/// everybody knows. Blocks are final well within the margin. The patience leaves seven blocks for a
/// pulse after it is due.
pub fn development_beacon() -> beacon::BeaconConfig {
    let key = beacon::bls::BeaconSecret::development().key();
    beacon::BeaconConfig { key, genesis: 0, period: 3, margin: 12, patience: 12 }
}

/// Returns the account of `//{family}//{number}` under the well-known development phrase.
///
/// # Panics
///
/// Never panics: a hard junction always derives a key.
pub fn numbered_account(family: &sr25519::Pair, number: u64) -> AccountId {
    let (pair, _) = family
        .derive([DeriveJunction::hard(number)].into_iter(), None)
        .expect("a hard junction always derives");
    pair.public().into()
}

/// Returns the key pair that [`numbered_account`] derives accounts from.
///
/// # Panics
///
/// Panics if `name` is not made of letters and digits.
pub fn account_family(name: &str) -> sr25519::Pair {
    sr25519::Pair::from_string(&format!("//{name}"), None)
        .expect("family names are letters and digits")
}

fn endowed_accounts() -> Vec<AccountId> {
    let [trainers, validators] = ["Trainer", "Validator"].map(account_family);
    Sr25519Keyring::well_known()
        .map(Sr25519Keyring::to_account_id)
        .chain((1..=FUNDED_ACCOUNTS).map(|number| numbered_account(&trainers, number)))
        .chain((1..=FUNDED_ACCOUNTS).map(|number| numbered_account(&validators, number)))
        .collect()
}

fn genesis(authorities: &[(Sr25519Keyring, Ed25519Keyring)], sudo: Option<AccountId>) -> Value {
    let keys = authorities.iter().map(|(babe, grandpa)| {
        let account = babe.to_account_id();
        (
            account.clone(),
            account,
            SessionKeys { babe: babe.public().into(), grandpa: grandpa.public().into() },
        )
    });
    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig {
            balances: endowed_accounts().into_iter().map(|account| (account, ENDOWMENT)).collect()
        },
        pol_staking: PolStakingConfig {
            members: authorities
                .iter()
                .map(|(babe, _)| (
                    babe.to_account_id(),
                    Role::Authority,
                    Role::Authority.minimum_bond()
                ))
                .collect(),
        },
        proof_of_learning: ProofOfLearningConfig {
            lengths: RoundConfig::default(),
            audits: AUDIT_CONFIG
        },
        beacon: BeaconConfig { beacon: Some(development_beacon()) },
        session: SessionConfig { keys: keys.collect() },
        sudo: SudoConfig { key: sudo },
    })
}

/// Returns the preset of the given name as JSON.
pub fn get_preset(id: &PresetId) -> Option<Vec<u8>> {
    use sp_keyring::{Ed25519Keyring as Grandpa, Sr25519Keyring as Babe};
    let preset = match id.as_str() {
        DEV_RUNTIME_PRESET => {
            genesis(&[(Babe::Alice, Grandpa::Alice)], Some(Babe::Alice.to_account_id()))
        }
        LOCAL_TESTNET_RUNTIME_PRESET => genesis(
            &[
                (Babe::Alice, Grandpa::Alice),
                (Babe::Bob, Grandpa::Bob),
                (Babe::Charlie, Grandpa::Charlie),
            ],
            None,
        ),
        _ => return None,
    };
    Some(preset.to_string().into_bytes())
}

/// Returns the names of the presets.
pub fn preset_names() -> Vec<PresetId> {
    vec![DEV_RUNTIME_PRESET.into(), LOCAL_TESTNET_RUNTIME_PRESET.into()]
}
