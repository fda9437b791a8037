//! Changes of an architecture that keep what a model computes.
//!
//! A [`Rewrite`] says what becomes of the [`ModelSpec`]; what becomes of the parameters follows
//! from it alone, so that every peer that knows the rewrite arrives at the same model. What is new
//! draws its values from a stream keyed by [`Rewrite::key`].

use crate::{
    Hash,
    model::{Experts, InvalidSpec, LocalAttention, Mind, ModelSpec},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Names of the first experts, in their order, where a model is upcycled to five.
pub const EXPERT_NAMES: [&str; 5] = ["language", "mathematics", "code", "reasoning", "memory"];

/// A change of a model, the same in every block.
///
/// After each, a model computes what it computed before, but for rounding;
/// [`PruneExpert`](Self::PruneExpert) does so for tokens that did not go to the expert.
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
    /// Makes equal copies of each feed-forward part experts, with a router that starts small
    /// (Komatsuzaki et al. 2022, "Sparse Upcycling").
    #[codec(index = 0)]
    Upcycle {
        /// The experts.
        experts: Experts,
    },
    /// Adds a copy of an expert whose router starts anew, so that it attracts tokens of its own. No
    /// token goes to it at first; its bias grows with training until some do.
    #[codec(index = 1)]
    AddExpert {
        /// The expert to copy.
        like: u8,
    },
    /// Adds a copy of an expert with a copy of its router, so that the two share what the one
    /// attracted. No token goes to the copy at first; its bias grows with training until some do.
    #[codec(index = 2)]
    SplitExpert {
        /// The expert to split.
        expert: u8,
    },
    /// Removes an expert; those after it move up.
    #[codec(index = 3)]
    PruneExpert {
        /// The expert.
        expert: u8,
    },
    /// Inserts a block that adds nothing to the residual stream until it learns to: its output
    /// projections are zero.
    #[codec(index = 4)]
    InsertBlock {
        /// Blocks before it.
        at: u16,
    },
    /// Widens the hidden layer of each feed-forward part by units that add nothing until they learn
    /// to: their rows of the output projection are zero (after Chen et al. 2015, "Net2Net").
    #[codec(index = 5)]
    Widen {
        /// The width it grows to.
        feed_forward: u32,
    },
}

/// Why a rewrite does not fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRewrite {
    /// The model that is to change, or the one that it would become, is invalid.
    Spec(InvalidSpec),
    /// Upcycling of a model that has experts.
    HasExperts,
    /// A change of experts of a model without.
    NoExperts,
    /// An expert that the model does not have.
    NoSuchExpert,
    /// More blocks before the new one than there are.
    NoSuchPlace,
    /// Local attention in a pattern over more than 64 blocks, which cannot be shifted.
    Pattern,
    /// A width that is not above the present one.
    NotWider,
}

impl core::fmt::Display for InvalidRewrite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Spec(invalid) => return write!(f, "the model would be invalid: {invalid}"),
            Self::HasExperts => "the model has experts already; add or split one instead",
            Self::NoExperts => "the model has no experts; upcycle it first",
            Self::NoSuchExpert => "the model has no expert of that number; they count from 0",
            Self::NoSuchPlace => "a block can be inserted before any block or after the last",
            Self::Pattern => "with local attention a block can be inserted into a model of 63 blocks at most, or at its end if it keeps the pattern",
            Self::NotWider => "a feed-forward part can only be widened, to more than its present width",
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
    /// What `spec` becomes.
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

    /// Key of the streams that the values of what is new in `spec` are drawn from.
    pub fn key(&self, spec: &ModelSpec) -> Hash {
        crate::digest(b"pol/rewrite/1", &(spec, self))
    }
}

/// `spec` with one more block, of which `at` come before it.
fn with_block(spec: &ModelSpec, at: u16) -> Result<ModelSpec, InvalidRewrite> {
    if at > spec.layers {
        return Err(InvalidRewrite::NoSuchPlace);
    }
    let layers = spec.layers.saturating_add(1);
    let mind = spec.mind;
    // A block among those that run again does so too.
    let runs_again = mind.second_pass > 0 && at > spec.layers.saturating_sub(mind.second_pass);
    let mind = Mind { second_pass: mind.second_pass.saturating_add(runs_again.into()), ..mind };
    let local = match spec.local {
        Some(local) if at < spec.layers => {
            // All other blocks keep their windows, and the new one has that of the block whose
            // place it takes.
            let period = u8::try_from(layers)
                .ok()
                .filter(|&period| period <= 64)
                .ok_or(InvalidRewrite::Pattern)?;
            let before = |block: u16| if block > at { block.saturating_sub(1) } else { block };
            let bits = (0..layers).filter(|&block| spec.window(before(block)).is_some());
            let layers =
                bits.fold(0u64, |bits, block| bits | 1u64.checked_shl(block.into()).unwrap_or(0));
            // A pattern that touches none of the blocks is no pattern.
            (layers > 0).then_some(LocalAttention { period, layers, ..local })
        }
        local => local,
    };
    Ok(ModelSpec { layers, local, mind, ..*spec })
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
            blocks in 1u16..70, at in 0u16..70, period in 1u8..=64, pattern in 1u64.., again in 0u16..70,
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
                        let again = |spec: &ModelSpec, block: u16| block >= spec.layers - spec.mind.second_pass;
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
                // What a recipe changed is seen by comparing architectures.
                for spec in [dense(), experts()] {
                    prop_assert_ne!(rewrite.apply(&spec), Ok(spec));
                }
            }
        }
    }
}
