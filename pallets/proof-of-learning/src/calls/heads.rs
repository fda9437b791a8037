// SPDX-License-Identifier: Apache-2.0

//! Attestations of the next head.

use crate::{pallet::*, types::StakedAttestation, weights::WeightInfo};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    head::Head,
    round::{Phase, is_quorum},
    submission::RevealSet,
    traits::Bonds,
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Body of [`Pallet::attest_head`].
    pub(crate) fn do_attest_head(
        who: T::AccountId,
        round: RoundNumber,
        root: Hash,
        included: RevealSet,
    ) -> DispatchResultWithPostInfo {
        let (current, head, phase) =
            (CurrentRound::<T>::get(), CurrentHead::<T>::get(), AttestPhases::<T>::get());
        // Until the round after it ends, the phase that made a head is the last one that ended. A
        // late attestation must not count for a later phase, or a validator that never helps a
        // quorum would pass for alive.
        let is_late = round.checked_add(1) == Some(current.number)
            && Self::is_newest_head(head, round, root, &included);
        if is_late {
            ensure!(T::Bonds::validator_stake(&who).is_some(), Error::<T>::NotAValidator);
            T::Bonds::note_attested(&who, phase.saturating_sub(1));
            Self::deposit_event(Event::Attested { account: who, round, root });
            return Ok(Some(T::WeightInfo::attest_head()).into());
        }
        ensure!(round == current.number, Error::<T>::WrongRound);
        ensure!(current.phase == Phase::Attest, Error::<T>::NotAttesting);
        let stake = T::Bonds::validator_stake(&who).ok_or(Error::<T>::NotAValidator)?;
        let fits = included.is_canonical(current.revealed)
            && included.is_empty() == current.attests_only();
        ensure!(fits, Error::<T>::BadIncluded);

        let attestation = StakedAttestation { root, included, stake };
        let tally = Self::tally(phase, &who, &attestation)?;
        T::Bonds::note_attested(&who, phase);
        Self::deposit_event(Event::Attested { account: who, round, root });

        let mut weight = T::WeightInfo::attest_head();
        if is_quorum(tally, current.stake) {
            weight = weight.saturating_add(T::WeightInfo::adopt(attestation.included.len()));
            Self::adopt(current, head, root, attestation.included)?;
        }
        Ok(Some(weight).into())
    }

    /// Returns `true` if `round` made `head`, with parameters `root` and the reveals in `included`.
    fn is_newest_head(
        head: Option<Head>,
        round: RoundNumber,
        root: Hash,
        included: &RevealSet,
    ) -> bool {
        head.is_some_and(|head| (head.round, head.root) == (round, root))
            && Records::<T>::get(round).is_some_and(|record| record.included == *included)
    }

    /// Stores `who`'s attestation in place of its earlier one. Returns the stake for the attested
    /// head.
    fn tally(
        phase: u32,
        who: &T::AccountId,
        attestation: &StakedAttestation,
    ) -> Result<Balance, Error<T>> {
        let digest = attestation.digest();
        if let Some(earlier) = Attestations::<T>::get(phase, who) {
            let other = earlier.digest();
            ensure!(other != digest, Error::<T>::AlreadyAttested);
            let rest = Tallies::<T>::get(phase, other).saturating_sub(earlier.stake);
            if rest == 0 {
                Tallies::<T>::remove(phase, other);
            } else {
                Tallies::<T>::insert(phase, other, rest);
            }
        }
        let tally = Tallies::<T>::get(phase, digest).saturating_add(attestation.stake);
        Tallies::<T>::insert(phase, digest, tally);
        Attestations::<T>::insert(phase, who, attestation);
        Ok(tally)
    }
}
