// SPDX-License-Identifier: Apache-2.0

//! Governance: root in the development preset, elsewhere two thirds of the authorities.

use super::*;
use frame_support::traits::{ChangeMembers, EitherOfDiverse};
use frame_system::{EnsureNever, EnsureRoot};
use pallet_collective::{EnsureProportionAtLeast, PrimeDefaultVote};

/// Instance of the collective whose members are the elected authorities.
pub type AuthorityCouncil = pallet_collective::Instance1;

/// Origin of governance: root, or two thirds of the council.
pub type GovernanceOrigin = EitherOfDiverse<
    EnsureRoot<AccountId>,
    EnsureProportionAtLeast<AccountId, AuthorityCouncil, 2, 3>,
>;

/// Returns the number of votes that a motion needs.
///
/// A motion that asked for fewer could be rejected by nearly all members only. One member could
/// thus keep all places of motions taken.
pub(super) fn votes_needed() -> u32 {
    let members = pallet_collective::Members::<Runtime, AuthorityCouncil>::get().len();
    pol_primitives::election::votes_needed(members)
}

parameter_types! {
    /// Maximum weight of a call that the council decides on: half a block.
    pub MaxProposalWeight: Weight =
        Perbill::from_percent(50) * RuntimeBlockWeights::get().max_block;
}

impl pallet_collective::Config<AuthorityCouncil> for Runtime {
    type RuntimeOrigin = RuntimeOrigin;
    type Proposal = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type MotionDuration = ConstU32<{ 3 * DAYS }>;
    type MaxProposals = ConstU32<32>;
    type MaxMembers = MaxAuthorities;
    type DefaultVote = PrimeDefaultVote;
    type WeightInfo = pallet_collective::weights::SubstrateWeight<Runtime>;
    // Members follow elections only.
    type SetMembersOrigin = EnsureNever<()>;
    type MaxProposalWeight = MaxProposalWeight;
    type DisapproveOrigin = GovernanceOrigin;
    type KillOrigin = GovernanceOrigin;
    // Members are bonded authorities, and the number of motions is bounded.
    type Consideration = ();
}

/// The council dispatches calls as root that no other origin may, such as an upgrade: it whitelists
/// the hash of a call and dispatches that call in one batch.
impl pallet_whitelist::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type WhitelistOrigin = GovernanceOrigin;
    type DispatchWhitelistedOrigin = GovernanceOrigin;
    // The batch holds the call itself.
    type Preimages = ();
    type DeferredDispatchExpiration = ConstU32<{ 3 * DAYS }>;
    type BlockNumberProvider = System;
    type WeightInfo = pallet_whitelist::weights::SubstrateWeight<Runtime>;
}

/// Makes the elected authorities the members of the council.
pub(super) fn seat_council(elected: &[AccountId]) {
    let mut members = elected.to_vec();
    members.sort_unstable();
    Council::set_members_sorted(
        &members,
        &pallet_collective::Members::<Runtime, AuthorityCouncil>::get(),
    );
}
