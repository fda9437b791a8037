// SPDX-License-Identifier: Apache-2.0

use super::*;
use proptest::prelude::*;

pub(crate) fn recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 20, cadence: 1 };
    Recipe {
        model: ModelSpec::gpt2(8_192, 128, 4, 4, 512, 128),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 128,
        shard_tokens: 4_096,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 20,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 256, feedback: 950_000 },
        segments: 10,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}

#[test]
fn a_sensible_recipe_is_valid() {
    let recipe = recipe();
    assert_eq!(recipe.validate(), Ok(()));
    assert_eq!(recipe.shards_per_lease(Tier::Whale), 10);
    assert_eq!(recipe.tokens(Tier::Whale, 20), 40_960);
}

#[test]
fn each_range_is_checked() {
    let check = |change: fn(&mut Recipe), expected| {
        let mut recipe = recipe();
        change(&mut recipe);
        assert_eq!(recipe.validate(), Err(expected));
    };
    check(|r| r.sequence = 0, InvalidRecipe::Sequence);
    check(|r| r.sequence = 256, InvalidRecipe::Sequence);
    check(|r| r.shard_tokens = 4_000, InvalidRecipe::Sequence);
    check(|r| r.segments = 0, InvalidRecipe::Segments);
    check(|r| r.segments = 65, InvalidRecipe::Segments);
    check(|r| r.segments = 3, InvalidRecipe::Tier);
    check(|r| r.tiers[0].inner_steps = 60_000, InvalidRecipe::Tier);
    check(|r| r.tiers[3].cadence = 0, InvalidRecipe::Tier);
    check(|r| r.optimiser.beta2 = MILLION, InvalidRecipe::Constant);
    check(|r| r.compression.top_k = 4_097, InvalidRecipe::Constant);
    check(|r| r.schedule.peak = BILLION, InvalidRecipe::Constant);
    check(
        |r| r.numerics = Numerics::Native { tolerance: MIN_TOLERANCE - 1 },
        InvalidRecipe::Tolerance,
    );
    check(
        |r| r.numerics = Numerics::Native { tolerance: MAX_TOLERANCE + 1 },
        InvalidRecipe::Tolerance,
    );
    check(
        |r| {
            *r = Recipe { arithmetic: Some([1; 32]), ..r.clone().into_native(MIN_TOLERANCE) };
        },
        InvalidRecipe::Arithmetic,
    );
}

#[test]
fn both_profiles_are_accepted() {
    let recipe = Recipe { numerics: Numerics::Native { tolerance: MIN_TOLERANCE }, ..recipe() };
    assert_eq!(recipe.validate(), Ok(()));
    assert_eq!(recipe.numerics.encode(), [1, 0xe8, 3, 0, 0]);
    assert_eq!(
        Numerics::Exact.encode(),
        [0],
        "what was encoded before there was another profile stays readable"
    );
}

#[test]
fn a_rewrite_is_carried_out_where_the_architecture_changes_and_nowhere_else() {
    let (before, insert) = (recipe(), Rewrite::InsertBlock { at: 1 });
    let after = Recipe {
        model: insert.apply(&before.model).unwrap(),
        rewrite: Some(insert),
        ..before.clone()
    };
    assert_eq!(after.rewrite_from(&before), Ok(Some(insert)));
    assert_eq!(after.rewrite_from(&after), Ok(None));
    // Kept or left out, it is not carried out again; a second block of the same place is
    // another model.
    let tuned = Recipe { outer_rate: 5, ..after.clone() };
    let dropped = Recipe { rewrite: None, ..after.clone() };
    for (recipe, before) in [(&tuned, &after), (&dropped, &after), (&tuned, &dropped)] {
        assert_eq!(recipe.rewrite_from(before), Ok(None));
    }
    let again = Recipe { model: insert.apply(&after.model).unwrap(), ..after.clone() };
    assert_eq!(again.rewrite_from(&after), Ok(Some(insert)));

    assert_eq!(dropped.rewrite_from(&before), Err(InvalidSuccessor::Fixed));
    assert_eq!(again.rewrite_from(&before), Err(InvalidSuccessor::OtherModel));
    assert_eq!(before.rewrite_from(&after), Err(InvalidSuccessor::Fixed));
    let misfit = Recipe { rewrite: Some(Rewrite::SplitExpert { expert: 0 }), ..after.clone() };
    assert_eq!(
        misfit.rewrite_from(&before),
        Err(InvalidSuccessor::Rewrite(InvalidRewrite::NoExperts))
    );
    for other in [
        Recipe { tokenizer: [9; 32], ..after.clone() },
        Recipe { seed: [9; 32], ..after.clone() },
        Recipe { pretrained: Some([9; 32]), ..after.clone() },
        Recipe { shard_tokens: 8_192, ..after },
    ] {
        assert_eq!(other.rewrite_from(&before), Err(InvalidSuccessor::Fixed));
    }
}

/// Encoding of [`recipe`] in version 1, and its name.
const V1: (&str, &str) = (
    "01010020000080000000040004000400200000020000800000000000001027000000000100010101000100\
     00000000010101010101010101010101010101010101010101010101010101010101010102020202020202\
     02020202020202020202020202020202020202020202020202000080000010000008000200140001080002\
     001400010800020014000108000200140001a0bb0d00f07e0e000a00000000000000a086010040420f0000\
     000000140000000000000000000000a086010040420f0040420f000001f07e0e000a0000",
    "92c6e5a46baebc706285e646c607043062ad9700dc018e3af934d1e8a88ce7e7",
);

#[test]
fn recipes_of_version_1_keep_encoding_and_name() {
    let (encoding, name) = (bytes(V1.0), crate::hex_hash::parse(V1.1));
    // It has the defaults of the fields that versions 2 and 3 added.
    let decoded = Recipe::decode(&mut &encoding[..]).unwrap();
    assert_eq!((decoded.held_out, decoded.arithmetic), (None, None));
    assert_eq!(decoded, recipe());
    assert_eq!((Some(decoded.hash()), decoded.encode()), (name, encoding));
    let with_text = Recipe { held_out: Some([3; 32]), ..recipe() };
    let name = "acd63bc3e83b642f4a2fe6db70c26851cd6d3aede9e3d69119624e9b8007dbbf";
    assert_eq!(Some(with_text.hash()), crate::hex_hash::parse(name));
    assert_eq!(with_text.encode()[0], 2);
    let named = Recipe { arithmetic: Some([4; 32]), ..recipe() };
    assert_eq!(named.encode()[0], 3);
    assert_eq!(Recipe::decode(&mut &named.encode()[..]), Ok(named));
}

fn bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn recipes_from_before_there_were_rewrites_read_on() {
    let json = serde_json::to_value(recipe()).unwrap();
    assert!(json.get("rewrite").is_none());
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), recipe());
    let rewritten = Recipe { rewrite: Some(Rewrite::Widen { feed_forward: 640 }), ..recipe() };
    let json = serde_json::to_value(&rewritten).unwrap();
    assert_eq!(json["rewrite"], serde_json::json!({ "widen": { "feed_forward": 640 } }));
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), rewritten);
    assert_ne!(rewritten.hash(), recipe().hash());
    assert!(rewritten.encoded_size() <= Recipe::max_encoded_len());
}

#[test]
fn the_rate_warms_up_and_decays() {
    let schedule = LearningRateSchedule {
        peak: 1_000_000,
        warmup_steps: 10,
        decay_tokens: 1_000,
        floor: 100_000,
    };
    assert_eq!(schedule.rate(0, 0), 100_000);
    assert_eq!(schedule.rate(9, 0), 1_000_000);
    assert_eq!(schedule.rate(99, 500), 550_000);
    assert_eq!(schedule.rate(99, 5_000), 100_000);
}

proptest! {
    #[test]
    fn the_rate_never_passes_its_peak(
        step: u64,
        tokens: u64,
        peak in 0..BILLION,
        warmup_steps: u32,
        decay_tokens: u64,
        floor: u32,
    ) {
        let schedule = LearningRateSchedule { peak, warmup_steps, decay_tokens, floor };
        prop_assert!(schedule.rate(step, tokens) <= peak);
    }
}
