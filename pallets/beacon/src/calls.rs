// SPDX-License-Identifier: Apache-2.0

//! Bodies of the calls, and the checks before a pulse enters a block.

use crate::{
    AwaitedPulse, Beacon, Call, Config, Error, Event, Pallet,
    scheme::{BadPulse, is_valid_key, verify},
};
use pol_primitives::beacon::{self, BeaconConfig, BeaconRound, PulseSignature, randomness};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, ensure, traits::Get},
    sp_runtime::transaction_validity::{
        InvalidTransaction, TransactionPriority, TransactionValidity, TransactionValidityError,
        ValidTransaction,
    },
};

impl<T: Config> From<BadPulse> for Error<T> {
    fn from(bad: BadPulse) -> Self {
        match bad {
            BadPulse::Malformed => Self::MalformedPulse,
            BadPulse::Forged => Self::ForgedPulse,
        }
    }
}

impl<T: Config> Error<T> {
    /// Returns the refusal of the transaction pool: its code is the index of the error.
    fn refusal(&self) -> TransactionValidityError {
        let code = match self {
            Self::NotAwaited => 0,
            Self::WrongRound => 1,
            Self::PulseKnown => 2,
            Self::TooLate => 3,
            Self::MalformedPulse => 4,
            Self::ForgedPulse => 5,
            _ => u8::MAX,
        };
        InvalidTransaction::Custom(code).into()
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_pulse(
        round: BeaconRound,
        signature: &PulseSignature,
    ) -> DispatchResult {
        let (beacon, mut awaited) = Self::expect_pulse(round)?;
        verify(&beacon.key, round, signature).map_err(Error::<T>::from)?;
        let randomness = randomness(signature);
        awaited.randomness = Some(randomness);
        AwaitedPulse::<T>::put(awaited);
        Self::deposit_event(Event::PulseAccepted { round, randomness });
        Ok(())
    }

    pub(crate) fn do_set_beacon(beacon: Option<BeaconConfig>) -> DispatchResult {
        if let Some(beacon) = &beacon {
            ensure!(beacon.has_rounds(), Error::<T>::NoRounds);
            ensure!(beacon.is_patient(T::BlockTime::get()), Error::<T>::WrongPatience);
            ensure!(is_valid_key(&beacon.key), Error::<T>::InvalidKey);
        }
        Beacon::<T>::set(beacon.clone());
        AwaitedPulse::<T>::kill();
        Self::deposit_event(Event::BeaconSet { beacon });
        Ok(())
    }

    /// Returns the beacon and the pulse that it awaits, if that is the pulse of `round`. These
    /// checks are cheap.
    fn expect_pulse(round: BeaconRound) -> Result<(BeaconConfig, beacon::AwaitedPulse), Error<T>> {
        let awaited = AwaitedPulse::<T>::get().ok_or(Error::<T>::NotAwaited)?;
        let beacon = Beacon::<T>::get().ok_or(Error::<T>::NotAwaited)?;
        ensure!(round == awaited.round, Error::<T>::WrongRound);
        ensure!(awaited.randomness.is_none(), Error::<T>::PulseKnown);
        ensure!(Self::now() <= awaited.until, Error::<T>::TooLate);
        Ok((beacon, awaited))
    }

    /// Returns the validity of a transaction without a signature for the pool: only the awaited
    /// pulse is valid.
    pub(crate) fn validate_bare(call: &Call<T>) -> TransactionValidity {
        let (round, awaited) = Self::check_bare(call)?;
        ValidTransaction::with_tag_prefix("PolBeacon")
            .priority(TransactionPriority::MAX)
            .and_provides(round)
            .longevity(awaited.until.saturating_sub(Self::now()).max(1).into())
            .propagate(true)
            .build()
    }

    /// Checks that a transaction without a signature is the awaited pulse, which alone may enter a
    /// block: forged ones would fill it for nothing. Signatures are verified only if the cheap
    /// checks pass.
    pub(crate) fn check_bare(
        call: &Call<T>,
    ) -> Result<(BeaconRound, beacon::AwaitedPulse), TransactionValidityError> {
        let Call::submit_pulse { round, signature } = call else {
            return Err(InvalidTransaction::Call.into());
        };
        let refusal = |error: Error<T>| error.refusal();
        let (beacon, awaited) = Self::expect_pulse(*round).map_err(refusal)?;
        verify(&beacon.key, *round, signature).map_err(|bad| refusal(bad.into()))?;
        Ok((*round, awaited))
    }
}
