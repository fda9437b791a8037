// SPDX-License-Identifier: Apache-2.0

//! The presets, fees and equivocation.

use super::*;
use crate::configs::SlashEquivocation;
use frame_support::traits::fungible::Inspect;
use pol_primitives::{
    data::SourceKind,
    round::{QUORUM_PERCENT, RoundConfig},
};
use sp_keyring::Sr25519Keyring;
use sp_runtime::Perbill;
use sp_staking::offence::{OffenceDetails, OnOffenceHandler};

#[test]
fn the_dev_preset_has_one_authority_and_sudo() {
    genesis(DEV).execute_with(|| {
        let alice = Sr25519Keyring::Alice.to_account_id();
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), Some(alice.clone()));
        assert_eq!(Session::validators(), vec![alice.clone()]);
        assert_eq!((Babe::authorities().len(), Grandpa::grandpa_authorities().len()), (1, 1));
        let member = PolStaking::member(alice.clone()).unwrap();
        assert_eq!((member.role, member.bond), (Role::Authority, 10_000 * POL));
        assert_eq!(Balances::total_balance(&alice), presets_of::ENDOWMENT);
        // Pot and treasury exist from genesis.
        assert_eq!(
            Balances::total_issuance(),
            44 * presets_of::ENDOWMENT + 2 * EXISTENTIAL_DEPOSIT
        );
        assert_eq!(ProofOfLearning::audit_config(), presets_of::AUDIT_CONFIG);
        assert_eq!(ProofOfLearning::overview().config, RoundConfig::default());
        check_state().unwrap();
    });
}

#[test]
fn the_local_preset_has_three_authorities_and_no_sudo() {
    genesis(LOCAL).execute_with(|| {
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), None);
        let mut expected = [Sr25519Keyring::Alice, Sr25519Keyring::Bob, Sr25519Keyring::Charlie]
            .map(Sr25519Keyring::to_account_id)
            .to_vec();
        expected.sort();
        let mut validators = Session::validators();
        validators.sort();
        assert_eq!(validators, expected);
        assert_eq!((Babe::authorities().len(), Grandpa::grandpa_authorities().len()), (3, 3));
        check_state().unwrap();
    });
}

#[test]
fn a_pulse_enters_a_block_without_a_signature_or_a_fee() {
    use pol_primitives::{beacon::bls::BeaconSecret, traits::Beacon as _};
    use sp_runtime::transaction_validity::{InvalidTransaction, TransactionSource};
    genesis(LOCAL).execute_with(|| {
        assert_eq!(Beacon::beacon(), Some(presets_of::development_beacon()));
        let mut chain = Chain::new();
        chain.block([]);
        Beacon::await_pulse();
        let round = Beacon::awaited_pulse().unwrap().round;
        let bare = |signature| {
            let call = pallet_pol_beacon::Call::submit_pulse { round, signature };
            UncheckedExtrinsic::new_bare(call.into())
        };
        let validate = |pulse| {
            let parent = System::parent_hash();
            Executive::validate_transaction(TransactionSource::External, pulse, parent)
        };
        let signature = BeaconSecret::development().sign(round).unwrap();
        assert!(validate(bare(signature)).is_ok_and(|valid| valid.propagate));
        let forged = BeaconSecret::from_seed(&[1; 32]).sign(round).unwrap();
        assert_eq!(validate(bare(forged)), Err(InvalidTransaction::Custom(5).into()));
        let call = pallet_pol_beacon::Call::<Runtime>::submit_pulse { round, signature };
        let info = frame_support::dispatch::GetDispatchInfo::get_dispatch_info(&call);
        assert_eq!(info.pays_fee, frame_support::dispatch::Pays::No);
        let most = <Runtime as frame_system::Config>::BlockWeights::get().max_block;
        assert!(info.call_weight.ref_time() < most.ref_time() / 20, "{}", info.call_weight);
    });
}

#[test]
fn only_listed_presets_exist() {
    assert!(presets_of::preset_names().iter().all(|name| presets_of::get_preset(name).is_some()));
    assert_eq!(presets_of::get_preset(&"mainnet".into()), None);
}

#[test]
fn development_accounts_are_funded() {
    genesis(LOCAL).execute_with(|| {
        for uri in [
            "//Alice",
            "//Ferdie//stash",
            "//Trainer//1",
            "//Trainer//16",
            "//Validator//1",
            "//Validator//16",
        ] {
            assert_eq!(
                Balances::total_balance(&account(&pair(uri))),
                presets_of::ENDOWMENT,
                "{uri}"
            );
        }
        assert_eq!(Balances::total_balance(&account(&pair("//Trainer//17"))), 0);
    });
}

#[test]
fn the_author_earns_a_fifth_of_the_fees_and_the_rest_is_burned() {
    genesis(DEV).execute_with(|| {
        let (alice, bob, dave) = (pair("//Alice"), pair("//Bob"), pair("//Dave"));
        let issued = Balances::total_issuance();
        let before = [&alice, &bob, &dave].map(|pair| Balances::free_balance(account(pair)));
        let transfer =
            pallet_balances::Call::transfer_keep_alive { dest: account(&dave).into(), value: POL };
        Chain::new().block([(bob.clone(), transfer.into())]);
        let after = [&alice, &bob, &dave].map(|pair| Balances::free_balance(account(pair)));
        assert_eq!(after[2], before[2] + POL);
        let fee = before[1] - POL - after[1];
        assert!(fee > POL / 100_000 && fee < POL / 100, "a transfer cost {fee}");
        let earned = fee / 5;
        assert_eq!(after[0], before[0] + earned, "Alice is the author");
        assert_eq!(Balances::total_issuance(), issued - fee + earned);
    });
}

#[test]
fn an_equivocation_costs_the_bond_and_the_seat() {
    genesis(LOCAL).execute_with(|| {
        System::set_block_number(1);
        // With three authorities none is disabled, because two cannot finalise blocks.
        pallet_session::Validators::<Runtime>::append(Sr25519Keyring::Dave.to_account_id());
        let bob = Sr25519Keyring::Bob.to_account_id();
        let issued = Balances::total_issuance();
        let offence = OffenceDetails { offender: (bob.clone(), ()), reporters: vec![] };
        SlashEquivocation::on_offence(&[offence], &[Perbill::from_percent(60)], 0);
        let minimum = Role::Authority.minimum_bond();
        assert_eq!(PolStaking::member(bob.clone()).unwrap().bond, minimum / 5 * 2);
        assert_eq!(Balances::total_issuance(), issued - minimum / 5 * 3);
        let seat = Session::validators().iter().position(|validator| *validator == bob).unwrap();
        assert_eq!(Session::disabled_validators(), vec![seat as u32]);
        // An unbonding authority still signs, and is still slashed.
        let charlie = Sr25519Keyring::Charlie.to_account_id();
        PolStaking::unbond(RuntimeOrigin::signed(charlie.clone())).unwrap();
        let offence = OffenceDetails { offender: (charlie.clone(), ()), reporters: vec![] };
        SlashEquivocation::on_offence(&[offence], &[Perbill::from_percent(60)], 0);
        // Two of four could make two forks final.
        assert_eq!((PolStaking::slashable(&charlie), PolStaking::slashable(&bob)), (0, 0));
        check_state().unwrap();
    });
}

#[test]
fn an_equivocation_excludes_from_elections() {
    genesis(LOCAL).execute_with(|| {
        System::set_block_number(1);
        // One of ten or more loses a tenth.
        for other in 0..9 {
            pallet_session::Validators::<Runtime>::append(AccountId::from([other; 32]));
        }
        let charlie = Sr25519Keyring::Charlie.to_account_id();
        let offence = OffenceDetails { offender: (charlie.clone(), ()), reporters: vec![] };
        SlashEquivocation::on_offence(&[offence], &[Perbill::from_rational(9u32, 10_000)], 0);
        let minimum = Role::Authority.minimum_bond();
        assert_eq!(PolStaking::slashable(&charlie), minimum - minimum / 10);
        let ledger = pallet_pol_staking::Ledgers::<Runtime>::get(&charlie).unwrap();
        assert_eq!(ledger.bar.map(|bar| bar.until), Some(1 + crate::configs::UNBONDING_PERIOD));
        System::set_block_number(0);
        let mut chain = Chain::new();
        for _ in 0..=2 * EPOCH_DURATION {
            chain.block([]);
        }
        let authorities = Session::validators();
        assert!(!authorities.contains(&charlie) && !authorities.is_empty());
    });
}

#[test]
fn keys_are_purged_through_the_staking_pallet_only() {
    use sp_runtime::traits::Dispatchable;
    genesis(LOCAL).execute_with(|| {
        let origin = || RuntimeOrigin::signed(Sr25519Keyring::Bob.to_account_id());
        let purge = RuntimeCall::from(pallet_session::Call::purge_keys {});
        let refused = purge.dispatch(origin()).unwrap_err().error;
        assert_eq!(refused, frame_system::Error::<Runtime>::CallFiltered.into());
        let purge = RuntimeCall::from(pallet_pol_staking::Call::purge_session_keys {});
        let refused = purge.dispatch(origin()).unwrap_err().error;
        assert_eq!(refused, pallet_pol_staking::Error::<Runtime>::KeysInUse.into());
    });
}

#[test]
fn authorities_that_produce_nothing_leave_one_by_one() {
    genesis(LOCAL).execute_with(|| {
        let mut chain = Chain::new();
        let mut sizes = vec![];
        for _ in 0..4 {
            for _ in 0..EPOCH_DURATION {
                chain.block([]);
            }
            sizes.push((Session::validators().len(), Grandpa::grandpa_authorities().len()));
        }
        // The chain's authors take every slot as the first authority.
        assert_eq!(sizes.last(), Some(&(1, 1)), "{sizes:?}");
        assert!(!sizes.iter().any(|(authorities, _)| *authorities == 0), "{sizes:?}");
    });
}

#[test]
fn the_metadata_holds_what_members_state_of_the_chain() {
    let metadata = Runtime::metadata_ir();
    let value = |pallet: &str, name: &str| {
        let pallet = metadata.pallets.iter().find(|own| own.name == pallet).unwrap();
        let constant = pallet.constants.iter().find(|own| own.name == name);
        constant.unwrap_or_else(|| panic!("{name} is missing")).value.clone()
    };
    assert_eq!(value("Babe", "ExpectedBlockTime"), SLOT_DURATION.encode());
    assert_eq!(value("ProofOfLearning", "QuorumPercent"), QUORUM_PERCENT.encode());
    for (name, role) in [
        ("TrainerBond", Role::Trainer),
        ("ValidatorBond", Role::Validator),
        ("AuthorityBond", Role::Authority),
    ] {
        assert_eq!(value("PolStaking", name), role.minimum_bond().encode(), "{name}");
    }
    for (name, kind) in [
        ("PretrainedBonus", SourceKind::Pretrained),
        ("DatasetBonus", SourceKind::Dataset),
        ("WebBonus", SourceKind::Web),
        ("SyntheticBonus", SourceKind::Synthetic),
    ] {
        assert_eq!(value("Lineage", name), kind.bonus().encode(), "{name}");
    }
}
