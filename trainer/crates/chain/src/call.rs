//! The calls a participant makes, and how they are encoded.

use crate::{AccountId, ChainError};
use codec::{Compact, Encode};
use pol_primitives::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{AuditConfig, AuditId, Evidence, MAX_AUDITED, MAX_SERVED, OpenedEnd, Served},
    data::{ManifestInfo, SourceKind, Text},
    metrics::ModelMetrics,
    peer::{Endpoint, Role},
    recipe::{Recipe, Tier},
    round::RoundConfig,
    sketch::{Binding, MAX_SKETCHED, SketchedEnd},
    submission::{Claims, Included, Reveal},
    trace::Proof,
};
use subxt::{
    Metadata, SubstrateConfig,
    client::{ClientAtBlock, OfflineClientAtBlockT},
    error::ExtrinsicError,
    ext::scale_encode::{self, EncodeAsFields, FieldIter, TypeResolver},
    tx::StaticPayload,
};

/// An extrinsic. Pallets and calls are known by name; their indices come from the node's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `ProofOfLearning.join_round`: leases data for a trainer.
    JoinRound {
        /// The class of the trainer's machine.
        tier: Tier,
    },
    /// `ProofOfLearning.commit`: binds the trainer's work before it is shown.
    Commit {
        /// The round the work is for.
        round: RoundNumber,
        /// [`Reveal::commitment`].
        commitment: Hash,
        /// The trainer's own figures.
        claims: Claims,
    },
    /// `ProofOfLearning.reveal`: opens a commitment.
    Reveal {
        /// The round the work is for.
        round: RoundNumber,
        /// What the commitment binds.
        reveal: Reveal,
    },
    /// `ProofOfLearning.attest_head`: a validator's word for the next head.
    AttestHead {
        /// The round that makes the head.
        round: RoundNumber,
        /// Root of the head computed.
        root: Hash,
        /// The updates it was computed from.
        included: Included,
    },
    /// `ProofOfLearning.conclude`: takes back the shards of an account's lease that came to
    /// nothing.
    Conclude {
        /// The account.
        account: AccountId,
    },
    /// `ProofOfLearning.reset_carry`: the trainer starts its next lease with a fresh carry.
    ResetCarry,
    /// `ProofOfLearning.serve_states`: shows the states that the audit of a trainer's update starts
    /// from.
    ServeStates {
        /// The audit.
        audit: AuditId,
        /// The states of [`Case::served_leaves`](pol_primitives::audit::Case::served_leaves), in
        /// that order.
        states: BoundedVec<Served, ConstU32<MAX_SERVED>>,
    },
    /// `ProofOfLearning.commit_audit`: binds what a validator found in its seats before it is
    /// shown.
    CommitAudit {
        /// The audit.
        audit: AuditId,
        /// [`evidence_commitment`](pol_primitives::audit::evidence_commitment).
        commitment: Hash,
    },
    /// `ProofOfLearning.open_segments`: opens the ends of the drawn segments of a trainer's update.
    OpenSegments {
        /// The audit.
        audit: AuditId,
        /// The ends of [`Case::opened_leaves`](pol_primitives::audit::Case::opened_leaves), in that
        /// order.
        ends: BoundedVec<OpenedEnd, ConstU32<MAX_AUDITED>>,
    },
    /// `ProofOfLearning.reveal_audit`: opens what a validator committed to.
    RevealAudit {
        /// The audit.
        audit: AuditId,
        /// What it found.
        evidence: Evidence,
        /// What hid it.
        salt: Hash,
    },
    /// `ProofOfLearning.open_sketches`: opens the ends of the drawn segments of a trainer's update
    /// under the native profile.
    OpenSketches {
        /// The audit.
        audit: AuditId,
        /// The ends of [`Case::opened_leaves`](pol_primitives::audit::Case::opened_leaves), in that
        /// order.
        ends: BoundedVec<(SketchedEnd, Proof), ConstU32<MAX_SKETCHED>>,
    },
    /// `ProofOfLearning.reveal_sketches`: opens what a validator committed to under the native
    /// profile.
    RevealSketches {
        /// The audit.
        audit: AuditId,
        /// What it found.
        evidence: Evidence,
        /// For each finding, what it says of the ends that were opened since.
        bindings: BoundedVec<Binding, ConstU32<MAX_SUBMISSIONS>>,
        /// What hid it.
        salt: Hash,
    },
    /// `ProofOfLearning.measure_head`: says what a validator measured of the newest head.
    MeasureHead {
        /// The round that made the head.
        round: RoundNumber,
        /// What it measured.
        metrics: ModelMetrics,
    },
    /// `ProofOfLearning.settle`: lets the chain compare what was found of an update.
    Settle {
        /// The audit.
        audit: AuditId,
        /// Whose update it is.
        trainer: AccountId,
    },
    /// `Rewards.claim`: pays out what the account earned in a round.
    Claim {
        /// The round.
        round: RoundNumber,
    },
    /// `ProofOfLearning.set_recipe`, by governance.
    SetRecipe(Recipe),
    /// `ProofOfLearning.set_lengths`, by governance.
    SetLengths(RoundConfig),
    /// `ProofOfLearning.set_audits`, by governance.
    SetAudits(AuditConfig),
    /// `PolStaking.bond`: takes a role.
    Bond {
        /// The role.
        role: Role,
        /// The bond.
        amount: Balance,
    },
    /// `PolStaking.bond_extra`: adds to the bond.
    BondExtra {
        /// What is added.
        amount: Balance,
    },
    /// `PolStaking.unbond`: gives up the role; the bond stays locked for a while.
    Unbond,
    /// `PolStaking.withdraw`: takes the unlocked bond back.
    Withdraw,
    /// `PolStaking.set_endpoint`: where the account serves blobs.
    SetEndpoint {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// `PolStaking.chill`: sets a validator aside that missed too many attest phases.
    Chill {
        /// The validator.
        validator: AccountId,
    },
    /// `PolStaking.unchill`: the validator takes part again.
    Unchill,
    /// `Lineage.register_source`: says where text comes from.
    RegisterSource {
        /// What kind of text.
        kind: SourceKind,
        /// Where it was found.
        address: Text,
        /// SPDX identifier of its licence.
        licence: Text,
    },
    /// `Lineage.register_manifest`: adds shards to the pool.
    RegisterManifest(ManifestInfo),
    /// `Balances.transfer_keep_alive`.
    Transfer {
        /// Who receives.
        to: AccountId,
        /// How much.
        amount: Balance,
    },
    /// `Sudo.sudo`: a call as root, on chains that have a sudo key.
    Sudo(Box<Call>),
}

/// Index of `MultiAddress::Id`.
const ADDRESS_ID: u8 = 0;

impl Call {
    /// This call as root.
    pub fn sudo(self) -> Self {
        Self::Sudo(Box::new(self))
    }

    /// The names of its pallet and call.
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            Self::JoinRound { .. } => ("ProofOfLearning", "join_round"),
            Self::Commit { .. } => ("ProofOfLearning", "commit"),
            Self::Reveal { .. } => ("ProofOfLearning", "reveal"),
            Self::AttestHead { .. } => ("ProofOfLearning", "attest_head"),
            Self::Conclude { .. } => ("ProofOfLearning", "conclude"),
            Self::ResetCarry => ("ProofOfLearning", "reset_carry"),
            Self::ServeStates { .. } => ("ProofOfLearning", "serve_states"),
            Self::CommitAudit { .. } => ("ProofOfLearning", "commit_audit"),
            Self::OpenSegments { .. } => ("ProofOfLearning", "open_segments"),
            Self::RevealAudit { .. } => ("ProofOfLearning", "reveal_audit"),
            Self::OpenSketches { .. } => ("ProofOfLearning", "open_sketches"),
            Self::RevealSketches { .. } => ("ProofOfLearning", "reveal_sketches"),
            Self::MeasureHead { .. } => ("ProofOfLearning", "measure_head"),
            Self::Settle { .. } => ("ProofOfLearning", "settle"),
            Self::Claim { .. } => ("Rewards", "claim"),
            Self::SetRecipe(_) => ("ProofOfLearning", "set_recipe"),
            Self::SetLengths(_) => ("ProofOfLearning", "set_lengths"),
            Self::SetAudits(_) => ("ProofOfLearning", "set_audits"),
            Self::Bond { .. } => ("PolStaking", "bond"),
            Self::BondExtra { .. } => ("PolStaking", "bond_extra"),
            Self::Unbond => ("PolStaking", "unbond"),
            Self::Withdraw => ("PolStaking", "withdraw"),
            Self::SetEndpoint { .. } => ("PolStaking", "set_endpoint"),
            Self::Chill { .. } => ("PolStaking", "chill"),
            Self::Unchill => ("PolStaking", "unchill"),
            Self::RegisterSource { .. } => ("Lineage", "register_source"),
            Self::RegisterManifest(_) => ("Lineage", "register_manifest"),
            Self::Transfer { .. } => ("Balances", "transfer_keep_alive"),
            Self::Sudo(_) => ("Sudo", "sudo"),
        }
    }

    /// Its arguments, one after the other.
    fn arguments(&self, metadata: &Metadata) -> Result<Vec<u8>, ChainError> {
        Ok(match self {
            Self::JoinRound { tier } => tier.encode(),
            Self::Commit { round, commitment, claims } => (round, commitment, claims).encode(),
            Self::Reveal { round, reveal } => (round, reveal).encode(),
            Self::AttestHead { round, root, included } => (round, root, included).encode(),
            Self::Conclude { account } => account.encode(),
            Self::ServeStates { audit, states } => (audit, states).encode(),
            Self::CommitAudit { audit, commitment } => (audit, commitment).encode(),
            Self::OpenSegments { audit, ends } => (audit, ends).encode(),
            Self::RevealAudit { audit, evidence, salt } => (audit, evidence, salt).encode(),
            Self::OpenSketches { audit, ends } => (audit, ends).encode(),
            Self::RevealSketches { audit, evidence, bindings, salt } => {
                (audit, evidence, bindings, salt).encode()
            }
            Self::MeasureHead { round, metrics } => (round, metrics).encode(),
            Self::Settle { audit, trainer } => (audit, trainer).encode(),
            Self::Claim { round } => round.encode(),
            Self::SetRecipe(recipe) => recipe.encode(),
            Self::SetLengths(config) => config.encode(),
            Self::SetAudits(config) => config.encode(),
            Self::Bond { role, amount } => (role, amount).encode(),
            Self::BondExtra { amount } => amount.encode(),
            Self::SetEndpoint { endpoint } => endpoint.encode(),
            Self::Chill { validator } => validator.encode(),
            Self::RegisterSource { kind, address, licence } => (kind, address, licence).encode(),
            Self::RegisterManifest(info) => info.encode(),
            Self::Transfer { to, amount } => (ADDRESS_ID, to, Compact(*amount)).encode(),
            Self::Sudo(call) => call.encode(metadata)?,
            Self::ResetCarry | Self::Unbond | Self::Withdraw | Self::Unchill => Vec::new(),
        })
    }

    /// The call as the runtime of `metadata` reads it: pallet index, call index, arguments.
    fn encode(&self, metadata: &Metadata) -> Result<Vec<u8>, ChainError> {
        let (pallet, call) = self.name();
        let found = metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| Some((pallet.call_index(), pallet.call_variant_by_name(call)?)));
        let (pallet_index, variant) = found.ok_or(ChainError::OldNode { pallet, call })?;
        let mut bytes = vec![pallet_index, variant.index];
        bytes.extend(self.arguments(metadata)?);
        Ok(bytes)
    }

    /// The call as the runtime of `client` reads it, checked to have the arguments that its
    /// metadata describes.
    pub(crate) fn encode_at<C>(
        &self,
        client: &ClientAtBlock<SubstrateConfig, C>,
    ) -> Result<Vec<u8>, ChainError>
    where
        C: OfflineClientAtBlockT<SubstrateConfig>,
    {
        let bytes = self.encode(client.metadata_ref())?;
        let (pallet, call) = self.name();
        let differ = |error: ExtrinsicError| ChainError::OtherArguments {
            pallet,
            call,
            reason: error.to_string(),
        };
        client.tx().from_call_data_bytes(&bytes).map_err(differ)?;
        Ok(bytes)
    }

    /// The call for `subxt` to sign.
    pub(crate) fn payload(
        &self,
        metadata: &Metadata,
    ) -> Result<StaticPayload<Arguments>, ChainError> {
        let (pallet, call) = self.name();
        Ok(StaticPayload::new(pallet, call, Arguments(self.arguments(metadata)?)))
    }
}

/// Arguments that are SCALE-encoded already, whatever fields the metadata describes.
pub(crate) struct Arguments(Vec<u8>);

impl EncodeAsFields for Arguments {
    fn encode_as_fields_to<R: TypeResolver>(
        &self,
        _fields: &mut dyn FieldIter<'_, R::TypeId>,
        _types: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), scale_encode::Error> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        audit::{Finding, Measure, ServedState},
        metrics::ClaimedMetrics,
        peer::Address,
        trace::{Carry, Proof},
    };
    use proptest::prelude::*;
    use scale_info::{TypeInfo, meta_type};
    use std::sync::Arc;
    use subxt::{
        OfflineClient, OfflineClientAtBlock,
        config::substrate::SpecVersionForRange,
        ext::frame_metadata::v16::{
            CustomMetadata, EnumDeprecationInfo, ExtrinsicMetadata, ItemDeprecationInfo,
            OuterEnums, PalletCallMetadata, PalletMetadata, RuntimeMetadataV16,
        },
    };

    /// Calls of a runtime whose indices are none of the usual ones.
    #[expect(dead_code, non_camel_case_types, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum Learning {
        #[codec(index = 7)]
        commit { round: RoundNumber, commitment: Hash, claims: Claims },
        #[codec(index = 9)]
        reveal { round: RoundNumber, reveal: Reveal },
        #[codec(index = 11)]
        attest_head { round: RoundNumber, root: Hash, included: Included },
        #[codec(index = 13)]
        set_lengths { lengths: RoundConfig },
        #[codec(index = 17)]
        serve_states { audit: AuditId, states: BoundedVec<Served, ConstU32<MAX_SERVED>> },
        #[codec(index = 19)]
        commit_audit { audit: AuditId, commitment: Hash },
        #[codec(index = 21)]
        open_segments { audit: AuditId, ends: BoundedVec<OpenedEnd, ConstU32<MAX_AUDITED>> },
        #[codec(index = 23)]
        reveal_audit { audit: AuditId, evidence: Evidence, salt: Hash },
        #[codec(index = 25)]
        settle { audit: AuditId, trainer: AccountId },
        #[codec(index = 27)]
        set_audits { config: AuditConfig },
        #[codec(index = 29)]
        measure_head { round: RoundNumber, metrics: ModelMetrics },
        /// With another argument than this program's.
        #[codec(index = 15)]
        join_round { tier: u32 },
    }

    #[expect(dead_code, non_camel_case_types, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum Staking {
        #[codec(index = 0)]
        bond { role: Role, amount: Balance },
        #[codec(index = 4)]
        set_endpoint { endpoint: Endpoint },
        #[codec(index = 6)]
        unchill,
    }

    #[expect(dead_code, non_camel_case_types, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum Rewards {
        #[codec(index = 3)]
        claim { round: RoundNumber },
    }

    #[expect(dead_code, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum MultiAddress {
        Id(AccountId),
        Raw(Vec<u8>),
    }

    #[expect(dead_code, non_camel_case_types, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum Balances {
        #[codec(index = 3)]
        transfer_keep_alive {
            dest: MultiAddress,
            #[codec(compact)]
            value: Balance,
        },
    }

    #[expect(dead_code, non_camel_case_types, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum Sudo {
        #[codec(index = 1)]
        sudo { call: RuntimeCall },
    }

    #[expect(dead_code, reason = "metadata is made of the names alone")]
    #[derive(TypeInfo)]
    enum RuntimeCall {
        #[codec(index = 40)]
        ProofOfLearning(Learning),
        #[codec(index = 41)]
        Staking(Staking),
        #[codec(index = 42)]
        Rewards(Rewards),
        #[codec(index = 5)]
        Balances(Balances),
    }

    fn runtime() -> OfflineClientAtBlock<SubstrateConfig> {
        let pallet = |name, index, calls| PalletMetadata {
            name,
            index,
            calls: Some(PalletCallMetadata {
                ty: calls,
                deprecation_info: EnumDeprecationInfo::nothing_deprecated(),
            }),
            storage: None,
            event: None,
            constants: Vec::new(),
            error: None,
            associated_types: Vec::new(),
            view_functions: Vec::new(),
            docs: Vec::new(),
            deprecation_info: ItemDeprecationInfo::NotDeprecated,
        };
        let metadata = RuntimeMetadataV16::new(
            vec![
                pallet("ProofOfLearning", 40, meta_type::<Learning>()),
                pallet("PolStaking", 41, meta_type::<Staking>()),
                pallet("Rewards", 42, meta_type::<Rewards>()),
                pallet("Balances", 5, meta_type::<Balances>()),
                pallet("Sudo", 255, meta_type::<Sudo>()),
            ],
            ExtrinsicMetadata {
                versions: vec![4],
                address_ty: meta_type::<MultiAddress>(),
                call_ty: meta_type::<RuntimeCall>(),
                signature_ty: meta_type::<()>(),
                transaction_extensions_by_version: Default::default(),
                transaction_extensions: Vec::new(),
            },
            Vec::new(),
            OuterEnums {
                call_enum_ty: meta_type::<RuntimeCall>(),
                event_enum_ty: meta_type::<()>(),
                error_enum_ty: meta_type::<()>(),
            },
            CustomMetadata { map: Default::default() },
        );
        let config = SubstrateConfig::builder()
            .set_metadata_for_spec_versions([(1, Arc::new(Metadata::from_v16(metadata).unwrap()))])
            .set_spec_version_for_block_ranges([SpecVersionForRange {
                block_range: 0..1,
                spec_version: 1,
                transaction_version: 1,
            }])
            .build();
        OfflineClient::new_with_config(config).at_block(0u64).unwrap()
    }

    #[track_caller]
    fn check(call: Call, parts: &[&[u8]]) {
        assert_eq!(hex::encode(call.encode_at(&runtime()).unwrap()), hex::encode(parts.concat()));
    }

    #[test]
    fn arguments_follow_each_other_in_the_order_of_the_call() {
        let measured = ModelMetrics { loss: 5, coherence: Some(0x0203), ..ModelMetrics::default() };
        // A loss, then seven shares of which the fourth is there.
        let bytes: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 1, 3, 2, 0, 0, 0, 0, 0];
        check(
            Call::MeasureHead { round: 8, metrics: measured },
            &[&[40, 29], &[8, 0, 0, 0], bytes],
        );
        let metrics = Some(ClaimedMetrics { round: 7, metrics: measured });
        let claims =
            Claims { first_loss: 1, last_loss: 2, tokens_per_second: 0x0102_0304, metrics };
        check(
            Call::Commit { round: 6, commitment: [9; 32], claims },
            &[
                &[40, 7],
                &[6, 0, 0, 0],
                &[9; 32],
                &[1, 0, 0, 0, 2, 0, 0, 0, 4, 3, 2, 1],
                &[1, 7, 0, 0, 0],
                bytes,
            ],
        );
        let included = Included::from_indices([0, 9]);
        check(
            Call::AttestHead { round: 1, root: [8; 32], included },
            &[&[40, 11], &[1, 0, 0, 0], &[8; 32], &[2 << 2, 0b1, 0b10]],
        );
        let reveal = Reveal {
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [3; 32],
            steps: 20,
            first_leaf: Proof::truncate_from(vec![[4; 32]]),
            salt: [5; 32],
        };
        check(
            Call::Reveal { round: 2, reveal },
            &[
                &[40, 9],
                &[2, 0, 0, 0],
                &[1; 32],
                &[2; 32],
                &[3; 32],
                &[20, 0],
                &[1 << 2],
                &[4; 32],
                &[5; 32],
            ],
        );
        let endpoint = Endpoint {
            id: [7; 32],
            addresses: vec![Address::V4([127, 0, 0, 1], 0x1234)].try_into().unwrap(),
        };
        check(
            Call::SetEndpoint { endpoint },
            &[&[41, 4], &[7; 32], &[1 << 2, 0, 127, 0, 0, 1, 0x34, 0x12]],
        );
        check(
            Call::Bond { role: Role::Validator, amount: 5 },
            &[&[41, 0], &[1], &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
        );
        check(Call::Unchill, &[&[41, 6]]);
    }

    #[test]
    fn what_an_audit_asks_for_is_encoded_as_the_chain_reads_it() {
        let proof = Proof::truncate_from(vec![[4; 32]]);
        let carry =
            Carry { first_moment: [1; 32], second_moment: [2; 32], feedback: [3; 32], steps: 7 };
        let state = ServedState { leaf: 5, root: [9; 32], carry };
        let states = BoundedVec::truncate_from(vec![Served { state, proof: proof.clone() }]);
        check(
            Call::ServeStates { audit: 6, states },
            &[
                &[40, 17, 6, 0, 0, 0, 1 << 2, 5, 0],
                &[9; 32],
                &[1; 32],
                &[2; 32],
                &[3; 32],
                &[7, 0, 0, 0, 0, 0, 0, 0],
                &[1 << 2],
                &[4; 32],
            ],
        );
        check(
            Call::CommitAudit { audit: 6, commitment: [8; 32] },
            &[&[40, 19, 6, 0, 0, 0], &[8; 32]],
        );
        let ends = BoundedVec::truncate_from(vec![OpenedEnd { digest: [2; 32], proof }]);
        check(
            Call::OpenSegments { audit: 6, ends },
            &[&[40, 21, 6, 0, 0, 0, 1 << 2], &[2; 32], &[1 << 2], &[4; 32]],
        );
        let measure = Measure {
            gain: -1,
            error: 2,
            own: 3,
            quality: 4,
            shards: BoundedVec::truncate_from(vec![5]),
        };
        let replayed = Finding::Replayed {
            ends: BoundedVec::truncate_from(vec![[7; 32]]),
            packed: true,
            measure,
        };
        let evidence = Evidence::truncate_from(vec![(0, replayed), (3, Finding::Unavailable)]);
        check(
            Call::RevealAudit { audit: 6, evidence, salt: [8; 32] },
            &[
                &[40, 23, 6, 0, 0, 0, 2 << 2],
                &[0, 0, 1 << 2],
                &[7; 32],
                &[
                    1,
                    0xff,
                    0xff,
                    0xff,
                    0xff,
                    2,
                    0,
                    0,
                    0,
                    3,
                    0,
                    0,
                    0,
                    4,
                    0,
                    0,
                    0,
                    1 << 2,
                    5,
                    0,
                    0,
                    0,
                ],
                &[3, 2],
                &[8; 32],
            ],
        );
        check(Call::Settle { audit: 6, trainer: [5; 32] }, &[&[40, 25, 6, 0, 0, 0], &[5; 32]]);
        check(Call::Claim { round: 9 }, &[&[42, 3, 9, 0, 0, 0]]);
        let config = AuditConfig { mix: 5, escrow: 0x0102, ..AuditConfig::default() };
        check(
            Call::SetAudits(config),
            &[
                &[40, 27],
                &[3, 7, 1, 4],
                &[5, 0, 0, 0],
                &[20, 0, 0, 0, 100, 0, 0, 0, 20, 0, 0, 0, 20, 0, 0, 0, 2, 1, 0, 0],
            ],
        );
    }

    #[test]
    fn a_transfer_is_compact_and_sudo_wraps_a_whole_call() {
        let transfer = Call::Transfer { to: [6; 32], amount: 1_000 };
        // 1,000 in SCALE's two-byte mode: 1,000 · 4 + 1.
        let bytes: [&[u8]; 4] = [&[5, 3], &[0], &[6; 32], &[0xa1, 0x0f]];
        check(transfer.clone(), &bytes);
        check(transfer.sudo(), &[&[255, 1], &bytes.concat()]);
    }

    #[test]
    fn calls_the_runtime_lacks_are_named() {
        let runtime = runtime();
        let old = |call: Call| match call.encode_at(&runtime) {
            Err(ChainError::OldNode { pallet, call }) => (pallet, call),
            other => panic!("{other:?}"),
        };
        assert_eq!(old(Call::Unbond), ("PolStaking", "unbond"));
        assert_eq!(
            old(Call::RegisterSource {
                kind: SourceKind::Web,
                address: Text::new(),
                licence: Text::new()
            })
            .0,
            "Lineage"
        );
        assert_eq!(old(Call::ResetCarry.sudo()), ("ProofOfLearning", "reset_carry"));
    }

    #[test]
    fn other_arguments_are_noticed_before_anything_is_signed() {
        let error = Call::JoinRound { tier: Tier::Whale }.encode_at(&runtime()).unwrap_err();
        assert!(
            matches!(
                error,
                ChainError::OtherArguments { pallet: "ProofOfLearning", call: "join_round", .. }
            ),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn every_amount_fits_the_runtime(to: AccountId, amount: Balance) {
            let call = Call::Transfer { to, amount };
            let bytes = call.encode_at(&runtime()).unwrap();
            prop_assert_eq!(&bytes[2..], &(ADDRESS_ID, to, Compact(amount)).encode()[..]);
        }

        #[test]
        fn every_set_fits_the_runtime(round: RoundNumber, root: Hash, indices: Vec<u8>) {
            let call = Call::AttestHead { round, root, included: Included::from_indices(indices) };
            prop_assert!(call.encode_at(&runtime()).is_ok());
        }
    }
}
