// SPDX-License-Identifier: Apache-2.0

//! Tests of the runtime by signed extrinsics in executed blocks.

mod check;
mod congestion;
mod equivocations;
mod governance;
mod growth;
mod learning;
mod metadata;
mod network;
mod presets;
mod proxies;
mod weights;

use crate::{check::check_state, genesis_config_presets as presets_of, *};
use codec::Encode;
use frame_support::traits::PalletInfoAccess;
use pol_primitives::{
    MILLION,
    beacon::bls::BeaconSecret,
    data::ManifestInfo,
    lineage::{Activity, Derivation, Documents, ToolName},
    member::Role,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, TierParameters},
    round::Phase,
};
use sp_core::{Pair, sr25519};
use sp_io::TestExternalities;
use sp_runtime::{
    BuildStorage, Digest, DigestItem, DispatchError, ModuleError,
    generic::Era,
    traits::Header as _,
    transaction_validity::{InvalidTransaction, TransactionValidityError},
};

const DEV: &str = sp_genesis_builder::DEV_RUNTIME_PRESET;
const LOCAL: &str = sp_genesis_builder::LOCAL_TESTNET_RUNTIME_PRESET;
const SEGMENTS: u16 = 10;
const SHARDS: u32 = 60;

/// Returns the genesis state of a preset.
fn genesis(preset: &str) -> TestExternalities {
    let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).unwrap();
    let patch = serde_json::from_slice(&presets_of::get_preset(&preset.into()).unwrap()).unwrap();
    merge(&mut config, patch);
    let config: RuntimeGenesisConfig = serde_json::from_value(config).unwrap();
    config.build_storage().unwrap().into()
}

fn merge(config: &mut serde_json::Value, patch: serde_json::Value) {
    match (config, patch) {
        (serde_json::Value::Object(config), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(config.entry(key).or_insert_with(Default::default), value);
            }
        }
        (config, patch) => *config = patch,
    }
}

fn pair(uri: &str) -> sr25519::Pair {
    sr25519::Pair::from_string(uri, None).unwrap()
}

fn account(pair: &sr25519::Pair) -> AccountId {
    pair.public().into()
}

fn signed(pair: &sr25519::Pair, call: RuntimeCall) -> UncheckedExtrinsic {
    signed_with_tip(pair, call, 0)
}

fn signed_with_tip(pair: &sr25519::Pair, call: RuntimeCall, tip: Balance) -> UncheckedExtrinsic {
    let nonce = System::account_nonce(account(pair));
    let extension: TxExtension = (
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        pallet_proof_of_learning::CheckAdmission::new(),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(tip),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    let payload = SignedPayload::new(call.clone(), extension.clone()).unwrap();
    let signature = payload.using_encoded(|bytes| pair.sign(bytes));
    UncheckedExtrinsic::new_signed(call, account(pair).into(), signature.into(), extension)
}

/// Returns the error that a call would have failed with, had it not been refused before.
fn refusal_reason(refusal: TransactionValidityError) -> DispatchError {
    let TransactionValidityError::Invalid(InvalidTransaction::Custom(code)) = refusal else {
        panic!("the calls have valid signatures: {refusal:?}");
    };
    let index = <ProofOfLearning as PalletInfoAccess>::index() as u8;
    match code {
        u8::MAX => DispatchError::BadOrigin,
        code => {
            let error = [code, 0, 0, 0];
            DispatchError::Module(ModuleError { index, error, message: None })
        }
    }
}

/// Shows the awaited pulse if it is due, as the signer of the development networks does.
fn show_pulse() {
    let Some(awaited) = Beacon::awaited_pulse().filter(|pulse| pulse.randomness.is_none()) else {
        return;
    };
    let now = Timestamp::get() / 1_000;
    if Beacon::beacon().is_some_and(|beacon| beacon.due(awaited.round) <= now) {
        let round = awaited.round;
        let signature = BeaconSecret::development().sign(round).unwrap();
        let call = pallet_pol_beacon::Call::submit_pulse { round, signature };
        let pulse = UncheckedExtrinsic::new_bare(call.into());
        Executive::apply_extrinsic(pulse).unwrap().unwrap();
    }
}

/// Chain whose first authority produces one block in each slot.
struct Chain {
    parent: Hash,
}

impl Chain {
    fn new() -> Self {
        Self { parent: System::block_hash(0) }
    }

    /// Executes the next block. All `calls` must succeed, and the state after the block must be
    /// consistent.
    fn block(&mut self, calls: impl IntoIterator<Item = (sr25519::Pair, RuntimeCall)>) {
        let calls: Vec<_> = calls.into_iter().collect();
        let names: Vec<_> = calls.iter().map(|(_, call)| format!("{call:?}")).collect();
        for (result, name) in self.try_block(calls).into_iter().zip(names) {
            assert_eq!(result, Ok(()), "{name}");
        }
    }

    /// Executes the next block with `calls`, after which the state must be consistent. Returns the
    /// result of each call.
    fn try_block(
        &mut self,
        calls: Vec<(sr25519::Pair, RuntimeCall)>,
    ) -> Vec<Result<(), DispatchError>> {
        let number = System::block_number() + 1;
        let slot = sp_consensus_babe::Slot::from(1_000 + u64::from(number));
        let author = sp_consensus_babe::digests::PreDigest::SecondaryPlain(
            sp_consensus_babe::digests::SecondaryPlainPreDigest { authority_index: 0, slot },
        );
        let digest = Digest {
            logs: vec![DigestItem::PreRuntime(sp_consensus_babe::BABE_ENGINE_ID, author.encode())],
        };
        let header = Header::new(number, Hash::zero(), Hash::zero(), self.parent, digest);
        Executive::initialize_block(&header);
        let now =
            RuntimeCall::Timestamp(pallet_timestamp::Call::set { now: *slot * SLOT_DURATION });
        Executive::apply_extrinsic(UncheckedExtrinsic::new_bare(now)).unwrap().unwrap();
        show_pulse();
        let apply = |(pair, call)| {
            let applied = Executive::apply_extrinsic(signed(&pair, call));
            applied.unwrap_or_else(|refusal| Err(refusal_reason(refusal)))
        };
        let results = calls.into_iter().map(apply).collect();
        self.parent = Executive::finalize_block().hash();
        assert_eq!(check_state().err(), None);
        results
    }

    /// Executes empty blocks until the round is in `phase`.
    fn until(&mut self, phase: Phase) {
        for _ in 0..50 {
            if ProofOfLearning::overview().round.phase == phase {
                return;
            }
            self.block([]);
        }
        panic!("no {phase:?} phase within 50 blocks: {:?}", ProofOfLearning::overview());
    }
}

fn recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 20, cadence: 1 };
    Recipe {
        model: ModelSpec::gpt2(8_192, 128, 4, 4, 512, 128),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 128,
        shard_tokens: 4_096,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 20,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: SEGMENTS,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}

fn manifest() -> ManifestInfo {
    ManifestInfo {
        source: 0,
        merkle_root: [3; 32],
        content_hash: [4; 32],
        tokenizer: recipe().tokenizer,
        shards: SHARDS,
        shard_tokens: recipe().shard_tokens,
        parents: Default::default(),
        quality: MILLION,
        held_out: false,
        derivation: Derivation {
            activity: Activity::Collection,
            tool: ToolName::truncate_from(b"pol-data".to_vec()),
            version: ToolName::truncate_from(b"1".to_vec()),
            configuration: [5; 32],
        },
        documents: Some(Documents { root: [6; 32], count: 1 }),
    }
}

fn bond(role: Role) -> RuntimeCall {
    pallet_pol_staking::Call::bond { role, amount: role.minimum_bond() }.into()
}
