// SPDX-License-Identifier: Apache-2.0

//! Room in full blocks.

use super::*;
use codec::Encode;
use pallet_proof_of_learning::OperationalCalls;
use sp_runtime::traits::{Hash as _, StaticLookup, Zero};

parameter_types! {
    /// Share of a block's limits from which on deadlines stand still.
    pub const CongestedShare: Perbill = Perbill::from_percent(80);
}

/// Maximum length of a call of the council. No recipe is longer, and an upgrade is proposed by the
/// hash of its code. The code itself is of its own call.
const MAX_COUNCIL_BYTES: usize = 64 * 1_024;

/// Operational calls besides duties that their own account signs: those of its proxy, those of the
/// council's members and of the sudo key, and an authorised upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedCalls;

impl OperationalCalls<Runtime> for ReservedCalls {
    fn proxied<'a>(who: &AccountId, call: &'a RuntimeCall) -> Option<(AccountId, &'a RuntimeCall)> {
        let RuntimeCall::Proxy(pallet_proxy::Call::proxy { real, force_proxy_type, call }) = call
        else {
            return None;
        };
        let real = <Runtime as frame_system::Config>::Lookup::lookup(real.clone()).ok()?;
        let proxy = Proxy::find_proxy(&real, who, *force_proxy_type).ok()?;
        let may = proxy.delay.is_zero() && proxy.proxy_type.filter(call);
        may.then_some((real, &**call))
    }

    fn is_governance(who: &AccountId, call: &RuntimeCall) -> bool {
        match call {
            RuntimeCall::Council(call) => {
                Council::is_member(who) && call.encoded_size() <= MAX_COUNCIL_BYTES
            }
            RuntimeCall::System(frame_system::Call::apply_authorized_upgrade { code }) => {
                // The hash is the first field, and has no accessor in a runtime.
                System::authorized_upgrade().is_some_and(|upgrade| {
                    upgrade.encode().starts_with(BlakeTwo256::hash(code).as_ref())
                })
            }
            RuntimeCall::Sudo(..) => pallet_sudo::Key::<Runtime>::get().as_ref() == Some(who),
            _ => false,
        }
    }
}
