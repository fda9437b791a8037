//! The equations hold whatever is called, in whatever order.

use super::*;
use proptest::prelude::*;

/// Where seized bonds go.
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
    Freeze(bool),
    Wait,
}

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
        1 => any::<bool>().prop_map(Action::Freeze),
        1 => Just(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_accounting_holds(actions in prop::collection::vec((1u64..7, action()), 1..60)) {
        run(|| {
            let (mut slashed, mut seized) = (0, 0);
            for (who, action) in actions {
                let (origin, before, frozen) = (Origin::signed(who), Validators::<Test>::get(), Attesting::get());
                let is_penalty = matches!(action, Action::Slash(_) | Action::Seize(_));
                // Refusals are part of the game.
                let _ = match action {
                    Action::Bond(role, bond) => Staking::bond(origin, role, bond * POL),
                    Action::BondExtra(bond) => Staking::bond_extra(origin, bond * POL),
                    Action::Unbond => Staking::unbond(origin),
                    Action::Withdraw => Staking::withdraw(origin),
                    Action::SetEndpoint => Staking::set_endpoint(origin, endpoint(who as u8)),
                    Action::Chill => Staking::chill(Origin::signed(9), who),
                    Action::Unchill => Staking::unchill(origin),
                    Action::Attest => { Staking::note_attested(&who, AttestPhases::get()); Ok(()) }
                    Action::Slash(amount) => { slashed += Staking::slash(&who, amount * POL); Ok(()) }
                    Action::Seize(amount) => { seized += Staking::seize(&who, amount * POL, &POT); Ok(()) }
                    Action::Seat(right) => { Staking::note_seat(&who, right); Ok(()) }
                    Action::EndPhase => { AttestPhases::mutate(|phases| *phases += 1); Ok(()) }
                    Action::Freeze(on) => { Attesting::set(on); Ok(()) }
                    Action::Wait => { System::set_block_number(System::block_number() + UNBONDING); Ok(()) }
                };
                assert!(!frozen || is_penalty || before == Validators::<Test>::get(), "the validators changed during a count");
                Staking::do_try_state().unwrap();
            }
            assert_eq!(Balances::total_issuance(), 200 * WEALTH - slashed);
            assert_eq!(Balances::balance(&POT), WEALTH + seized);
        });
    }
}
