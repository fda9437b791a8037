//! Whatever is called in whatever order, the accounting holds.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    recipe::{Recipe as Spec, Tier},
    round::Phase,
    submission::{Claims, Reveal},
};
use polkadot_sdk::{frame_support::assert_ok, sp_runtime::traits::Dispatchable};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What somebody does next; `choice` is read as each needs it.
fn act(kind: u8, who: u8, choice: u8, committed: &mut BTreeMap<AccountId, Reveal>) {
    let (trainer, validator) = (1 + u64::from(who % 6), 11 + u64::from(who % 3));
    let number = round().number;
    let leased = Leases::<Test>::contains_key(trainer);
    // Half of the steps are what the phase is for, so that walks get somewhere.
    let kind = match round().phase {
        _ if kind < 25 => kind,
        Phase::Idle => 0,
        Phase::Train if leased => 8,
        Phase::Train => 4,
        Phase::Reveal => 12,
        Phase::Attest => 16,
    };
    let (origin, call) = match kind {
        0..=3 => return run(1 + u32::from(choice % 4)),
        4..=7 => (signed(trainer), Call::join_round { tier: Tier::ALL[usize::from(choice % 4)] }),
        8..=11 if leased => {
            let reveal = work(trainer, 1 + u16::from(choice % 4));
            let commitment = commitment(trainer, &reveal);
            committed.insert(trainer, reveal);
            (signed(trainer), Call::commit { round: number, commitment, claims: Claims::default() })
        }
        12..=15 if committed.contains_key(&trainer) => {
            (signed(trainer), Call::reveal { round: number, reveal: committed[&trainer].clone() })
        }
        16..=21 => {
            // Few choices, so that they often agree.
            let set = if number == 0 { vec![] } else { (0..=choice % 3).collect() };
            let root = [number as u8 + choice % 2; 32];
            (signed(validator), Call::attest_head { round: number, root, included: included(&set) })
        }
        22 => (signed(trainer), Call::conclude { account: 1 + u64::from(choice % 6) }),
        23 => (signed(trainer), Call::reset_carry {}),
        24 => (RuntimeOrigin::root(), Call::set_recipe { recipe: Spec { gradient_clip: 1 + u32::from(choice), ..recipe() } }),
        _ => return,
    };
    // Through the dispatcher, which undoes what a refused call did.
    let _ = RuntimeCall::Learning(call).dispatch(origin);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_accounting_holds_on_every_walk(steps in prop::collection::vec((0..50u8, any::<u8>(), any::<u8>()), 300)) {
        on_chain(Some(recipe()), || {
            // Enough for all penalties of a walk.
            TRAINERS.for_each(|account| Trainers::insert(account, 10_000));
            let mut committed = BTreeMap::new();
            for (kind, who, choice) in steps {
                act(kind, who, choice, &mut committed);
                assert_ok!(Learning::do_try_state());
                let leased: usize = Leases::<Test>::iter_values().map(|lease| lease.shards.len()).sum();
                assert_eq!(FreeShards::get().len() + leased + Consumed::get().len(), SHARDS as usize);
                assert!(round().due <= 64);
            }
        });
    }
}
