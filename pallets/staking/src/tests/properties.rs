// SPDX-License-Identifier: Apache-2.0

//! The invariants hold after any sequence of calls.

use super::*;
use polkadot_sdk::frame_support::dispatch::DispatchResult;
use proptest::prelude::*;

/// Receiver of seized bonds.
const POT: AccountId = 200;

#[derive(Clone, Debug)]
enum Action {
    Bond(Role, u128),
    BondExtra(u128),
    Unbond,
    Withdraw,
    SetEndpoint,
    Chill,
    Unchill,
    Attest,
    Slash(u128),
    Seize(u128),
    Seat(bool),
    EndPhase,
    Act,
    Lock,
    Unlock,
    Wait,
}

/// Amount that a lock takes of a bond.
const LOCK: u128 = 900 * POL;

fn action() -> impl Strategy<Value = Action> {
    let role = prop_oneof![Just(Role::Trainer), Just(Role::Validator), Just(Role::Authority)];
    prop_oneof![
        4 => (role, 0u128..20_000).prop_map(|(role, bond)| Action::Bond(role, bond)),
        1 => (0u128..5_000).prop_map(Action::BondExtra),
        1 => Just(Action::Unbond),
        1 => Just(Action::Withdraw),
        4 => Just(Action::SetEndpoint),
        2 => Just(Action::Chill),
        1 => Just(Action::Unchill),
        1 => Just(Action::Attest),
        1 => (0u128..8_000).prop_map(Action::Slash),
        2 => (0u128..8_000).prop_map(Action::Seize),
        1 => any::<bool>().prop_map(Action::Seat),
        3 => Just(Action::EndPhase),
        1 => Just(Action::Act),
        2 => Just(Action::Lock),
        1 => Just(Action::Unlock),
        1 => Just(Action::Wait),
    ]
}

impl Action {
    /// Performs the action as `who`, and adds penalties to the sums.
    fn apply(self, who: AccountId, slashed: &mut u128, seized: &mut u128) -> DispatchResult {
        let origin = Origin::signed(who);
        match self {
            Self::Bond(role, bond) => return Staking::bond(origin, role, bond * POL),
            Self::BondExtra(bond) => return Staking::bond_extra(origin, bond * POL),
            Self::Unbond => return Staking::unbond(origin),
            Self::Withdraw => return Staking::withdraw(origin),
            Self::SetEndpoint => return Staking::set_endpoint(origin, endpoint(who as u8)),
            Self::Chill => return Staking::chill(Origin::signed(9), who),
            Self::Unchill => return Staking::unchill(origin),
            Self::Attest => Staking::note_attested(&who, AttestPhases::get()),
            Self::Slash(amount) => *slashed += Staking::slash(&who, amount * POL),
            Self::Seize(amount) => *seized += Staking::seize(&who, amount * POL, &POT),
            Self::Seat(right) => {
                Staking::note_seats(&who, &tally(right));
            }
            Self::EndPhase => AttestPhases::mutate(|phases| *phases += 1),
            Self::Act => Staking::note_active(&who),
            Self::Lock if Staking::free_bond(&who) >= LOCK => Staking::lock(&who, LOCK),
            Self::Lock => {}
            Self::Unlock => Staking::unlock(&who, LOCK),
            Self::Wait => System::set_block_number(System::block_number() + UNBONDING_PERIOD),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_accounting_holds(actions in prop::collection::vec((1u64..7, action()), 1..60)) {
        run(|| {
            let (mut slashed, mut seized) = (0, 0);
            for (who, action) in actions {
                // Refused calls change nothing.
                let _ = action.apply(who, &mut slashed, &mut seized);
                Staking::do_try_state().unwrap();
            }
            assert_eq!(Balances::total_issuance(), 200 * WEALTH - slashed);
            assert_eq!(Balances::balance(&POT), WEALTH + seized);
        });
    }
}
