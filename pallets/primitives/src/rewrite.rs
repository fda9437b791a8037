// SPDX-License-Identifier: Apache-2.0

//! Changes of an architecture that keep the function of the model.
//!
//! A [`Rewrite`] determines the new [`ModelSpec`] and the new parameters, so every member that
//! knows the rewrite computes the same model. New parameters are drawn from a stream keyed by
//! [`Rewrite::key`].

use crate::{
    Hash,
    model::{Experts, InvalidSpec, LocalAttention, Mind, ModelSpec, OtherRotation},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Names of the experts of a model that is upcycled to five, in order.
pub const EXPERT_NAMES: [&str; 5] = ["language", "mathematics", "code", "reasoning", "memory"];

/// A change of a model, the same in every block.
///
/// The rewritten model computes the same function up to rounding. After
/// [`PruneExpert`](Self::PruneExpert) this holds only for tokens that were not routed to the
/// expert.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rewrite {
    /// Turns each feed-forward layer into experts that are copies of it, with a router of small
    /// initial weights (Komatsuzaki et al. 2022, "Sparse Upcycling").
    #[codec(index = 0)]
    Upcycle {
        /// Experts of the new model.
        experts: Experts,
    },
    /// Adds a copy of an expert with a new router, so that it attracts tokens of its own. No token
    /// is routed to it at first; its bias grows in training until some are.
    #[codec(index = 1)]
    AddExpert {
        /// Index of the expert to copy.
        like: u8,
    },
    /// Adds a copy of an expert with a copy of its router, so that the two share the tokens of the
    /// one. No token is routed to the copy at first; its bias grows in training until some are.
    #[codec(index = 2)]
    SplitExpert {
        /// Index of the expert to split.
        expert: u8,
    },
    /// Removes an expert; the indices of later experts decrease by one.
    #[codec(index = 3)]
    PruneExpert {
        /// Index of the expert to remove.
        expert: u8,
    },
    /// Inserts a block whose output projections are zero, so that it adds nothing to the residual
    /// stream at first.
    #[codec(index = 4)]
    InsertBlock {
        /// Number of blocks before the new one.
        at: u16,
    },
    /// Widens the hidden layer of each feed-forward layer by units whose rows of the output
    /// projection are zero, so that they add nothing at first (after Chen et al. 2015, "Net2Net").
    #[codec(index = 5)]
    Widen {
        /// New width of the hidden layer.
        feed_forward: u32,
    },
}

/// Error of a rewrite that does not fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRewrite {
    /// The old or the new model is invalid.
    Spec(InvalidSpec),
    /// The model to be upcycled has experts already.
    HasExperts,
    /// The model has no experts.
    NoExperts,
    /// The model has no expert of that index.
    NoSuchExpert,
    /// The model has fewer blocks than are to come before the new one.
    NoSuchPlace,
    /// The pattern of local attention or of rotations would span more than 64 blocks.
    Pattern,
    /// The new width is not greater than the present one.
    NotWider,
}

impl core::fmt::Display for InvalidRewrite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Spec(invalid) => return write!(f, "the model would be invalid: {invalid}"),
            Self::HasExperts => "the model has experts already; add or split one instead",
            Self::NoExperts => "the model has no experts; upcycle it first",
            Self::NoSuchExpert => "the model has no expert of that index; indices start at 0",
            Self::NoSuchPlace => "a block can be inserted before any block or after the last",
            Self::Pattern => {
                "a model with local attention or two rotations must have at most 63 blocks, \
                 unless the block is inserted at its end"
            }
            Self::NotWider => {
                "the new width of the feed-forward layers must exceed the present one"
            }
        })
    }
}

impl core::error::Error for InvalidRewrite {}

impl From<InvalidSpec> for InvalidRewrite {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Spec(invalid)
    }
}

impl Rewrite {
    /// Returns the architecture after the rewrite of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if the rewrite does not fit `spec`, or if the old or the new architecture is invalid.
    pub fn apply(&self, spec: &ModelSpec) -> Result<ModelSpec, InvalidRewrite> {
        spec.validate()?;
        let experts = || spec.experts.ok_or(InvalidRewrite::NoExperts);
        let one_more = |present: u8| {
            let experts = experts()?;
            if present >= experts.count {
                return Err(InvalidRewrite::NoSuchExpert);
            }
            Ok(ModelSpec {
                experts: Some(Experts { count: experts.count.saturating_add(1), ..experts }),
                ..*spec
            })
        };
        let next = match *self {
            Self::Upcycle { .. } if spec.experts.is_some() => {
                return Err(InvalidRewrite::HasExperts);
            }
            Self::Upcycle { experts } => ModelSpec { experts: Some(experts), ..*spec },
            Self::AddExpert { like } => one_more(like)?,
            Self::SplitExpert { expert } => one_more(expert)?,
            Self::PruneExpert { expert } => {
                let experts = experts()?;
                if expert >= experts.count {
                    return Err(InvalidRewrite::NoSuchExpert);
                }
                ModelSpec {
                    experts: Some(Experts { count: experts.count.saturating_sub(1), ..experts }),
                    ..*spec
                }
            }
            Self::InsertBlock { at } => with_block(spec, at)?,
            Self::Widen { feed_forward } if feed_forward <= spec.feed_forward => {
                return Err(InvalidRewrite::NotWider);
            }
            Self::Widen { feed_forward } => ModelSpec { feed_forward, ..*spec },
        };
        next.validate()?;
        Ok(next)
    }

    /// Returns the key of the streams from which new parameters are drawn when `spec` is rewritten.
    pub fn key(&self, spec: &ModelSpec) -> Hash {
        crate::digest(b"pol/rewrite/1", &(spec, self))
    }
}

/// Returns `spec` with a new block after the first `at` blocks.
fn with_block(spec: &ModelSpec, at: u16) -> Result<ModelSpec, InvalidRewrite> {
    if at > spec.layers {
        return Err(InvalidRewrite::NoSuchPlace);
    }
    let layers = spec.layers.saturating_add(1);
    let mind = spec.mind;
    // A block inserted among those of the second pass belongs to the second pass.
    let runs_again = mind.second_pass > 0 && at > spec.layers.saturating_sub(mind.second_pass);
    let mind = Mind { second_pass: mind.second_pass.saturating_add(runs_again.into()), ..mind };
    let local = match spec.local {
        Some(local) if at < spec.layers => {
            let pattern = pattern_with_block(layers, at, |block| spec.window(block).is_some())?;
            pattern.map(|(period, layers)| LocalAttention { period, layers, ..local })
        }
        local => local,
    };
    let other_rotation = match spec.other_rotation {
        Some(other) if at < spec.layers => {
            let pattern = pattern_with_block(layers, at, |block| spec.has_other_rotation(block))?;
            pattern.map(|(period, layers)| OtherRotation { period, layers, ..other })
        }
        other => other,
    };
    Ok(ModelSpec { layers, local, other_rotation, mind, ..*spec })
}

/// Returns period and bits of a pattern of `layers` blocks, of which the block at `at` is new, or
/// `None` for a pattern without blocks. All other blocks stay in the pattern if they were in it.
/// The new block takes the place of the block at its index.
fn pattern_with_block(
    layers: u16,
    at: u16,
    was_in: impl Fn(u16) -> bool,
) -> Result<Option<(u8, u64)>, InvalidRewrite> {
    let period =
        u8::try_from(layers).ok().filter(|&period| period <= 64).ok_or(InvalidRewrite::Pattern)?;
    let before = |block: u16| if block > at { block.saturating_sub(1) } else { block };
    let bits = (0..layers).filter(|&block| was_in(before(block)));
    let bits = bits.fold(0u64, |bits, block| bits | 1u64.checked_shl(block.into()).unwrap_or(0));
    Ok((bits > 0).then_some((period, bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dense() -> ModelSpec {
        ModelSpec::gpt2(99, 12, 3, 3, 24, 8)
    }

    fn experts() -> ModelSpec {
        ModelSpec { experts: Some(Experts::new(5, 2)), ..dense() }
    }

    #[test]
    fn each_rewrite_changes_what_it_says() {
        let upcycled = Rewrite::Upcycle { experts: Experts::new(5, 2) }.apply(&dense());
        assert_eq!(upcycled, Ok(experts()));
        let count = |rewrite: Rewrite| {
            rewrite
                .apply(&experts())
                .map(|spec| (spec.experts.unwrap().count, spec.experts.unwrap().active))
        };
        assert_eq!(count(Rewrite::AddExpert { like: 4 }), Ok((6, 2)));
        assert_eq!(count(Rewrite::SplitExpert { expert: 0 }), Ok((6, 2)));
        assert_eq!(count(Rewrite::PruneExpert { expert: 4 }), Ok((4, 2)));
        assert_eq!(
            Rewrite::InsertBlock { at: 3 }.apply(&dense()),
            Ok(ModelSpec { layers: 4, ..dense() })
        );
        assert_eq!(
            Rewrite::Widen { feed_forward: 25 }.apply(&dense()),
            Ok(ModelSpec { feed_forward: 25, ..dense() })
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use InvalidRewrite::*;
        let upcycle = Rewrite::Upcycle { experts: Experts::new(5, 2) };
        assert_eq!(upcycle.apply(&experts()), Err(HasExperts));
        assert_eq!(
            Rewrite::Upcycle { experts: Experts::new(1, 1) }.apply(&dense()),
            Err(Spec(InvalidSpec::Experts))
        );
        for rewrite in [
            Rewrite::AddExpert { like: 5 },
            Rewrite::SplitExpert { expert: 5 },
            Rewrite::PruneExpert { expert: 5 },
        ] {
            assert_eq!(rewrite.apply(&experts()), Err(NoSuchExpert));
            assert_eq!(rewrite.apply(&dense()), Err(NoExperts));
        }
        let all_active = ModelSpec { experts: Some(Experts::new(3, 3)), ..dense() };
        assert_eq!(
            Rewrite::PruneExpert { expert: 0 }.apply(&all_active),
            Err(Spec(InvalidSpec::Experts))
        );
        let full = ModelSpec { experts: Some(Experts::new(Experts::MAX_COUNT, 2)), ..dense() };
        assert_eq!(Rewrite::AddExpert { like: 0 }.apply(&full), Err(Spec(InvalidSpec::Experts)));
        assert_eq!(Rewrite::InsertBlock { at: 4 }.apply(&dense()), Err(NoSuchPlace));
        assert_eq!(Rewrite::Widen { feed_forward: 24 }.apply(&dense()), Err(NotWider));
        assert_eq!(
            Rewrite::Widen { feed_forward: u32::MAX }.apply(&dense()),
            Err(Spec(InvalidSpec::TooLarge))
        );
        assert_eq!(
            Rewrite::InsertBlock { at: 0 }.apply(&ModelSpec { width: 0, ..dense() }),
            Err(Spec(InvalidSpec::Zero))
        );
    }

    #[test]
    fn draws_differ_between_rewrites_and_models() {
        let (add, widen) = (Rewrite::AddExpert { like: 0 }, Rewrite::Widen { feed_forward: 30 });
        let grown = add.apply(&experts()).unwrap();
        let keys = [
            add.key(&experts()),
            widen.key(&experts()),
            add.key(&grown),
            Rewrite::AddExpert { like: 1 }.key(&experts()),
        ];
        assert_eq!(keys.into_iter().collect::<alloc::collections::BTreeSet<_>>().len(), 4);
    }

    proptest! {
        /// Around an inserted block, every other keeps its window and whether it runs again.
        #[test]
        fn blocks_keep_their_windows(
            blocks in 1u16..70,
            at in 0u16..70,
            period in 1u8..=64,
            pattern in 1u64..,
            again in 0u16..70,
        ) {
            let at = at % (blocks + 1);
            let second_pass = again % (blocks + 1);
            let layers = pattern & u64::MAX >> (64 - period);
            prop_assume!(layers > 0);
            let spec = ModelSpec {
                local: Some(LocalAttention { window: 3, period, layers }),
                mind: Mind { introspection: true, second_pass, ..Mind::default() },
                layers: blocks,
                ..dense()
            };
            match (Rewrite::InsertBlock { at }).apply(&spec) {
                Ok(next) => {
                    for block in 0..blocks {
                        let moved = block + u16::from(block >= at);
                        prop_assert_eq!(next.window(moved), spec.window(block));
                        let again = |spec: &ModelSpec, block: u16| {
                            block >= spec.layers - spec.mind.second_pass
                        };
                        prop_assert_eq!(again(&next, moved), again(&spec, block));
                    }
                    prop_assert_eq!(next.layers, blocks + 1);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal, InvalidRewrite::Pattern);
                    prop_assert!(blocks > 63 && at < blocks);
                }
            }
        }

        #[test]
        fn rewrites_survive_encoding(at: u16, expert: u8, feed_forward: u32) {
            for rewrite in [
                Rewrite::Upcycle { experts: Experts::new(expert, 2) },
                Rewrite::AddExpert { like: expert },
                Rewrite::SplitExpert { expert },
                Rewrite::PruneExpert { expert },
                Rewrite::InsertBlock { at },
                Rewrite::Widen { feed_forward },
            ] {
                prop_assert_eq!(Rewrite::decode(&mut &rewrite.encode()[..]), Ok(rewrite));
                let json = serde_json::to_string(&rewrite).unwrap();
                prop_assert_eq!(serde_json::from_str::<Rewrite>(&json).unwrap(), rewrite);
                prop_assert!(rewrite.encoded_size() <= Rewrite::max_encoded_len());
                // Every rewrite changes the architecture.
                for spec in [dense(), experts()] {
                    prop_assert_ne!(rewrite.apply(&spec), Ok(spec));
                }
            }
        }
    }
}
