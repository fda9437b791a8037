// SPDX-License-Identifier: Apache-2.0

//! Calls of participants, and their encoding.

use crate::{AccountId, ChainError};
use codec::{Compact, Decode, Encode};
use pol_primitives::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        AuditConfig, AuditId, Binding, Evidence, LeafProof, MAX_AUDITED_SEGMENTS,
        MAX_SERVED_STATES, MAX_SKETCHED_SEGMENTS, SketchedEnd, StateProof,
    },
    beacon::{BeaconConfig, BeaconRound, PulseSignature},
    data::{ManifestId, ManifestInfo, ShortText, SourceId, SourceKind},
    lineage::Retirement,
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
    /// `ProofOfLearning.report_held`: reports the updates that a validator holds.
    ReportHeld {
        /// Round of the updates.
        round: RoundNumber,
        /// Updates that are on this machine and sound.
        held: RevealSet,
    },
    /// `ProofOfLearning.attest_head`: attests the next head as a validator.
    AttestHead {
        /// Round that makes the head.
        round: RoundNumber,
        /// Digest of all that the head was computed from.
        inputs: Hash,
        /// Root of the computed head.
        root: Hash,
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
    SetRecipe(Box<Recipe>),
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
        /// Address where the text was found.
        address: ShortText,
        /// SPDX identifier of the licence.
        licence: ShortText,
    },
    /// `Lineage.register_manifest`: proposes shards for the pool.
    RegisterManifest(Box<ManifestInfo>),
    /// `Lineage.withdraw_manifest`: withdraws a manifest of which no shard was ever leased.
    WithdrawManifest(ManifestId),
    /// `Lineage.withdraw_source`: withdraws a source without manifests.
    WithdrawSource(SourceId),
    /// `Lineage.admit_manifest`: admits a proposed manifest, by governance.
    AdmitManifest {
        /// Proposed manifest.
        manifest: ManifestId,
        /// Kind of its text.
        kind: SourceKind,
    },
    /// `Lineage.pause_manifest`: takes a manifest out of the pool for now, by governance.
    PauseManifest(ManifestId),
    /// `Lineage.resume_manifest`: puts a paused manifest back, by governance.
    ResumeManifest(ManifestId),
    /// `Lineage.retire_manifest`: refuses or retires a manifest, by governance.
    RetireManifest {
        /// Manifest to retire.
        manifest: ManifestId,
        /// Reason, and who is to blame.
        retirement: Retirement,
    },
    /// `Lineage.report_manifest`: reports as a validator that the data cannot be fetched.
    ReportManifest(ManifestId),
    /// `Beacon.submit_pulse`: shows the pulse that a draw waits for, without a signature.
    SubmitPulse {
        /// Round of the pulse.
        round: BeaconRound,
        /// Signature of the beacon.
        signature: PulseSignature,
    },
    /// `Beacon.set_beacon`: replaces the beacon, by governance.
    SetBeacon(Option<BeaconConfig>),
    /// `Balances.transfer_keep_alive`: transfers tokens.
    Transfer {
        /// Account that receives.
        to: AccountId,
        /// Amount to transfer.
        amount: Balance,
    },
    /// `Council.propose`: opens a motion as a member of the council.
    Propose {
        /// Number of votes that the motion needs.
        needed: u32,
        /// Call to decide on.
        call: Box<Call>,
        /// Length of the encoded call in bytes.
        length: u32,
    },
    /// `Council.vote`: votes on a motion as a member of the council.
    Vote {
        /// Hash of the motion's call.
        hash: Hash,
        /// Number of the motion.
        index: u32,
        /// Vote of the member.
        approve: bool,
    },
    /// `Council.close`: has a motion that has its votes executed.
    CloseMotion {
        /// Hash of the motion's call.
        hash: Hash,
        /// Number of the motion.
        index: u32,
        /// Length of the encoded call in bytes.
        length: u32,
    },
    /// `Utility.batch_all`: dispatches calls one after the other, all of them or none.
    Batch(Vec<Call>),
    /// `Whitelist.whitelist_call`: allows the call with this hash to be dispatched as root.
    WhitelistCall(Hash),
    /// `Whitelist.dispatch_whitelisted_call_with_preimage`: dispatches a call as root.
    DispatchWhitelisted(Box<Call>),
    /// `System.authorize_upgrade`: allows the runtime with this hash, as root.
    AuthorizeUpgrade(Hash),
    /// `System.apply_authorized_upgrade`: upgrades to the allowed runtime.
    ApplyUpgrade(Vec<u8>),
    /// `System.remark`: does nothing, with some bytes of no meaning.
    Remark(Vec<u8>),
    /// `Sudo.sudo`: dispatches a call as root, on chains that have a sudo key.
    Sudo(Box<Call>),
    /// `Proxy.proxy`: dispatches a call for an account that the signer is a proxy of.
    AsProxy {
        /// Account that the call is made for.
        principal: AccountId,
        /// Call of the account.
        call: Box<Call>,
    },
    /// `Proxy.add_proxy`: makes an account a proxy of the one that signs, at once.
    AddProxy {
        /// Account that becomes a proxy.
        delegate: AccountId,
        /// Calls that it may make.
        permission: Permission,
    },
    /// `Proxy.remove_proxy`: takes the permission of a proxy back.
    RemoveProxy {
        /// Account that is a proxy.
        delegate: AccountId,
        /// Calls that it may make so far.
        permission: Permission,
    },
}

/// Calls that a proxy may make: the runtime's `ProxyType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Permission {
    /// All calls.
    #[codec(index = 0)]
    Any,
    /// Calls of rounds and audits, claims of rewards, and what keeps a member in its role. It can
    /// neither transfer funds nor change the bond.
    #[codec(index = 1)]
    Learning,
}

/// Wait until a proxy's call takes effect, in blocks.
const PROXY_DELAY: u32 = 0;
/// Permission that a proxy's call asks for: that which the proxy has.
const OWN_PERMISSION: Option<Permission> = None;

/// Index of the variant `MultiAddress::Id`.
const ADDRESS_ID: u8 = 0;
/// Weight that closing a motion reserves for its call: half a second of compute, and a megabyte of
/// proof. The unused part of the fee is paid back.
const MOTION_WEIGHT: (Compact<u64>, Compact<u64>) = (Compact(500_000_000_000), Compact(1 << 20));

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
            Self::ReportHeld { .. } => ("ProofOfLearning", "report_held"),
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
            Self::WithdrawManifest(_) => ("Lineage", "withdraw_manifest"),
            Self::WithdrawSource(_) => ("Lineage", "withdraw_source"),
            Self::AdmitManifest { .. } => ("Lineage", "admit_manifest"),
            Self::PauseManifest(_) => ("Lineage", "pause_manifest"),
            Self::ResumeManifest(_) => ("Lineage", "resume_manifest"),
            Self::RetireManifest { .. } => ("Lineage", "retire_manifest"),
            Self::ReportManifest(_) => ("Lineage", "report_manifest"),
            Self::Propose { .. } => ("Council", "propose"),
            Self::Vote { .. } => ("Council", "vote"),
            Self::CloseMotion { .. } => ("Council", "close"),
            Self::Batch(_) => ("Utility", "batch_all"),
            Self::WhitelistCall(_) => ("Whitelist", "whitelist_call"),
            Self::DispatchWhitelisted(_) => {
                ("Whitelist", "dispatch_whitelisted_call_with_preimage")
            }
            Self::AuthorizeUpgrade(_) => ("System", "authorize_upgrade"),
            Self::ApplyUpgrade(_) => ("System", "apply_authorized_upgrade"),
            Self::SubmitPulse { .. } => ("Beacon", "submit_pulse"),
            Self::SetBeacon(_) => ("Beacon", "set_beacon"),
            Self::Transfer { .. } => ("Balances", "transfer_keep_alive"),
            Self::Remark(_) => ("System", "remark"),
            Self::Sudo(_) => ("Sudo", "sudo"),
            Self::AsProxy { .. } => ("Proxy", "proxy"),
            Self::AddProxy { .. } => ("Proxy", "add_proxy"),
            Self::RemoveProxy { .. } => ("Proxy", "remove_proxy"),
        }
    }

    /// Encodes the arguments, one after the other.
    fn arguments(&self, metadata: &Metadata) -> Result<Vec<u8>, ChainError> {
        Ok(match self {
            Self::JoinRound { tier } => tier.encode(),
            Self::Commit { round, commitment, claims } => (round, commitment, claims).encode(),
            Self::Reveal { round, reveal } => (round, reveal).encode(),
            Self::ReportHeld { round, held } => (round, held).encode(),
            Self::AttestHead { round, inputs, root } => (round, inputs, root).encode(),
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
            Self::RegisterSource { address, licence } => (address, licence).encode(),
            Self::RegisterManifest(info) => info.encode(),
            Self::AdmitManifest { manifest, kind } => (manifest, kind).encode(),
            Self::WithdrawManifest(manifest)
            | Self::PauseManifest(manifest)
            | Self::ResumeManifest(manifest)
            | Self::ReportManifest(manifest) => manifest.encode(),
            Self::WithdrawSource(source) => source.encode(),
            Self::RetireManifest { manifest, retirement } => (manifest, retirement).encode(),
            Self::Propose { needed, call, length } => {
                [Compact(*needed).encode(), call.encode(metadata)?, Compact(*length).encode()]
                    .concat()
            }
            Self::Vote { hash, index, approve } => (hash, Compact(*index), approve).encode(),
            Self::CloseMotion { hash, index, length } => {
                (hash, Compact(*index), MOTION_WEIGHT, Compact(*length)).encode()
            }
            Self::Batch(calls) => {
                let mut bytes = Compact(calls.len() as u32).encode();
                for call in calls {
                    bytes.extend(call.encode(metadata)?);
                }
                bytes
            }
            Self::WhitelistCall(hash) | Self::AuthorizeUpgrade(hash) => hash.encode(),
            Self::DispatchWhitelisted(call) => call.encode(metadata)?,
            Self::ApplyUpgrade(code) => code.encode(),
            Self::SubmitPulse { round, signature } => (round, signature).encode(),
            Self::SetBeacon(beacon) => beacon.encode(),
            Self::Transfer { to, amount } => (ADDRESS_ID, to, Compact(*amount)).encode(),
            Self::Remark(bytes) => bytes.encode(),
            Self::Sudo(call) => call.encode(metadata)?,
            Self::AsProxy { principal, call } => {
                let target = (ADDRESS_ID, principal, OWN_PERMISSION).encode();
                [target, call.encode(metadata)?].concat()
            }
            Self::AddProxy { delegate, permission }
            | Self::RemoveProxy { delegate, permission } => {
                (ADDRESS_ID, delegate, permission, PROXY_DELAY).encode()
            }
            Self::ResetCarry | Self::Unbond | Self::Withdraw | Self::Unchill => Vec::new(),
        })
    }

    /// Returns the duty that the call fulfils, as a call, or `None` if each such call is meant to
    /// take effect. Claims of a commitment and the amount by which a bond is raised may change
    /// until the call is included.
    pub(crate) fn duty(&self) -> Option<Self> {
        match self {
            Self::Commit { round, commitment, .. } => Some(Self::Commit {
                round: *round,
                commitment: *commitment,
                claims: TrainingClaims::default(),
            }),
            Self::BondExtra { .. } => Some(Self::BondExtra { amount: 0 }),
            Self::Transfer { .. } | Self::Remark(_) | Self::Sudo(_) => None,
            Self::AsProxy { principal, call } => {
                Some(Self::AsProxy { principal: *principal, call: Box::new(call.duty()?) })
            }
            duty => Some(duty.clone()),
        }
    }

    /// Returns `true` if the chain accepts such a call once, however often it is signed.
    pub(crate) fn takes_effect_once(&self) -> bool {
        match self {
            Self::AsProxy { call, .. } => call.takes_effect_once(),
            Self::BondExtra { .. } | Self::RegisterSource { .. } | Self::Propose { .. } => false,
            call => call.duty().is_some(),
        }
    }

    /// Returns `true` if blocks reserve room for the call, since its deadline is a member's duty.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::AsProxy { call, .. } => call.has_room(),
            Self::Commit { .. }
            | Self::Reveal { .. }
            | Self::ReportHeld { .. }
            | Self::AttestHead { .. }
            | Self::ServeStates { .. }
            | Self::CommitAudit { .. }
            | Self::OpenSegments { .. }
            | Self::RevealAudit { .. }
            | Self::OpenSketches { .. }
            | Self::RevealSketches { .. } => true,
            _ => false,
        }
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
