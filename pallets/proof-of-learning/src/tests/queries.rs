// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::mock::*;
use pol_primitives::{
    queries::{Attestation, Overview},
    traits::{Bonds, DataFormat, Rounds},
};

#[test]
fn the_overview_is_of_this_block() {
    on_chain(None, || {
        run(1);
        let empty = Learning::overview();
        assert_eq!((empty.head, empty.recipe_hash, empty.lead, empty.now), (None, None, None, 1));
        assert_eq!(Learning::shard_tokens_and_tokenizer(), None);
        assert_eq!((empty.free_shards, empty.validator_stake), (SHARDS, 100));
    });
    in_round_one(|| {
        train(&[1]);
        let expected = Overview {
            now: System::block_number(),
            round: round(),
            config: LENGTHS,
            head: Some(head()),
            recipe_hash: Some(recipe().hash()),
            lead: Stakes::lead(&round().seed, 0),
            free_shards: SHARDS - 8,
            validator_stake: 100,
        };
        assert_eq!(Learning::overview(), expected);
        assert_eq!((Learning::recipe(), Learning::lease(&1)), (Some(recipe()), Some(lease_of(1))));
        assert_eq!(Learning::shard_tokens_and_tokenizer(), Some((1_024, [1; 32])));
        run(LENGTHS.lead - 1);
        assert_eq!(Learning::overview().lead, expected.lead);
        run(1);
        assert_eq!(Learning::overview().lead, Stakes::lead(&round().seed, 1));
        assert_ne!(Learning::overview().lead, expected.lead, "the next one may propose");
    });
}

#[test]
fn attestations_are_those_of_the_phase() {
    in_round_one(|| {
        train(&[1]);
        let attested = Learning::attest_head(signed(12), 1, [5; 32], included(&[0]));
        assert!(attested.is_ok());
        let expected = Attestation { account: 12, root: [5; 32], included: included(&[0]) };
        assert_eq!(Learning::attestations(), [expected]);
        assert_eq!(Learning::max_missed_phases(), LENGTHS.missed);
    });
}
