// SPDX-License-Identifier: Apache-2.0

//! Calls that a proxy of type `Learning` may make, alone and in batches.

use super::*;
use crate::configs::ProxyType;
use frame_support::traits::InstanceFilter;
use pol_primitives::{
    member::{Address, Endpoint},
    recipe::Tier,
};

type Utilities = pallet_utility::Call<Runtime>;

fn transfer() -> RuntimeCall {
    let dest = account(&pair("//Bob")).into();
    pallet_balances::Call::transfer_keep_alive { dest, value: POL }.into()
}

fn bond_extra() -> RuntimeCall {
    pallet_pol_staking::Call::bond_extra { amount: POL }.into()
}

/// Returns the call that registers the endpoint with the key `[id; 32]`.
fn set_endpoint(id: u8) -> RuntimeCall {
    let addresses = vec![Address::V4([127, 0, 0, 1], 4_433)].try_into().unwrap();
    let endpoint = Endpoint { id: [id; 32], addresses };
    pallet_pol_staking::Call::set_endpoint { endpoint }.into()
}

/// Returns the call by which Bob makes `call` as Alice.
fn by_proxy(call: impl Into<RuntimeCall>) -> (sr25519::Pair, RuntimeCall) {
    let call = pallet_proxy::Call::proxy {
        real: account(&pair("//Alice")).into(),
        force_proxy_type: None,
        call: Box::new(call.into()),
    };
    (pair("//Bob"), call.into())
}

#[test]
fn a_learning_proxy_makes_calls_of_learning_and_batches() {
    let may = |call: RuntimeCall| ProxyType::Learning.filter(&call);
    assert!(may(pallet_proof_of_learning::Call::join_round { tier: Tier::Mobile }.into()));
    assert!(may(pallet_pol_rewards::Call::claim { round: 1 }.into()));
    assert!(may(pallet_pol_staking::Call::unchill {}.into()) && may(set_endpoint(1)));
    assert!(may(Utilities::batch { calls: vec![] }.into()));
    assert!(may(Utilities::batch_all { calls: vec![] }.into()));
    assert!(may(Utilities::force_batch { calls: vec![] }.into()));

    assert!(!may(transfer()) && !may(bond(Role::Trainer)) && !may(bond_extra()));
    assert!(!may(pallet_pol_staking::Call::unbond {}.into()));
    assert!(!may(Utilities::as_derivative { index: 0, call: Box::new(transfer()) }.into()));
    let (main, fallback) = (Box::new(set_endpoint(1)), Box::new(set_endpoint(2)));
    assert!(!may(Utilities::if_else { main, fallback }.into()));
    let nested = by_proxy(set_endpoint(1)).1;
    assert!(!may(nested), "a proxy makes no proxies");
    assert!(ProxyType::Any.filter(&transfer()) && ProxyType::Any.is_superset(&ProxyType::Learning));
    assert!(!ProxyType::Learning.is_superset(&ProxyType::Any));
}

#[test]
fn a_batch_of_a_learning_proxy_contains_calls_of_learning_only() {
    genesis(DEV).execute_with(|| {
        let alice = account(&pair("//Alice"));
        let delegate = account(&pair("//Bob")).into();
        let learning = ProxyType::Learning;
        let mut chain = Chain::new();
        let add = pallet_proxy::Call::add_proxy { delegate, proxy_type: learning, delay: 0 }.into();
        chain.block([(pair("//Alice"), add)]);
        let member = || PolStaking::member(alice.clone()).unwrap();
        let registered = || member().endpoint.map(|endpoint| endpoint.id);
        let has = || Balances::free_balance(account(&pair("//Alice")));
        let delegate_has = || Balances::free_balance(account(&pair("//Bob")));
        let (bond, before, free) = (member().bond, has(), delegate_has());
        let all = |calls| by_proxy(Utilities::batch_all { calls });
        chain.block([all(vec![set_endpoint(1), set_endpoint(2)])]);
        assert_eq!(registered(), Some([2; 32]));
        // The proxy's call succeeds, and what it does fails: a call in the batch is filtered.
        for other in [transfer(), bond_extra()] {
            chain.block([all(vec![set_endpoint(3), other.clone()])]);
            assert_eq!(registered(), Some([2; 32]));
            let inner = Utilities::batch { calls: vec![other.clone()] }.into();
            chain.block([by_proxy(Utilities::force_batch { calls: vec![other.clone(), inner] })]);
            chain.block([by_proxy(other)]);
        }
        assert_eq!(member().bond, bond);
        assert!(has() >= before, "nothing left the account, which earns fees as an author");
        assert!(delegate_has() < free, "the proxy has paid fees and got nothing");
    });
}
