// SPDX-License-Identifier: Apache-2.0

//! Transaction extension that refuses calls before a block includes them.

use crate::{Call, Config, Error, Pallet, weights::WeightInfo};
use codec::{Decode, DecodeWithMemTracking, Encode};
use core::marker::PhantomData;
use polkadot_sdk::{
    frame_support::{
        CloneNoBound, DebugNoBound, DefaultNoBound, EqNoBound, PartialEqNoBound,
        dispatch::{DispatchClass, DispatchInfo, GetDispatchInfo},
        pallet_prelude::{TransactionSource, Weight},
        traits::{GetCallIndex, IsSubType, OriginTrait},
    },
    frame_system,
    sp_runtime::{
        DispatchError,
        traits::{DispatchInfoOf, Dispatchable, TransactionExtension, ValidateResult},
        transaction_validity::{
            InvalidTransaction, TransactionPriority, TransactionValidityError, ValidTransaction,
        },
    },
};
use scale_info::TypeInfo;

type RuntimeCallOf<T> = <T as frame_system::Config>::RuntimeCall;
type AccountOf<T> = <T as frame_system::Config>::AccountId;

/// Priority of calls in the room that blocks reserve. No tip below ten thousand POL reaches it.
const RESERVED_PRIORITY: TransactionPriority = TransactionPriority::MAX;
/// Priority of calls of governance: after those of duties, and before calls with tips below five
/// thousand POL. What their fees add must not make them duties' equals.
const GOVERNANCE_PRIORITY: TransactionPriority = RESERVED_PRIORITY / 2;
/// Prefix of the tag of duties.
const DUTY_TAG: &[u8; 8] = b"pol/duty";
/// Code of a refusal for another reason than an error of the pallet.
const OTHER_REASON: u8 = u8::MAX;

/// Operational calls of other pallets.
pub trait OperationalCalls<T: Config> {
    /// Returns the account that `who` acts for, and the call that it makes, if `call` is that of a
    /// proxy with the permission to make it.
    fn proxied<'a>(
        who: &AccountOf<T>,
        call: &'a RuntimeCallOf<T>,
    ) -> Option<(AccountOf<T>, &'a RuntimeCallOf<T>)>;

    /// Returns `true` if `call` is one of governance, and `who` a part of it.
    fn is_governance(who: &AccountOf<T>, call: &RuntimeCallOf<T>) -> bool;
}

impl<T: Config> OperationalCalls<T> for () {
    fn proxied<'a>(
        _: &AccountOf<T>,
        _: &'a RuntimeCallOf<T>,
    ) -> Option<(AccountOf<T>, &'a RuntimeCallOf<T>)> {
        None
    }

    fn is_governance(_: &AccountOf<T>, _: &RuntimeCallOf<T>) -> bool {
        false
    }
}

/// Check that a call of this pallet can succeed, before a block includes it.
///
/// A refused call costs no fee and takes no room. [`Call`]s that are duties have the operational
/// class, so that they have room of their own in every block and precede all others, whatever tips
/// those offer. Only they, made by their account or its proxy, and calls of governance have that
/// room, and those of governance come after duties. A batch of nothing but duties would have it
/// too and is refused, like all other calls that wrap one duty.
///
/// An account has one pending duty of each kind in each round or audit, so that pools do not fill
/// with calls of which a block includes one only. Another enters the pool once that is included.
///
/// A refusal is [`InvalidTransaction::Custom`] with the index of the pallet's [`Error`], or 255.
#[derive(
    CloneNoBound,
    DebugNoBound,
    DefaultNoBound,
    EqNoBound,
    PartialEqNoBound,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
)]
#[scale_info(skip_type_params(T, Others))]
pub struct CheckAdmission<T, Others>(PhantomData<(T, Others)>);

impl<T, Others> CheckAdmission<T, Others> {
    /// Creates the extension.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, Others> CheckAdmission<T, Others>
where
    T: Config<RuntimeCall: IsSubType<Call<T>>>,
    Others: OperationalCalls<T>,
{
    /// Checks `call` of `who`. Returns its place in the pool, and the account whose share of the
    /// reserved room it takes, if it has that room.
    fn check(
        who: &AccountOf<T>,
        call: &RuntimeCallOf<T>,
        is_operational: bool,
    ) -> Result<(ValidTransaction, Option<AccountOf<T>>), DispatchError> {
        let proxied = if is_operational { Others::proxied(who, call) } else { None };
        let (account, call) = proxied.unwrap_or_else(|| (who.clone(), call));
        match call.is_sub_type() {
            Some(own) => {
                Pallet::<T>::admits(&account, own)?;
                if !is_operational {
                    return Ok(Default::default());
                }
                let tag = (DUTY_TAG, &account, own.get_call_index(), own.occasion()).encode();
                let provides = [tag].into();
                let priority = RESERVED_PRIORITY;
                Ok((ValidTransaction { priority, provides, ..Default::default() }, Some(account)))
            }
            None if !is_operational => Ok(Default::default()),
            None if Others::is_governance(&account, call) => {
                let priority = GOVERNANCE_PRIORITY;
                Ok((ValidTransaction { priority, ..Default::default() }, Some(account)))
            }
            None => Err(Error::<T>::ReservedRoom.into()),
        }
    }
}

impl<T: Config> Call<T> {
    /// Returns the round or the audit that a duty belongs to.
    fn occasion(&self) -> Option<u32> {
        match self {
            Self::commit { round, .. }
            | Self::reveal { round, .. }
            | Self::report_held { round, .. }
            | Self::attest_head { round, .. } => Some(*round),
            Self::serve_states { audit, .. }
            | Self::commit_audit { audit, .. }
            | Self::open_segments { audit, .. }
            | Self::open_sketches { audit, .. }
            | Self::reveal_audit { audit, .. }
            | Self::reveal_sketches { audit, .. } => Some(*audit),
            _ => None,
        }
    }
}

/// Returns the reason of a refusal, as the transaction pool states it.
fn refusal(error: DispatchError) -> InvalidTransaction {
    let code = match error {
        DispatchError::Module(module) => module.error.first().copied(),
        _ => None,
    };
    InvalidTransaction::Custom(code.unwrap_or(OTHER_REASON))
}

impl<T, Others> TransactionExtension<RuntimeCallOf<T>> for CheckAdmission<T, Others>
where
    T: Config<RuntimeCall: IsSubType<Call<T>> + Dispatchable<Info = DispatchInfo>> + Send + Sync,
    Others: OperationalCalls<T> + Send + Sync + 'static,
{
    const IDENTIFIER: &'static str = "CheckAdmission";
    type Implicit = ();
    type Val = Option<AccountOf<T>>;
    type Pre = ();

    fn weight(&self, call: &RuntimeCallOf<T>) -> Weight {
        let is_examined = call.is_sub_type().is_some()
            || call.get_dispatch_info().class == DispatchClass::Operational;
        if is_examined { T::WeightInfo::admit() } else { Weight::zero() }
    }

    fn validate(
        &self,
        origin: T::RuntimeOrigin,
        call: &RuntimeCallOf<T>,
        info: &DispatchInfoOf<RuntimeCallOf<T>>,
        _: usize,
        (): Self::Implicit,
        _: &impl Encode,
        _: TransactionSource,
    ) -> ValidateResult<Self::Val, RuntimeCallOf<T>> {
        let Some(who) = origin.as_signer() else {
            return Ok((ValidTransaction::default(), None, origin));
        };
        let is_operational = info.class == DispatchClass::Operational;
        let (valid, account) = Self::check(who, call, is_operational).map_err(refusal)?;
        Ok((valid, account, origin))
    }

    fn prepare(
        self,
        account: Self::Val,
        _: &T::RuntimeOrigin,
        _: &RuntimeCallOf<T>,
        _: &DispatchInfoOf<RuntimeCallOf<T>>,
        _: usize,
    ) -> Result<Self::Pre, TransactionValidityError> {
        let fits = account.is_none_or(Pallet::<T>::take_room);
        // The transaction stays in the pool for the next block.
        if fits { Ok(()) } else { Err(InvalidTransaction::ExhaustsResources.into()) }
    }
}
