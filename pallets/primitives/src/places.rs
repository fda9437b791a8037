// SPDX-License-Identifier: Apache-2.0

//! Places of a round, and who has them if more accounts ask than there are.

use crate::{
    BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber, prf::Prf, round::BlockNumber,
};
use codec::{Decode, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Maximum number of places that are taken in one round: those of the round, and fewer than as many
/// in later ones.
pub const MAX_PLACES: u32 = 2 * MAX_SUBMISSIONS;

/// Returns the number of places of a round that can be taken up to `delay` rounds ahead: half as
/// many for each round, at least one.
///
/// Those who need one round have half of the places to themselves, whoever took the others before.
pub fn places_ahead(delay: u32) -> u32 {
    MAX_SUBMISSIONS.checked_shr(delay).unwrap_or(0).max(1)
}

/// Rank of an account among those that ask for a place. Lower ranks go first.
///
/// The seed of the round draws it. It need not be secret, since it is drawn after the account was
/// bonded: an account whose bond is younger than the seed may have been made for it, and comes
/// last.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
pub struct Rank {
    late: bool,
    number: u64,
}

impl Rank {
    /// Draws the rank of `account` by the `seed` of the round. It is `late` if it was bonded when
    /// the seed could be known.
    pub fn draw(seed: &Hash, account: &[u8], late: bool) -> Self {
        Self { late, number: Prf::new("pol/place/1", seed, &[account]).next_u64() }
    }
}

/// A place that an account took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Place<AccountId> {
    /// Account that has a lease for the place.
    pub account: AccountId,
    /// Round that the lease is due in.
    pub due_round: RoundNumber,
    /// Rank of the account.
    pub rank: Rank,
}

/// Room for an account that asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room<AccountId> {
    /// A place is free.
    Free,
    /// This account makes room, since its rank is higher.
    Of(AccountId),
    /// All places belong to accounts of lower rank.
    None,
}

/// Places that accounts took in the round under way.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Places<AccountId> {
    drawn_until: Option<BlockNumber>,
    taken: BoundedVec<Place<AccountId>, ConstU32<MAX_PLACES>>,
}

impl<AccountId> Default for Places<AccountId> {
    fn default() -> Self {
        Self { drawn_until: None, taken: BoundedVec::new() }
    }
}

impl<AccountId: Clone + PartialEq> Places<AccountId> {
    /// Returns the places.
    pub fn taken(&self) -> &[Place<AccountId>] {
        &self.taken
    }

    /// Returns the room at block `now` for `rank` in `due_round`, which is `delay` rounds ahead and
    /// in which `due` leases are due already.
    ///
    /// A place in this round is lost to a lower rank as long as trainers may join, which the caller
    /// checks. Joining can stay open for leases of later rounds: these lose their places only until
    /// `join` blocks after the first one was taken.
    pub fn room(
        &self,
        due_round: RoundNumber,
        delay: u32,
        due: u32,
        rank: Rank,
        now: BlockNumber,
    ) -> Room<AccountId> {
        if due < places_ahead(delay) && !self.taken.is_full() {
            return Room::Free;
        }
        let is_drawing = delay == 0 || self.drawn_until.is_none_or(|last| now <= last);
        let last = self
            .taken
            .iter()
            .filter(|place| is_drawing && place.due_round == due_round)
            .max_by_key(|place| place.rank)
            .filter(|place| rank < place.rank);
        last.map_or(Room::None, |place| Room::Of(place.account.clone()))
    }

    /// Gives `place`, after `displaced` has lost its place. The first place of the round begins the
    /// draw, which ends `join` blocks after `now`. Returns `false` if no place is left.
    pub fn give(
        &mut self,
        place: Place<AccountId>,
        displaced: Option<&AccountId>,
        join: BlockNumber,
        now: BlockNumber,
    ) -> bool {
        self.taken.retain(|other| displaced != Some(&other.account));
        self.drawn_until.get_or_insert(now.saturating_add(join));
        self.taken.try_push(place).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prf::Prf;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const JOIN: BlockNumber = 3;

    /// Asks for a place of round 1 for `account` at block `now`. Returns the room that it found.
    fn ask(places: &mut Places<u32>, seed: u8, account: u32, late: bool, now: u32) -> Room<u32> {
        let rank = Rank::draw(&[seed; 32], &account.to_le_bytes(), late);
        let due = places.taken().len() as u32;
        let room = places.room(1, 0, due, rank, now);
        let displaced = match &room {
            Room::Free => None,
            Room::Of(other) => Some(other),
            Room::None => return room,
        };
        assert!(places.give(Place { account, due_round: 1, rank }, displaced, JOIN, now));
        room
    }

    fn holders(places: &Places<u32>) -> BTreeSet<u32> {
        places.taken().iter().map(|place| place.account).collect()
    }

    #[test]
    fn places_halve_with_each_round_ahead() {
        let of = [0, 1, 2, 3, 6, 7, 31, 32, u32::MAX].map(places_ahead);
        assert_eq!(of, [64, 32, 16, 8, 1, 1, 1, 1, 1]);
        // A recipe has four tiers, so that leases are due in at most four rounds.
        assert!((0..4).map(places_ahead).sum::<u32>() <= MAX_PLACES);
    }

    #[test]
    fn an_account_that_is_younger_than_the_seed_takes_free_places_only() {
        let mut places = Places::default();
        for account in 0..63 {
            assert_eq!(ask(&mut places, 7, account, false, 10), Room::Free);
        }
        assert_eq!(ask(&mut places, 7, 100, true, 10), Room::Free);
        assert_eq!(ask(&mut places, 7, 101, false, 10), Room::Of(100));
        assert!((102..200).all(|account| ask(&mut places, 7, account, true, 10) == Room::None));
    }

    #[test]
    fn places_of_later_rounds_are_drawn_for_a_while_and_then_kept() {
        let mut places = Places::default();
        for account in 0..32 {
            ask(&mut places, 7, account, true, 10);
        }
        let later = |delay, now| {
            let rank = Rank::draw(&[7; 32], &[], false);
            places.room(1, delay, places_ahead(delay), rank, now)
        };
        assert!(matches!(later(1, 10 + JOIN), Room::Of(_)));
        assert_eq!(later(1, 11 + JOIN), Room::None);
        assert!(matches!(later(0, 11 + JOIN), Room::Of(_)), "who may join takes part in the draw");
    }

    #[test]
    fn a_place_makes_room_for_leases_that_are_due_with_it_only() {
        let mut places = Places::default();
        ask(&mut places, 7, 1, true, 10);
        let rank = Rank::draw(&[7; 32], &[], false);
        assert_eq!(places.room(2, 1, 32, rank, 10), Room::None, "all are of earlier rounds");
        assert_eq!(places.room(2, 1, 31, rank, 10), Room::Free);
        assert_eq!(places.room(1, 0, 64, rank, 10), Room::Of(1));
    }

    #[test]
    fn accounts_of_one_owner_have_their_share_of_the_places_and_no_more() {
        // 64 of 96 accounts are of one owner, and ask first. Their number of places is
        // hypergeometric, with the mean 42.7 and the standard deviation 2.2.
        let rounds = 200u8;
        let (mut total, mut most) = (0, 0);
        for seed in 0..rounds {
            let mut places = Places::default();
            for account in 0..96 {
                ask(&mut places, seed, account, false, 10);
            }
            let own = holders(&places).iter().filter(|account| **account < 64).count();
            (total, most) = (total + own, most.max(own));
        }
        let mean = total as f64 / f64::from(rounds);
        // Four standard errors of the mean.
        assert!((mean - 42.67).abs() < 4.0 * 2.2 / f64::from(rounds).sqrt(), "{mean}");
        assert!(most < 54, "{most}");
    }

    proptest! {
        #[test]
        fn the_lowest_ranks_have_the_places_in_whatever_order_they_ask(
            seed: u8, accounts in 0u32..200, order: u64,
        ) {
            let mut places = Places::default();
            let order = Prf::new("order", &[1; 32], &[&order.to_le_bytes()]).permutation(accounts);
            for account in order {
                ask(&mut places, seed, account, account % 3 == 0, 10);
            }
            let mut ranks: Vec<_> = (0..accounts)
                .map(|account| {
                    let late = account % 3 == 0;
                    (Rank::draw(&[seed; 32], &account.to_le_bytes(), late), account)
                })
                .collect();
            ranks.sort_unstable();
            let best = ranks.iter().take(64).map(|(_, account)| *account).collect();
            prop_assert_eq!(holders(&places), best);
        }
    }
}
