//! The chain's beginnings: `development` with one authority and sudo, `local_testnet` with three
//! authorities and none.

use crate::*;
use alloc::{format, string::ToString, vec, vec::Vec};
use frame_support::build_struct_json_patch;
use pol_primitives::{audit::AuditConfig, peer::Role, round::RoundConfig};
use serde_json::Value;
use sp_core::{DeriveJunction, Pair, sr25519};
use sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET, PresetId};
use sp_keyring::{Ed25519Keyring, Sr25519Keyring};

/// What every account of a preset starts with, bond included.
pub const ENDOWMENT: Balance = 1_000_000 * POL;
/// Trainers and validators that are funded, each: `//Trainer//1` to `//Trainer//16`, and so on.
pub const FUNDED: u64 = 16;

/// Limits for machines of one household: each stage of an audit ends earlier, as soon as everybody
/// is done. Five minutes are enough for a laptop to replay a segment of each of its seats besides
/// training, and a minute to show and fetch states.
pub const AUDITS: AuditConfig = AuditConfig {
    seats: 3,
    more_seats: 7,
    segments: 1,
    probe: 4,
    mix: 8,
    serve: 20,
    replay: 100,
    open: 20,
    reveal: 20,
    escrow: 2,
};

/// The account of `//{family}//{number}` under the well-known development phrase.
///
/// # Panics
/// Never: only a malformed path has no key, and these are hard junctions.
pub fn numbered(family: &sr25519::Pair, number: u64) -> AccountId {
    let (pair, _) = family
        .derive([DeriveJunction::hard(number)].into_iter(), None)
        .expect("a hard junction always derives");
    pair.public().into()
}

/// The pair that [`numbered`] derives accounts from.
///
/// # Panics
/// Where `family` is not a name of letters and digits.
pub fn family(name: &str) -> sr25519::Pair {
    sr25519::Pair::from_string(&format!("//{name}"), None).expect("the names here are letters")
}

fn endowed() -> Vec<AccountId> {
    let [trainers, validators] = ["Trainer", "Validator"].map(family);
    Sr25519Keyring::well_known()
        .map(Sr25519Keyring::to_account_id)
        .chain((1..=FUNDED).map(|number| numbered(&trainers, number)))
        .chain((1..=FUNDED).map(|number| numbered(&validators, number)))
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
            balances: endowed().into_iter().map(|account| (account, ENDOWMENT)).collect()
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
            audits: AUDITS
        },
        session: SessionConfig { keys: keys.collect() },
        sudo: SudoConfig { key: sudo },
    })
}

/// The preset of that name.
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

/// Names of the presets.
pub fn preset_names() -> Vec<PresetId> {
    vec![DEV_RUNTIME_PRESET.into(), LOCAL_TESTNET_RUNTIME_PRESET.into()]
}
