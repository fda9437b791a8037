use crate::{
    Call, Error, Escrow, EscrowTotal, Event,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    Balance, MILLION, POL,
    rewards::{Emission, Shares},
    traits::Payouts,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::fungible::Inspect},
    sp_runtime::DispatchError,
};
use proptest::prelude::*;

fn pot() -> Balance {
    Balances::balance(&Rewards::pot())
}

fn events() -> Vec<Event<Test>> {
    System::read_events_for_pallet::<Event<Test>>()
}

#[test]
fn a_round_is_minted_into_escrow() {
    run(Emission::default(), 1_000 * POL, || {
        assert_eq!(pot(), 0);
        Rewards::round_concluded(1);
        let shares = Shares { trainers: 70 * POL, validators: 18 * POL, providers: 7 * POL, treasury: 5 * POL };
        assert_eq!(Escrow::<Test>::get(1), Some(shares));
        assert_eq!((EscrowTotal::<Test>::get(), pot()), (100 * POL, 100 * POL));
        assert_eq!(Balances::total_issuance(), 1_100 * POL);
        Rewards::round_concluded(100_000);
        assert_eq!((EscrowTotal::<Test>::get(), pot()), (150 * POL, 150 * POL));
        let later = Escrow::<Test>::get(100_000).unwrap();
        assert_eq!(events(), [Event::Escrowed { round: 1, shares }, Event::Escrowed { round: 100_000, shares: later }]);
    });
}

#[test]
fn nothing_is_emitted_twice() {
    run(Emission::default(), POL, || {
        Rewards::round_concluded(1);
        Rewards::round_concluded(1);
        assert_eq!((EscrowTotal::<Test>::get(), pot(), events().len()), (100 * POL, 100 * POL, 1));
    });
}

#[test]
fn an_emission_that_has_run_out_leaves_no_trace() {
    run(Emission::default(), POL, || {
        Rewards::round_concluded(u32::MAX);
        assert_eq!((EscrowTotal::<Test>::get(), Escrow::<Test>::iter().count(), events().len()), (0, 0, 0));
    });
}

#[test]
fn what_cannot_be_minted_is_not_recorded() {
    run(Emission::default(), Balance::MAX, || {
        Rewards::round_concluded(1);
        assert_eq!((EscrowTotal::<Test>::get(), pot(), Escrow::<Test>::get(1)), (0, 0, None));
    });
    // Less than the existential deposit, into a pot that does not exist yet.
    run(Emission { initial: POL - 1, ..Default::default() }, POL, || {
        Rewards::round_concluded(1);
        assert_eq!((EscrowTotal::<Test>::get(), pot(), Escrow::<Test>::get(1)), (0, 0, None));
    });
}

#[test]
fn governance_changes_the_rounds_to_come() {
    run(Emission::default(), POL, || {
        Rewards::round_concluded(1);
        let emission = Emission { initial: 10 * POL, halving: 0, trainers: MILLION, validators: 0, providers: 0 };
        assert_noop!(Rewards::set_emission(Origin::signed(1), emission), DispatchError::BadOrigin);
        let greedy = Emission { validators: 1, ..emission };
        assert_noop!(Rewards::set_emission(Origin::root(), greedy), Error::<Test>::InvalidEmission);
        assert_ok!(Rewards::set_emission(Origin::root(), emission));
        Rewards::round_concluded(2);
        assert_eq!(Escrow::<Test>::get(2), Some(Shares { trainers: 10 * POL, ..Default::default() }));
        assert_eq!((EscrowTotal::<Test>::get(), pot()), (110 * POL, 110 * POL));
        assert!(events().contains(&Event::EmissionSet { emission }));
    });
}

#[test]
fn gifts_to_the_pot_are_no_error() {
    run(Emission::default(), 10 * POL, || {
        Rewards::round_concluded(1);
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot(), POL));
        assert_eq!((EscrowTotal::<Test>::get(), pot()), (100 * POL, 101 * POL));
    });
}

#[test]
#[should_panic(expected = "the shares of the genesis emission are more than the whole")]
fn genesis_refuses_an_invalid_emission() {
    run(Emission { trainers: MILLION + 1, ..Default::default() }, POL, || ());
}

#[test]
fn calls_keep_their_indices() {
    use codec::Encode;
    assert_eq!(Call::<Test>::set_emission { emission: Emission::default() }.encode()[0], 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_pot_covers_the_escrow(rounds in prop::collection::vec(0u32..100, 1..30), initial in 0..1_000 * POL, halving in 0u32..20) {
        run(Emission { initial, halving, ..Default::default() }, POL, || {
            for round in rounds {
                Rewards::round_concluded(round);
                Rewards::do_try_state().unwrap();
                assert_eq!(pot(), EscrowTotal::<Test>::get());
            }
            assert_eq!(Balances::total_issuance(), POL + pot());
        });
    }
}
