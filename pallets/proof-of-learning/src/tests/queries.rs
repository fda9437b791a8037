// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::mock::*;
use pol_primitives::{
    queries::{Attestation, Overview},
    traits::{DataFormat, Rounds},
};
use polkadot_sdk::frame_support::assert_ok;

#[test]
fn the_overview_is_of_this_block() {
    on_chain(None, || {
        run(1);
        let empty = Learning::overview();
        assert_eq!((empty.head, empty.recipe_hash, empty.now), (None, None, 1));
        assert_eq!(Learning::shard_tokens_and_tokenizer(), None);
        assert_eq!((empty.free_shards, empty.validator_stake), (SHARDS, 100));
    });
    in_round_one(|| {
        train(&[1]);
        let expected = Overview {
            height: System::block_number(),
            now: System::block_number(),
            round: round(),
            config: LENGTHS,
            head: Some(head()),
            recipe_hash: Some(recipe().hash()),
            free_shards: SHARDS - 8,
            validator_stake: 100,
        };
        assert_eq!(Learning::overview(), expected);
        assert_eq!((Learning::recipe(), Learning::lease(&1)), (Some(recipe()), Some(lease_of(1))));
        assert_eq!(Learning::shard_tokens_and_tokenizer(), Some((1_024, [1; 32])));
    });
}

#[test]
fn reports_and_attestations_are_those_of_the_round() {
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        assert_eq!(Learning::held_reports(), []);
        assert_ok!(report(12, &[1]));
        assert_eq!(Learning::held_reports(), [(12, included(&[1]))]);
        hold(&[0, 1]);
        assert_eq!(Learning::held_reports(), [11, 12, 13].map(|who| (who, included(&[0, 1]))));
        assert_ok!(attest(12, [5; 32]));
        assert_eq!(Learning::attestations(), [Attestation { account: 12, root: [5; 32] }]);
        adopt([6; 32]);
        assert_eq!((Learning::held_reports(), Learning::attestations()), (vec![], vec![]));
        assert_eq!(Learning::max_missed_phases(), LENGTHS.missed);
    });
}
