// SPDX-License-Identifier: Apache-2.0

use crate::ExpertUtilisation;
use pol_primitives::{
    model::{Experts, ModelSpec},
    rewrite::{EXPERT_NAMES, Rewrite},
};
use serde::Serialize;

/// Minimum number of losses from which a plateau is detected.
pub const MIN_PLATEAU_LOSSES: usize = 16;
/// Relative loss drop from one quarter of the rounds to the next below which the loss has a
/// plateau.
const PLATEAU_DROP: f64 = 0.005;

/// A proposed rewrite and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RewriteProposal {
    /// The rewrite.
    pub rewrite: Rewrite,
    /// Measurement that the proposal is based on.
    pub reason: RewriteReason,
}

/// Reason for a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewriteReason {
    /// The expert gets less than an eighth of an equal share in every block.
    Unused {
        /// Largest share of choices that it gets in a block.
        share: f64,
    },
    /// The expert gets more than two equal shares.
    Overused {
        /// Mean share of choices over blocks.
        share: f64,
    },
    /// The loss falls by less than half a per cent from one quarter of the rounds to the next.
    Plateau {
        /// Relative drop of the loss.
        fall: f64,
    },
}

/// Proposes rewrites of a model of `spec`, by its measured `utilisation` of experts and its
/// `losses` on held-out text. `losses` has one value per round since the last rewrite, oldest
/// first. The proposals are alternatives; the first is the best.
///
/// 1. The least used expert is pruned if it gets less than an eighth of an equal share in every
///    block.
/// 2. The most used expert is split if it gets more than two equal shares on average over blocks.
/// 3. If neither applies and the mean of the last quarter of at least [`MIN_PLATEAU_LOSSES`] losses
///    is less than half a per cent below that of the quarter before, the model grows: by an expert
///    like the most used one, or by five experts if it has none, which cost no time; else by a
///    quarter more hidden units, or by a block in its middle.
///
/// A new expert is unused until its bias has risen by 2. `utilisation` must therefore be measured
/// after as many steps as that takes.
pub fn propose_rewrites(
    spec: &ModelSpec,
    utilisation: Option<&ExpertUtilisation>,
    losses: &[f64],
) -> Vec<RewriteProposal> {
    let usage = utilisation
        .filter(|utilisation| {
            spec.experts.is_some_and(|experts| utilisation.experts() == usize::from(experts.count))
        })
        .and_then(ExpertUsage::new);
    let mut proposals = usage.as_ref().map(ExpertUsage::proposals).unwrap_or_default();
    proposals.retain(|proposal| proposal.rewrite.apply(spec).is_ok());
    if let Some(fall) =
        relative_loss_drop(losses).filter(|fall| proposals.is_empty() && *fall < PLATEAU_DROP)
    {
        let growth = growth_rewrites(spec, usage.map_or(0, |usage| usage.most_used.0));
        let reason = RewriteReason::Plateau { fall };
        proposals.extend(growth.into_iter().map(|rewrite| RewriteProposal { rewrite, reason }));
    }
    proposals
}

/// Least and most used expert.
struct ExpertUsage {
    /// Share of an expert if all are used alike.
    equal_share: f64,
    /// Expert whose largest share in a block is the smallest, and that share.
    least_used: (u8, f64),
    /// Expert with the largest mean share over blocks, and that share.
    most_used: (u8, f64),
}

impl ExpertUsage {
    /// Returns `None` if nothing was observed.
    fn new(utilisation: &ExpertUtilisation) -> Option<Self> {
        let blocks: Vec<Vec<f64>> =
            (0..utilisation.blocks()).map(|block| utilisation.shares(None, block)).collect();
        if blocks.iter().flatten().all(|&share| share <= 0.0) {
            return None;
        }
        let shares = |expert: usize| blocks.iter().map(move |shares| shares[expert]);
        let largest = (0..utilisation.experts())
            .map(|expert| (expert as u8, shares(expert).fold(0.0, f64::max)));
        let means = (0..utilisation.experts())
            .map(|expert| (expert as u8, shares(expert).sum::<f64>() / blocks.len() as f64));
        Some(Self {
            equal_share: 1.0 / utilisation.experts() as f64,
            least_used: largest.min_by(|a, b| a.1.total_cmp(&b.1))?,
            // Reversed, so that a tie goes to the first expert.
            most_used: means.rev().max_by(|a, b| a.1.total_cmp(&b.1))?,
        })
    }

    fn proposals(&self) -> Vec<RewriteProposal> {
        let mut proposals = Vec::new();
        let (expert, share) = self.least_used;
        if share < self.equal_share / 8.0 {
            proposals.push(RewriteProposal {
                rewrite: Rewrite::PruneExpert { expert },
                reason: RewriteReason::Unused { share },
            });
        }
        let (expert, share) = self.most_used;
        if share > 2.0 * self.equal_share {
            proposals.push(RewriteProposal {
                rewrite: Rewrite::SplitExpert { expert },
                reason: RewriteReason::Overused { share },
            });
        }
        proposals
    }
}

/// Returns the rewrites that enlarge a model of `spec`, best first.
fn growth_rewrites(spec: &ModelSpec, most_used: u8) -> Vec<Rewrite> {
    let expert = match spec.experts {
        Some(_) => Rewrite::AddExpert { like: most_used },
        None => Rewrite::Upcycle { experts: Experts::new(EXPERT_NAMES.len() as u8, 2) },
    };
    let wider = spec.feed_forward.saturating_add(spec.feed_forward.div_ceil(4));
    let mut rewrites = vec![
        expert,
        Rewrite::Widen { feed_forward: wider },
        Rewrite::InsertBlock { at: spec.layers / 2 },
    ];
    rewrites.retain(|rewrite| rewrite.apply(spec).is_ok());
    rewrites
}

/// Returns the relative drop from the mean of the second to last quarter of `losses` to the mean of
/// the last quarter; `None` for fewer than [`MIN_PLATEAU_LOSSES`] losses.
pub fn relative_loss_drop(losses: &[f64]) -> Option<f64> {
    let quarter = losses.len() / 4;
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (before, last) = losses[losses.len() - 2 * quarter..].split_at(quarter);
    (losses.len() >= MIN_PLATEAU_LOSSES)
        .then(|| 1.0 - mean(last) / mean(before))
        .filter(|drop| drop.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Routing;
    use tch::Tensor;

    /// Creates the utilisation of four experts in two blocks.
    fn measured(spec: &ModelSpec, blocks: [[usize; 4]; 2]) -> ExpertUtilisation {
        let mut seen = ExpertUtilisation::new(spec, 1).unwrap();
        let routing = blocks.map(|loads| {
            let chosen: Vec<i64> =
                (0..4).flat_map(|expert| vec![expert as i64; loads[expert]]).collect();
            let zero = || Tensor::from(0.0);
            Routing {
                chosen: Tensor::from_slice(&chosen).view([-1, 1]),
                load: loads.map(|tokens| tokens as i64).to_vec(),
                balance: zero(),
                z: zero(),
                bias_loss: zero(),
            }
        });
        seen.observe(&routing, &[0]).unwrap();
        seen
    }

    #[test]
    fn measurements_lead_to_rewrites() {
        let dense = ModelSpec::gpt2(13, 8, 2, 2, 12, 6);
        let spec = ModelSpec { experts: Some(Experts::new(4, 2)), ..dense };
        let flat = [1.0; 16];
        let falling: Vec<f64> = (0..16).map(|round| 2.0 - 0.05 * f64::from(round)).collect();
        let rewrites =
            |spec: &ModelSpec, seen: Option<ExpertUtilisation>, losses: &[f64]| -> Vec<Rewrite> {
                propose_rewrites(spec, seen.as_ref(), losses)
                    .into_iter()
                    .map(|proposal| proposal.rewrite)
                    .collect()
            };
        let even = || Some(measured(&spec, [[25; 4]; 2]));
        let (wider, deeper) = (Rewrite::Widen { feed_forward: 15 }, Rewrite::InsertBlock { at: 1 });
        assert_eq!(rewrites(&spec, even(), &falling), []);
        assert_eq!(rewrites(&spec, even(), &flat[1..]), []);
        assert_eq!(rewrites(&spec, even(), &flat), [Rewrite::AddExpert { like: 0 }, wider, deeper]);
        assert_eq!(
            rewrites(&dense, None, &flat),
            [Rewrite::Upcycle { experts: Experts::new(5, 2) }, wider, deeper]
        );
        // Unused in every block, or in one only.
        let unused = [[33, 33, 33, 1], [32, 33, 32, 3]];
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, unused)), &flat),
            [Rewrite::PruneExpert { expert: 3 }]
        );
        let proposal = propose_rewrites(&spec, Some(&measured(&spec, unused)), &[])[0];
        assert_eq!(proposal.reason, RewriteReason::Unused { share: 0.03 });
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, [[33, 33, 33, 1], [32, 32, 32, 4]])), &[]),
            []
        );
        let overused = [[10, 60, 20, 10], [20, 50, 10, 20]];
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, overused)), &flat),
            [Rewrite::SplitExpert { expert: 1 }]
        );
        // Without observations nothing is proposed.
        assert_eq!(rewrites(&spec, ExpertUtilisation::new(&spec, 1), &falling), []);
        // No expert can be removed if all are active.
        let all = ModelSpec { experts: Some(Experts::new(4, 4)), ..dense };
        assert_eq!(rewrites(&all, Some(measured(&all, unused)), &falling), []);
    }
}
