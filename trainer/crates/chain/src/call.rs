// SPDX-License-Identifier: Apache-2.0

//! Calls of participants, and their encoding.

use crate::{AccountId, ChainError};
use codec::{Compact, Encode};
use pol_primitives::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        AuditConfig, AuditId, Binding, Evidence, LeafProof, MAX_AUDITED_SEGMENTS,
        MAX_SERVED_STATES, MAX_SKETCHED_SEGMENTS, SketchedEnd, StateProof,
    },
    data::{ManifestInfo, ShortText, SourceKind},
    member::{Endpoint, Role},
    metrics::ModelMetrics,
    recipe::{Recipe, Tier},
    round::RoundConfig,
    submission::{Reveal, RevealSet, TrainingClaims},
    trace::MerkleProof,
};
use subxt::{
    Metadata, SubstrateConfig,
    client::{ClientAtBlock, OfflineClientAtBlockT},
    error::ExtrinsicError,
    ext::scale_encode::{self, EncodeAsFields, FieldIter, TypeResolver},
    tx::StaticPayload,
};

/// Call of a participant. Pallets and calls are known by name; their indices come from the node's
/// metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `ProofOfLearning.join_round`: leases data for a trainer.
    JoinRound {
        /// Tier of the trainer's machine.
        tier: Tier,
    },
    /// `ProofOfLearning.commit`: commits to an update before it is revealed.
    Commit {
        /// Round that the update is for.
        round: RoundNumber,
        /// Commitment: [`Reveal::commitment`].
        commitment: Hash,
        /// Figures claimed by the trainer.
        claims: TrainingClaims,
    },
    /// `ProofOfLearning.reveal`: reveals an update that was committed to.
    Reveal {
        /// Round that the update is for.
        round: RoundNumber,
        /// Content of the commitment.
        reveal: Reveal,
    },
    /// `ProofOfLearning.attest_head`: attests the next head as a validator.
    AttestHead {
        /// Round that makes the head.
        round: RoundNumber,
        /// Root of the computed head.
        root: Hash,
        /// Updates that the head was computed from.
        included: RevealSet,
    },
    /// `ProofOfLearning.conclude`: takes back the shards of a lease without an update.
    Conclude {
        /// Account of the lease.
        account: AccountId,
    },
    /// `ProofOfLearning.reset_carry`: starts the trainer's next lease with a fresh carry.
    ResetCarry,
    /// `ProofOfLearning.serve_states`: serves the states that the audit of a trainer's update
    /// starts from.
    ServeStates {
        /// Identifier of the audit.
        audit: AuditId,
        /// States of [`Case::served_leaves`](pol_primitives::audit::Case::served_leaves), in
        /// that order.
        states: BoundedVec<StateProof, ConstU32<MAX_SERVED_STATES>>,
    },
    /// `ProofOfLearning.commit_audit`: commits to a validator's findings before they are revealed.
    CommitAudit {
        /// Identifier of the audit.
        audit: AuditId,
        /// Commitment: [`evidence_commitment`](pol_primitives::audit::evidence_commitment).
        commitment: Hash,
    },
    /// `ProofOfLearning.open_segments`: opens the ends of the drawn segments of a trainer's update.
    OpenSegments {
        /// Identifier of the audit.
        audit: AuditId,
        /// Ends of [`Case::opened_leaves`](pol_primitives::audit::Case::opened_leaves), in that
        /// order.
        ends: BoundedVec<LeafProof, ConstU32<MAX_AUDITED_SEGMENTS>>,
    },
    /// `ProofOfLearning.reveal_audit`: reveals the findings that a validator committed to.
    RevealAudit {
        /// Identifier of the audit.
        audit: AuditId,
        /// Findings of the validator.
        evidence: Evidence,
        /// Salt of the commitment.
        salt: Hash,
    },
    /// `ProofOfLearning.open_sketches`: opens the ends of the drawn segments of a trainer's update
    /// under the native profile.
    OpenSketches {
        /// Identifier of the audit.
        audit: AuditId,
        /// Ends of [`Case::opened_leaves`](pol_primitives::audit::Case::opened_leaves), in that
        /// order.
        ends: BoundedVec<(SketchedEnd, MerkleProof), ConstU32<MAX_SKETCHED_SEGMENTS>>,
    },
    /// `ProofOfLearning.reveal_sketches`: reveals the findings that a validator committed to under
    /// the native profile.
    RevealSketches {
        /// Identifier of the audit.
        audit: AuditId,
        /// Findings of the validator.
        evidence: Evidence,
        /// Binding for each finding, about the ends that were opened since.
        bindings: BoundedVec<Binding, ConstU32<MAX_SUBMISSIONS>>,
        /// Salt of the commitment.
        salt: Hash,
    },
    /// `ProofOfLearning.measure_head`: reports a validator's metrics of the newest head.
    MeasureHead {
        /// Round that made the head.
        round: RoundNumber,
        /// Metrics of the head.
        metrics: ModelMetrics,
    },
    /// `ProofOfLearning.settle`: settles the audit of an update by comparing its findings.
    Settle {
        /// Identifier of the audit.
        audit: AuditId,
        /// Trainer of the update.
        trainer: AccountId,
    },
    /// `Rewards.claim`: pays out the account's reward of a round.
    Claim {
        /// Round of the reward.
        round: RoundNumber,
    },
    /// `ProofOfLearning.set_recipe`: sets the recipe, by governance.
    SetRecipe(Recipe),
    /// `ProofOfLearning.set_lengths`: sets the lengths of phases, by governance.
    SetLengths(RoundConfig),
    /// `ProofOfLearning.set_audits`: sets the configuration of audits, by governance.
    SetAudits(AuditConfig),
    /// `PolStaking.bond`: takes a role.
    Bond {
        /// Role to take.
        role: Role,
        /// Amount of the bond.
        amount: Balance,
    },
    /// `PolStaking.bond_extra`: adds to the bond.
    BondExtra {
        /// Amount to add.
        amount: Balance,
    },
    /// `PolStaking.unbond`: gives up the role; the bond stays locked for a while.
    Unbond,
    /// `PolStaking.withdraw`: takes the unlocked bond back.
    Withdraw,
    /// `PolStaking.set_endpoint`: registers the endpoint at which the account serves blobs.
    SetEndpoint {
        /// Endpoint of the account.
        endpoint: Endpoint,
    },
    /// `PolStaking.chill`: suspends a validator that missed too many attest phases.
    Chill {
        /// Account of the validator.
        validator: AccountId,
    },
    /// `PolStaking.unchill`: ends the suspension of the validator that signs.
    Unchill,
    /// `Lineage.register_source`: registers a source of text.
    RegisterSource {
        /// Kind of text.
        kind: SourceKind,
        /// Address where the text was found.
        address: ShortText,
        /// SPDX identifier of the licence.
        licence: ShortText,
    },
    /// `Lineage.register_manifest`: adds shards to the pool.
    RegisterManifest(ManifestInfo),
    /// `Balances.transfer_keep_alive`: transfers tokens.
    Transfer {
        /// Account that receives.
        to: AccountId,
        /// Amount to transfer.
        amount: Balance,
    },
    /// `Sudo.sudo`: dispatches a call as root, on chains that have a sudo key.
    Sudo(Box<Call>),
}

/// Index of the variant `MultiAddress::Id`.
const ADDRESS_ID: u8 = 0;

impl Call {
    /// Wraps this call to be dispatched as root.
    pub fn sudo(self) -> Self {
        Self::Sudo(Box::new(self))
    }

    /// Returns the names of pallet and call.
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

    /// Encodes the arguments, one after the other.
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

    /// Encodes the call for the runtime of `metadata`: pallet index, call index, arguments.
    fn encode(&self, metadata: &Metadata) -> Result<Vec<u8>, ChainError> {
        let (pallet, call) = self.name();
        let found = metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| Some((pallet.call_index(), pallet.call_variant_by_name(call)?)));
        let (pallet_index, variant) = found.ok_or(ChainError::MissingCall { pallet, call })?;
        let mut bytes = vec![pallet_index, variant.index];
        bytes.extend(self.arguments(metadata)?);
        Ok(bytes)
    }

    /// Encodes the call for the runtime of `client`, and checks its arguments against the
    /// metadata.
    pub(crate) fn encode_at<C>(
        &self,
        client: &ClientAtBlock<SubstrateConfig, C>,
    ) -> Result<Vec<u8>, ChainError>
    where
        C: OfflineClientAtBlockT<SubstrateConfig>,
    {
        let bytes = self.encode(client.metadata_ref())?;
        let (pallet, call) = self.name();
        let mismatch = |error: ExtrinsicError| ChainError::ArgumentMismatch {
            pallet,
            call,
            reason: error.to_string(),
        };
        client.tx().from_call_data_bytes(&bytes).map_err(mismatch)?;
        Ok(bytes)
    }

    /// Returns the call as a payload for `subxt` to sign.
    pub(crate) fn payload(
        &self,
        metadata: &Metadata,
    ) -> Result<StaticPayload<Arguments>, ChainError> {
        let (pallet, call) = self.name();
        Ok(StaticPayload::new(pallet, call, Arguments(self.arguments(metadata)?)))
    }
}

/// Arguments that are SCALE-encoded already. The fields in the metadata are ignored.
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
mod tests;
